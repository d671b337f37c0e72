#![doc = include_str!("../README.md")]

mod admin;
mod audit;
mod dead_letters;
mod history;
mod journal;
mod kafka;
mod lag;
mod operation;
mod output;
mod pages;
mod parked;
mod processes;
mod progress;
mod schemas;
mod skip;
mod status;
mod topics;
pub mod trace;
mod where_is;

use std::error::Error as StdError;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::Output;

/// What `rollcall` is asked to do.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, about = "Looks at a Rollcall installation, and operates it.", after_help = AFTER_HELP)]
pub struct Arguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the topics, or compare them with the table
    #[command(subcommand)]
    Topics(topics::Command),
    /// Register the schemas, or compare the registry with them
    #[command(subcommand)]
    Schemas(schemas::Command),
    /// Every process: version, readiness, lag, outbox, and what waits for an operator
    Status(status::Arguments),
    /// How far each service is behind, by partition
    Lag(lag::Arguments),
    /// The way of a message, or of all that an operation led to
    WhereIs(where_is::Arguments),
    /// A trace as a tree
    Trace(trace::Arguments),
    /// Keys whose messages wait for an operator
    #[command(subcommand)]
    Parked(parked::Command),
    /// Records that were set aside
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Move a service past one record that it can never get past: the last resort
    Skip(skip::Arguments),
    /// What happened to an aggregate, or how it was
    History(history::Arguments),
    /// Publish domain events of an aggregate again, from the journal
    Republish(journal::RepublishArguments),
    /// Build a read model anew from the topics, beside the live one
    Replay(journal::ReplayArguments),
    /// Shortcuts through the journal
    #[command(subcommand)]
    Snapshots(journal::Snapshots),
    /// Who may operate the installation
    #[command(subcommand)]
    Admin(admin::Command),
    /// The audit log as a file, and whether such a file is whole
    #[command(subcommand)]
    Audit(audit::Command),
}

const AFTER_HELP: &str = "\
Exit codes:
  0 yes, done   1 no: a difference, a refusal, or not found   64 the command line is wrong
  69 Kafka, the schema registry, Jaeger or a service can't be reached

In a checkout, `eval \"$(scripts/stack env)\"` sets the addresses.";

/// What the answer was, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, or done: exit code 0.
    Yes,
    /// No: there are differences, it was refused, or it is not there. Exit code 1.
    No,
}

/// Why there is no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what can't be: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Something can't be reached or used: exit code 69.
    #[error("{message}")]
    Unavailable {
        message: String,
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl Error {
    fn unavailable(message: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Unavailable {
            message: message.into(),
            source: Some(Box::new(source)),
        }
    }

    fn without_source(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            source: None,
        }
    }
}

/// Does what the arguments say. The answer is on standard output by then.
pub async fn run(arguments: Arguments) -> Result<Outcome, Error> {
    let output = Output { json: arguments.json };
    match arguments.command {
        Command::Topics(command) => topics::run(command, output).await,
        Command::Schemas(command) => schemas::run(command, output).await,
        Command::Status(arguments) => status::run(arguments, output).await,
        Command::Lag(arguments) => lag::run(&arguments, output).await,
        Command::WhereIs(arguments) => where_is::run(arguments, output).await,
        Command::Trace(arguments) => trace::run(&arguments, output).await,
        Command::Parked(command) => parked::run(command, output).await,
        Command::Skip(arguments) => skip::run(arguments, output).await,
        Command::DeadLetters(command) => dead_letters::run(command, output).await,
        Command::History(arguments) => history::run(arguments, output).await,
        Command::Republish(arguments) => journal::republish(arguments, output).await,
        Command::Replay(arguments) => journal::replay(arguments, output).await,
        Command::Snapshots(command) => journal::snapshots(command, output).await,
        Command::Admin(command) => admin::run(command, output).await,
        Command::Audit(command) => audit::run(command, output).await,
    }
}

/// The exit code, after an error was told on standard error with all that caused it.
pub fn exit_code(result: &Result<Outcome, Error>) -> ExitCode {
    match result {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("rollcall: {}", chassis::error_chain(error));
            ExitCode::from(match error {
                Error::Usage(_) => USAGE,
                Error::Unavailable { .. } => UNAVAILABLE,
            })
        }
    }
}

/// `EX_USAGE` of sysexits.h.
pub const USAGE: u8 = 64;
/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;
