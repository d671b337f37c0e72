//! `rollcall skip`: last resort for a record that a service can never process.

use contracts::SkipOffset;

use crate::ops::{OpsArguments, run_command};
use crate::output::Output;
use crate::{Error, Outcome, topics};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Service that is stuck at the record, e.g. registration
    service: String,
    /// Topic of the record (name without prefix), e.g. events
    topic: String,
    /// Partition of the record
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// Offset of the record: the service's position as listed by `rollcall lag --partitions`
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
    /// Reason for skipping the record, which is stored in the audit log
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    ops: OpsArguments,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments {
        service,
        topic,
        partition,
        offset,
        reason,
        ops,
    } = arguments;
    let topic = topics::named(&topic)?.name.to_owned();
    let sentence =
        format!("{service} continues after offset {offset} of {topic}[{partition}]; the record had no effect");
    let skip = SkipOffset {
        service,
        topic,
        partition,
        offset,
        reason,
    };
    run_command(&ops, skip, output, |_| sentence.clone()).await
}
