//! `rollcall schemas`: the registry against the schemas of this version.

use contracts::{Codec, Message, Registry, registry};
use serde::Serialize;

use crate::output::{Output, table};
use crate::progress::Progress;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register every schema; what is there already stays
    Register {
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Compare the registry with the schemas of this version
    Check {
        #[command(flatten)]
        registry: RegistryArguments,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryArguments {
    /// Where the schema registry is, with the path of its Confluent API
    #[arg(
        long = "registry",
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: String,
}

/// How the registry has one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Registered,
    /// Not there, and it would be taken.
    Missing,
    /// Not there, and it breaks what is there.
    Incompatible,
}

#[derive(Debug, Serialize)]
struct Row {
    subject: String,
    state: State,
    id: Option<i32>,
    /// The registry's reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Register { registry } => register(&registry.client(), output).await,
        Command::Check { registry } => check(&registry.client(), output).await,
    }
}

impl RegistryArguments {
    fn client(&self) -> Registry {
        Registry::new(&self.url)
    }
}

async fn register(registry: &Registry, output: Output) -> Result<Outcome, Error> {
    let before = compare(registry).await?;
    if before.iter().any(|row| row.state == State::Incompatible) {
        // Nothing at all is registered: half a version helps nobody.
        return Ok(show(&before, output));
    }
    registry
        .register_all(contracts::topics::ALL, "")
        .await
        .map_err(unavailable)?;
    Ok(show(&compare(registry).await?, output))
}

async fn check(registry: &Registry, output: Output) -> Result<Outcome, Error> {
    Ok(show(&compare(registry).await?, output))
}

async fn compare(registry: &Registry) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let total = contracts::topics::ALL.iter().map(|topic| topic.records.len()).sum();
    let mut progress = Progress::of("comparing schemas");
    for topic in contracts::topics::ALL {
        for record in topic.records {
            progress.at(rows.len(), total);
            let subject = topic.subject(record.name);
            let id = registry.lookup(&subject, record.schema).await.map_err(unavailable)?;
            let (state, reasons) = match id {
                Some(_) => (State::Registered, Vec::new()),
                None => {
                    let compatible = registry.check_compatibility(&subject, record.schema).await;
                    match compatible.map_err(unavailable)? {
                        Ok(()) => (State::Missing, Vec::new()),
                        Err(reasons) => (State::Incompatible, reasons),
                    }
                }
            };
            rows.push(Row {
                subject,
                state,
                id,
                reasons,
            });
        }
    }
    Ok(rows)
}

fn show(rows: &[Row], output: Output) -> Outcome {
    output.answer(&serde_json::json!({ "schemas": rows }), || text(rows));
    match rows.iter().all(|row| row.state == State::Registered) {
        true => Outcome::Yes,
        false => Outcome::No,
    }
}

fn text(rows: &[Row]) -> String {
    let different: Vec<_> = rows.iter().filter(|row| row.state != State::Registered).collect();
    if different.is_empty() {
        return format!("all {} schemas are registered", rows.len());
    }
    let advice = match different.iter().any(|row| row.state == State::Incompatible) {
        true => "nothing can be registered: a change that schema resolution can't do is a new record name",
        false => "`rollcall schemas register` registers what is missing",
    };
    let lines = different.iter().map(|row| {
        let state = match row.state {
            State::Registered => "registered",
            State::Missing => "missing",
            State::Incompatible => "incompatible",
        };
        vec![row.subject.clone(), state.to_owned(), row.reasons.join("; ")]
    });
    format!("{}\n\n{advice}", table(&["SUBJECT", "STATE", "REASONS"], &[], lines))
}

fn unavailable(error: registry::Error) -> Error {
    // Its texts say what to do.
    Error::unavailable("the schemas can't be used", error)
}

/// Reads what is met on the wire and writes what is said, with schemas from the registry, which may be ahead of this
/// version or behind.
pub(crate) struct Schemas {
    registry: Registry,
    codec: Codec,
}

impl Schemas {
    pub(crate) fn of(arguments: &RegistryArguments) -> Self {
        Self {
            registry: arguments.client(),
            codec: codec(None),
        }
    }

    /// Frames a message, under the id that the registry has for its schema.
    pub(crate) async fn encode<M: Message>(&self, message: &M) -> Result<Vec<u8>, Error> {
        let record = M::TOPIC.record(message.type_name());
        let record = record.expect("the topic table names every record");
        let subject = M::TOPIC.subject(record.name);
        let Some(id) = self
            .registry
            .lookup(&subject, record.schema)
            .await
            .map_err(unavailable)?
        else {
            let message = format!("the registry has not {subject} of this version; `rollcall schemas register`");
            return Err(Error::without_source(message));
        };
        let framed = message.encode(&codec(Some((record.name, id))));
        framed.map_err(|error| Error::unavailable("the message can't be encoded", error))
    }

    /// `None`: a type that `M` doesn't know, or bytes that are none of its types.
    pub(crate) async fn decode<M: Message>(&self, type_name: &str, framed: &[u8]) -> Result<Option<M>, Error> {
        loop {
            match M::decode(&self.codec, type_name, framed) {
                Ok(message) => return Ok(message),
                Err(contracts::codec::Error::UnknownSchema(id)) => {
                    let schema = match self.registry.schema(id).await {
                        Ok(schema) => schema,
                        Err(registry::Error::NotFound { .. }) => return Ok(None),
                        Err(error) => return Err(unavailable(error)),
                    };
                    if self.codec.learn(id, &schema).is_err() {
                        return Ok(None);
                    }
                }
                Err(_) => return Ok(None),
            }
        }
    }
}

/// Knows the id of one record at most. The others have ids that no registry gives, as a codec wants one for each.
fn codec(known: Option<(&'static str, i32)>) -> Codec {
    let names = contracts::topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| record.name);
    let ids = names.zip(i32::MIN..).map(|(name, stand_in)| match known {
        Some((known, id)) if known == name => (name, id),
        _ => (name, stand_in),
    });
    Codec::with_ids(ids).expect("the topic table names every record, and every id is another one")
}
