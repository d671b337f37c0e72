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

/// Maintenance tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Check the files against the rules that the compiler does not check
    Tidy,
    /// Compare the settings in each service's README with those that its executable reads (build first)
    Settings,
    /// Write docs/asyncapi.json from the topic table
    Asyncapi,
    /// Write docs/messages.md from the topic table
    Messages,
    /// Create the folder of a new service
    NewService {
        /// Name of the service: one noun, e.g. billing
        name: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Tidy => Ok(report(&tidy::findings()?, "tidy")),
        Command::Settings => Ok(report(&settings::findings()?, "settings")),
        Command::Asyncapi => documents::ASYNCAPI.write().map(|()| ExitCode::SUCCESS),
        Command::Messages => documents::MESSAGES.write().map(|()| ExitCode::SUCCESS),
        Command::NewService { name } => {
            new_service::create(&name)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(findings: &[tidy::Finding], check: &str) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{check}: no findings");
            ExitCode::SUCCESS
        }
        count => {
            println!("{check}: {count} findings");
            ExitCode::FAILURE
        }
    }
}
