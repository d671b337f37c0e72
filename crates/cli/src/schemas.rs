//! `rollcall schemas`: registers the schemas of this version, or compares them with the registry.

use contracts::{Codec, Message, Registry, registry};
use serde::Serialize;

use crate::output::{Output, table};
use crate::progress::Progress;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register all schemas; existing ones are unchanged
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
    /// URL of the schema registry, including the path of its Confluent API
    #[arg(
        long = "registry",
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: String,
}

/// State of a schema in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Registered,
    /// Not registered, but compatible.
    Missing,
    /// Not registered, and incompatible with the registered version.
    Incompatible,
}

#[derive(Debug, Serialize)]
struct Row {
    subject: String,
    state: State,
    id: Option<i32>,
    /// Reasons that the registry gives for an incompatibility.
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
        // Registers no schema at all, because services of this version need all of them.
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
    let mut progress = Progress::new("comparing schemas");
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
    output.print(&serde_json::json!({ "schemas": rows }), || text(rows));
    Outcome::positive_if(rows.iter().all(|row| row.state == State::Registered))
}

fn text(rows: &[Row]) -> String {
    let different: Vec<_> = rows.iter().filter(|row| row.state != State::Registered).collect();
    if different.is_empty() {
        return format!("all {} schemas are registered", rows.len());
    }
    let advice = if different.iter().any(|row| row.state == State::Incompatible) {
        "no schema was registered; a change that schema resolution does not support needs a new record name"
    } else {
        "`rollcall schemas register` registers the missing schemas"
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
    // The source error states what to do.
    Error::unavailable("cannot use the schema registry", error)
}

/// Encodes and decodes messages with schemas from the registry, which may be newer or older than this version.
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

    /// Encodes a message, framed with the id that the registry has for its schema.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the schema is not registered or the registry is unreachable.
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
            let message = format!(
                "the registry lacks this version's schema of {subject}; register it with `rollcall schemas register`"
            );
            return Err(Error::without_source(message));
        };
        let framed = message.encode(&codec(Some((record.name, id))));
        framed.map_err(|error| Error::unavailable("cannot encode the message", error))
    }

    /// Decodes a message. Returns `None` if `M` lacks the type, or if the bytes are not of that type.
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

/// Returns a codec with the id of one record at most.
///
/// The other records get ids that no registry assigns, because a codec requires an id for each record.
fn codec(known: Option<(&'static str, i32)>) -> Codec {
    let names = contracts::topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| record.name);
    let ids = names.zip(i32::MIN..).map(|(name, placeholder)| match known {
        Some((known, id)) if known == name => (name, id),
        _ => (name, placeholder),
    });
    Codec::with_ids(ids).expect("the topic table names every record, and the ids are distinct")
}
