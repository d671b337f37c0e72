//! The six services as processes, on the real servers.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use contracts::topics;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::client::Client;
use crate::servers::Servers;

/// The services, in the order in which they are started.
pub const SERVICES: [&str; 6] = ["user", "event", "registration", "notification", "audit", "gateway"];

const READY_WITHIN: Duration = Duration::from_secs(60);
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// What nobody else may know: made once, and kept in a file of its owner's where a system lives on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secrets {
    pub admin_email: String,
    pub admin_password: String,
    #[serde(default = "random")]
    fingerprint_key: String,
    #[serde(default = "random")]
    link_key: String,
    #[serde(default = "random")]
    ticket_key: String,
}

impl Secrets {
    pub fn new() -> Self {
        Self {
            admin_email: "admin@rollcall.example".to_owned(),
            admin_password: random()[..24].to_owned(),
            fingerprint_key: random(),
            link_key: random(),
            ticket_key: random(),
        }
    }

    /// Those of an earlier run, or new ones.
    pub fn kept_in(file: &Path) -> Result<Self> {
        let kept = std::fs::read_to_string(file).ok();
        let secrets = match &kept {
            Some(text) => serde_json::from_str(text).with_context(|| format!("{} can't be read", file.display()))?,
            None => Self::new(),
        };
        let text = serde_json::to_string(&secrets)?;
        // An earlier run may have known fewer.
        if kept.as_ref() != Some(&text) {
            write_for_owner(file, &text)?;
        }
        Ok(secrets)
    }
}

/// 64 characters that nobody guesses.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a file whole or not at all, which only its owner can read.
pub fn write_for_owner(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).truncate(true).write(true), 0o600)
        .open(&new)
        .and_then(|mut new| new.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("{} can't be written", file.display()))
}

/// How a system is set up.
pub struct Options {
    /// Databases and topics of its own, deleted at the end; else those of the stack, which stay.
    pub isolated: bool,
    /// How many processes of each service; 1 where it is not named.
    pub replicas: HashMap<&'static str, usize>,
    /// Settings of single services, beyond what every one needs.
    pub settings: Vec<(&'static str, String, String)>,
    pub secrets: Secrets,
    pub logs: PathBuf,
}

impl Options {
    /// Databases and topics of its own, one process of each service.
    pub fn isolated(logs: impl Into<PathBuf>) -> Self {
        Self {
            isolated: true,
            replicas: HashMap::new(),
            settings: Vec::new(),
            secrets: Secrets::new(),
            logs: logs.into(),
        }
    }

    /// On the stack's own databases and topics.
    pub fn of_the_stack(logs: impl Into<PathBuf>, secrets: Secrets) -> Self {
        Self {
            isolated: false,
            secrets,
            ..Self::isolated(logs)
        }
    }

    #[must_use]
    pub fn replicas(mut self, service: &'static str, count: usize) -> Self {
        self.replicas.insert(service, count);
        self
    }
}

/// Running processes.
pub struct System {
    pub servers: Servers,
    pub topic_prefix: String,
    options: Options,
    databases: HashMap<&'static str, String>,
    processes: Vec<Process>,
    http: reqwest::Client,
}

/// One process of a service.
pub struct Process {
    pub service: &'static str,
    pub name: String,
    pub admin_port: u16,
    /// The gateway's public port.
    pub port: Option<u16>,
    child: Option<Child>,
}

impl System {
    /// Makes topics, schemas and databases, and starts every process. Answers when all are ready.
    pub async fn start(servers: Servers, options: Options, mut progress: impl FnMut(&str)) -> Result<Self> {
        let run = Uuid::now_v7().simple().to_string();
        let run = &run[run.len() - 10..];
        let topic_prefix = if options.isolated {
            format!("e2e-{run}.")
        } else {
            String::new()
        };
        let databases = if options.isolated {
            isolated_databases(&servers, run).await?
        } else {
            databases_of_the_stack()?
        };
        std::fs::create_dir_all(&options.logs).context("the folder for logs can't be made")?;
        let mut system = Self {
            servers,
            topic_prefix,
            options,
            databases,
            processes: Vec::new(),
            http: reqwest::Client::new(),
        };
        system.prepare(&mut progress).await?;
        for service in SERVICES {
            for replica in 0..system.options.replicas.get(service).copied().unwrap_or(1) {
                let process = Process {
                    service,
                    name: format!("{service}-{}", replica + 1),
                    admin_port: free_port()?,
                    port: (service == "gateway").then(free_port).transpose()?,
                    child: None,
                };
                system.processes.push(process);
            }
        }
        for index in 0..system.processes.len() {
            system.spawn(index)?;
        }
        for index in 0..system.processes.len() {
            system.ready(index).await?;
            progress(&format!("{} is ready", system.processes[index].name));
        }
        Ok(system)
    }

    async fn prepare(&mut self, progress: &mut impl FnMut(&str)) -> Result<()> {
        let mut settings = messaging::kafka::Settings::new(&self.servers.kafka);
        settings.topic_prefix.clone_from(&self.topic_prefix);
        let made = messaging::topics::apply(&settings, topics::ALL, 1)
            .await
            .context("the topics were not made")?;
        progress(&format!(
            "{} topics made, {} there",
            made.len(),
            topics::ALL.len() - made.len()
        ));
        let registry = contracts::Registry::new(&self.servers.registry);
        let ids = registry
            .register_all(topics::ALL, "")
            .await
            .context("the schemas were not registered")?;
        progress(&format!("{} schemas registered", ids.len()));
        let migrations = SERVICES.map(|service| {
            let mut command = self.command(service, free_port().unwrap_or(0), None);
            command.arg("migrate");
            async move { (service, command.output().await) }
        });
        for migration in migrations {
            let (service, output) = migration.await;
            let output = output.with_context(|| missing_binary(service))?;
            ensure!(
                output.status.success(),
                "{service} migrate: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        progress("databases migrated");
        Ok(())
    }

    fn command(&self, service: &'static str, admin_port: u16, port: Option<u16>) -> Command {
        let mut command = Command::new(binary(service));
        // Nothing of this process's environment: a service gets what it needs, and no more.
        command.env_clear().kill_on_drop(true).stdin(Stdio::null());
        command
            .env("DATABASE_URL", &self.databases[service])
            .env("KAFKA_BROKERS", &self.servers.kafka)
            .env("KAFKA_TOPIC_PREFIX", &self.topic_prefix)
            .env("SCHEMA_REGISTRY_URL", &self.servers.registry)
            .env("ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
            .env("LOG_FORMAT", "pretty");
        if let Ok(filter) = std::env::var("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        if let Some(otlp) = &self.servers.otlp {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp)
                .env("OTEL_TRACES_SAMPLER_ARG", "1");
        }
        match service {
            "notification" => {
                command
                    .env("SMTP_URL", &self.servers.smtp)
                    .env("LINK_KEY", &self.options.secrets.link_key);
                if let Some(gateway) = self.gateways().first() {
                    command.env("PUBLIC_URL", gateway);
                }
            }
            "gateway" => {
                command
                    .env("LISTEN", format!("127.0.0.1:{}", port.unwrap_or(0)))
                    .env("GATEWAY_BOOTSTRAP_ADMIN_EMAIL", &self.options.secrets.admin_email)
                    .env("GATEWAY_BOOTSTRAP_ADMIN_PASSWORD", &self.options.secrets.admin_password)
                    .env("FINGERPRINT_KEY", &self.options.secrets.fingerprint_key)
                    .env("LINK_KEY", &self.options.secrets.link_key)
                    .env("TICKET_KEY", &self.options.secrets.ticket_key);
                // Everybody comes from one address.
                for limit in ["ANONYMOUS", "WRITES", "CHECK_INS", "SIGN_INS", "ACCOUNT"] {
                    command.env(format!("RATE_LIMIT_{limit}"), "0");
                }
            }
            _ => {}
        }
        for (_, name, value) in self.options.settings.iter().filter(|(of, _, _)| *of == service) {
            command.env(name, value);
        }
        command
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let process = &self.processes[index];
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(&process.name))
            .context("the log can't be written")?;
        let mut command = self.command(process.service, process.admin_port, process.port);
        command.arg("run").stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| missing_binary(process.service))?;
        self.processes[index].child = Some(child);
        Ok(())
    }

    async fn ready(&mut self, index: usize) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = format!("http://127.0.0.1:{}/ready", self.processes[index].admin_port);
        let mut said = String::new();
        while Instant::now() < deadline {
            let child = self.processes[index]
                .child
                .as_mut()
                .context("only a started process gets ready")?;
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status}; see {}",
                    self.name_of(index),
                    self.log_of(index)
                );
            }
            match self.http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => said = answer.text().await.unwrap_or_default(),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!(
            "{} is not ready: {said}; see {}",
            self.name_of(index),
            self.log_of(index)
        )
    }

    fn name_of(&self, index: usize) -> &str {
        &self.processes[index].name
    }

    fn log_of(&self, index: usize) -> String {
        self.log(self.name_of(index)).display().to_string()
    }

    pub fn secrets(&self) -> &Secrets {
        &self.options.secrets
    }

    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The public address of each gateway process.
    pub fn gateways(&self) -> Vec<String> {
        self.processes
            .iter()
            .filter_map(|process| process.port)
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    /// The first admin, signed in. The gateway makes the account at its start, and it takes a moment.
    pub async fn admin(&self) -> Result<Client> {
        let gateway = self.gateways().first().cloned().context("a system has a gateway")?;
        let secrets = self.secrets();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let signed_in = Client::new(&gateway)
                .sign_in(&secrets.admin_email, &secrets.admin_password)
                .await;
            if signed_in.is_ok() || Instant::now() > deadline {
                return signed_in;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self, process: &str) -> PathBuf {
        self.options.logs.join(format!("{process}.log"))
    }

    /// kill -9 of every process of a service.
    pub async fn kill(&mut self, service: &str) -> Result<()> {
        for process in self.processes.iter_mut().filter(|process| process.service == service) {
            if let Some(mut child) = process.child.take() {
                child.kill().await?;
            }
        }
        Ok(())
    }

    /// Starts what was killed, and waits until it is ready.
    pub async fn restart(&mut self, service: &str) -> Result<()> {
        let indices: Vec<_> = (0..self.processes.len())
            .filter(|index| self.processes[*index].service == service && self.processes[*index].child.is_none())
            .collect();
        for index in &indices {
            self.spawn(*index)?;
        }
        for index in indices {
            self.ready(index).await?;
        }
        Ok(())
    }

    /// SIGTERM to all, in the order of the flow of messages; each drains. Answers who did not end with 0.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for process in &self.processes {
            if let Some(pid) = process.child.as_ref().and_then(Child::id) {
                // A process that is gone already answers with an error, which wait() tells below.
                let _ = std::process::Command::new("kill")
                    .arg("-TERM")
                    .arg(pid.to_string())
                    .status();
            }
        }
        for process in &mut self.processes {
            let Some(mut child) = process.child.take() else {
                continue;
            };
            match tokio::time::timeout(DRAIN_WITHIN, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => wrong.push(format!("{} ended with {status}", process.name)),
                Ok(Err(error)) => wrong.push(format!("{}: {error}", process.name)),
                Err(_) => wrong.push(format!("{} did not drain within {DRAIN_WITHIN:?}", process.name)),
            }
        }
        if self.options.isolated {
            self.clean_up().await?;
        }
        Ok(wrong)
    }

    async fn clean_up(&self) -> Result<()> {
        let mut settings = messaging::kafka::Settings::new(&self.servers.kafka);
        settings.topic_prefix.clone_from(&self.topic_prefix);
        messaging::topics::delete(&settings, topics::ALL).await?;
        let mongo = mongodb::Client::with_uri_str(&self.servers.mongodb).await?;
        let postgres = sqlx::PgPool::connect(&self.servers.postgres_admin).await?;
        for url in self.databases.values() {
            let name = database_name(url);
            if url.starts_with("mongodb") {
                mongo.database(name).drop().await?;
            } else {
                sqlx::query(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
                    .execute(&postgres)
                    .await?;
            }
        }
        Ok(())
    }

    /// A process's metrics, as Prometheus reads them.
    pub async fn metrics(&self, process: &Process) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", process.admin_port);
        Ok(self.http.get(url).send().await?.text().await?)
    }

    /// The URL of a service's store.
    pub fn database(&self, service: &str) -> &str {
        &self.databases[service]
    }
}

/// A Postgres database for one purpose.
pub struct Database {
    pub url: String,
    admin: sqlx::PgPool,
    name: String,
}

impl Database {
    /// With a random suffix, so that runs do not meet.
    pub async fn create(servers: &Servers, name: &str) -> Result<Self> {
        let run = Uuid::now_v7().simple().to_string();
        let name = format!("{name}_{}", &run[run.len() - 10..]);
        let admin = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .connect(&servers.postgres_admin)
            .await
            .context("Postgres does not answer")?;
        sqlx::query(&format!("CREATE DATABASE \"{name}\""))
            .execute(&admin)
            .await?;
        Ok(Self {
            url: with_database(&servers.postgres_admin, &name),
            admin,
            name,
        })
    }

    pub async fn drop(self) -> Result<()> {
        let statement = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        sqlx::query(&statement).execute(&self.admin).await?;
        Ok(())
    }
}

/// Reads one row a line out of Prometheus's text format: labels and value of `metric`.
pub fn samples<'a>(text: &'a str, metric: &'a str) -> impl Iterator<Item = (HashMap<&'a str, &'a str>, f64)> + 'a {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ').map(|_| rest)?),
        };
        let labels = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        Some((labels, value.trim().parse().ok()?))
    })
}

/// Databases that belong to one run.
async fn isolated_databases(servers: &Servers, run: &str) -> Result<HashMap<&'static str, String>> {
    let admin = sqlx::PgPool::connect(&servers.postgres_admin)
        .await
        .context("Postgres does not answer")?;
    let mut databases = HashMap::new();
    for service in SERVICES {
        let name = format!("e2e_{service}_{run}");
        let base = match service {
            "notification" | "audit" => &servers.mongodb,
            _ => {
                sqlx::query(&format!("CREATE DATABASE \"{name}\""))
                    .execute(&admin)
                    .await?;
                &servers.postgres_admin
            }
        };
        databases.insert(service, with_database(base, &name));
    }
    Ok(databases)
}

fn databases_of_the_stack() -> Result<HashMap<&'static str, String>> {
    SERVICES
        .into_iter()
        .map(|service| {
            let name = format!("{}_DATABASE_URL", service.to_uppercase());
            let url = std::env::var(&name).with_context(|| format!("{name} is not set; see `scripts/stack env`"))?;
            Ok((service, url))
        })
        .collect()
}

fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let authority_end = base.find("://").map_or(0, |at| at + 3);
    let path = base[authority_end..]
        .find('/')
        .map_or(base.len(), |at| authority_end + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &base[..path])
}

fn database_name(url: &str) -> &str {
    let base = url.split('?').next().unwrap_or(url);
    base.rsplit('/').next().unwrap_or(base)
}

/// Beside the program that runs this.
fn binary(service: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    folder.join(service)
}

fn missing_binary(service: &str) -> String {
    format!(
        "{} can't be started; run `cargo build --workspace` first",
        binary(service).display()
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_replaces_the_one_of_the_url() {
        assert_eq!(
            with_database("postgres://u:p@h:1/postgres", "x"),
            "postgres://u:p@h:1/x"
        );
        assert_eq!(
            with_database("mongodb://h:1/?replicaSet=rs0", "x"),
            "mongodb://h:1/x?replicaSet=rs0"
        );
        assert_eq!(database_name("mongodb://h:1/x?replicaSet=rs0"), "x");
    }

    #[test]
    fn secrets_are_kept_and_those_that_came_later_join_them() -> Result<()> {
        let folder = std::env::temp_dir().join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir(&folder)?;
        let file = folder.join("secrets.json");
        let text = |secrets: &Secrets| serde_json::to_string(secrets);
        let first = Secrets::kept_in(&file)?;
        ensure!(
            text(&first)? == text(&Secrets::kept_in(&file)?)?,
            "the second run has others"
        );

        std::fs::write(&file, r#"{"admin_email":"a@b.example","admin_password":"long enough"}"#)?;
        let joined = Secrets::kept_in(&file)?;
        ensure!(joined.admin_password == "long enough" && joined.link_key.len() >= 32);
        ensure!(
            text(&joined)? == text(&Secrets::kept_in(&file)?)?,
            "a key that came later was not kept"
        );
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP lag x\nlag{topic=\"users\",partition=\"3\"} 7\nlag_other 2\nplain 4\n";
        let read: Vec<_> = samples(text, "lag").collect();
        assert_eq!(read.len(), 1);
        assert_eq!(
            (read[0].0["topic"], read[0].0["partition"], read[0].1),
            ("users", "3", 7.0)
        );
        assert_eq!(samples(text, "plain").next().map(|(_, value)| value), Some(4.0));
    }
}
