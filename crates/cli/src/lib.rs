#![doc = include_str!("../README.md")]

mod admin;
mod audit;
mod dead_letters;
mod history;
mod journal;
mod kafka;
mod lag;
mod ops;
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

/// Command line of `rollcall`.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, about = "Inspects and operates a Rollcall installation.", after_help = AFTER_HELP)]
pub struct Arguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the topics or compare them with the topic table
    #[command(subcommand)]
    Topics(topics::Command),
    /// Register the schemas or compare them with the registry
    #[command(subcommand)]
    Schemas(schemas::Command),
    /// Show every process: version, readiness, lag, outbox, parked keys, gaps and dead letters
    Status(status::Arguments),
    /// Show how far behind each service is, by topic or partition
    Lag(lag::Arguments),
    /// Locate a message, or all messages of an operation, in topics and services
    WhereIs(where_is::Arguments),
    /// Show a trace as a tree
    Trace(trace::Arguments),
    /// List and release keys whose messages are parked, and discard parked records
    #[command(subcommand)]
    Parked(parked::Command),
    /// List, show, redrive and discard dead-lettered records
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Move a service past one record that it can never process (last resort)
    Skip(skip::Arguments),
    /// Show the domain events of an aggregate, or its state at a version or time
    History(history::Arguments),
    /// Publish domain events of an aggregate again, from the journal
    Republish(journal::RepublishArguments),
    /// Rebuild a read model from the topics alongside the live one
    Replay(journal::ReplayArguments),
    /// Verify the snapshots of a service
    #[command(subcommand)]
    Snapshots(journal::Snapshots),
    /// Create admins and grant roles
    #[command(subcommand)]
    Admin(admin::Command),
    /// Export the audit log to a file or verify such a file
    #[command(subcommand)]
    Audit(audit::Command),
}

const AFTER_HELP: &str = "\
Exit codes:
  0   success
  1   negative result: a difference, a rejection, or not found
  64  the command line is invalid
  69  Kafka, the schema registry, Jaeger or a service is unavailable

In a checkout, `eval \"$(scripts/stack env)\"` sets the addresses.";

/// Result of a command that completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Success, or nothing to do. Exit code 0.
    Positive,
    /// Differences exist, the request was rejected, or nothing found. Exit code 1.
    Negative,
}

impl Outcome {
    fn positive_if(condition: bool) -> Self {
        if condition { Self::Positive } else { Self::Negative }
    }
}

/// Reason why a command could not complete. The text states what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is invalid. Exit code 64.
    #[error("{0}")]
    Usage(String),
    /// A server, a service or a file is unavailable or unusable. Exit code 69.
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

/// Runs the command and prints its result to standard output.
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

/// Returns the exit code of a result. Prints an error and its source chain to standard error.
pub fn exit_code(result: &Result<Outcome, Error>) -> ExitCode {
    match result {
        Ok(Outcome::Positive) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(NEGATIVE),
        Err(error) => {
            eprintln!("rollcall: {}", chassis::error_chain(error));
            ExitCode::from(match error {
                Error::Usage(_) => USAGE,
                Error::Unavailable { .. } => UNAVAILABLE,
            })
        }
    }
}

/// Exit code of [`Outcome::Negative`].
const NEGATIVE: u8 = 1;
/// `EX_USAGE` of sysexits.h.
pub const USAGE: u8 = 64;
/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;
