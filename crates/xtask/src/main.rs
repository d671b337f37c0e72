#![doc = include_str!("../README.md")]

mod documents;
mod metadata;
mod new_service;
mod rust;
mod settings;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::Parser;

/// Chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Hold the tree against the rules that no compiler knows
    Tidy,
    /// Compare the settings in each service's README with those that its executable reads (build first)
    Settings,
    /// Write docs/asyncapi.json from the topic table
    Asyncapi,
    /// Write docs/messages.md from the topic table
    Messages,
    /// Make the folder of a new service
    NewService {
        /// One noun, e.g. billing
        name: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Tidy => Ok(report(&tidy::findings()?, "tidy")),
        Command::Settings => Ok(report(&settings::findings()?, "the READMEs name every setting")),
        Command::Asyncapi => documents::ASYNCAPI.write().map(|()| ExitCode::SUCCESS),
        Command::Messages => documents::MESSAGES.write().map(|()| ExitCode::SUCCESS),
        Command::NewService { name } => {
            new_service::make(&name)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(findings: &[tidy::Finding], what: &str) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{what}: nothing to say");
            ExitCode::SUCCESS
        }
        count => {
            println!("{what}: {count} findings");
            ExitCode::FAILURE
        }
    }
}
