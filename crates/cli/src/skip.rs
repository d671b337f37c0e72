//! `rollcall skip`: the last resort for a partition that a service can never get past.

use contracts::SkipOffset;

use crate::operation::{Asking, tell};
use crate::output::Output;
use crate::{Error, Outcome, topics};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The service that is stopped at the record, e.g. registration
    service: String,
    /// Topic of the record, without prefix, e.g. events
    topic: String,
    /// Partition of the record
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// Offset of the record: the service's position, as `rollcall lag --partitions` lists it
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
    /// Why the record is skipped; it is recorded in the audit log
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments {
        service,
        topic,
        partition,
        offset,
        reason,
        asking,
    } = arguments;
    let topic = topics::named(&topic)?.name.to_owned();
    let sentence =
        format!("{service} continues after offset {offset} of {topic}[{partition}]; the record took no effect");
    let skip = SkipOffset {
        service,
        topic,
        partition,
        offset,
        reason,
    };
    tell(&asking, skip, output, |_| sentence.clone()).await
}
