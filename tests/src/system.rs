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

/// Secrets of a system. A system that outlives its process stores them in a file that only the owner can read.
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

    /// Returns the secrets in `file`, or writes new ones to it.
    pub fn load_or_create(file: &Path) -> Result<Self> {
        let stored = std::fs::read_to_string(file).ok();
        let secrets = match &stored {
            Some(text) => serde_json::from_str(text).with_context(|| format!("cannot read {}", file.display()))?,
            None => Self::new(),
        };
        let text = serde_json::to_string(&secrets)?;
        // A file of an earlier version may contain fewer secrets.
        if stored.as_ref() != Some(&text) {
            write_for_owner(file, &text)?;
        }
        Ok(secrets)
    }
}

/// Returns 64 random characters.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a file atomically, readable only by its owner.
pub fn write_for_owner(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).truncate(true).write(true), 0o600)
        .open(&new)
        .and_then(|mut new| new.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Configuration of a system.
pub struct Options {
    /// Use separate databases and topics, which are deleted at the end, instead of the stack's.
    pub isolated: bool,
    /// Number of processes of each service; 1 for a service that is not listed.
    pub replicas: HashMap<&'static str, usize>,
    /// Additional settings of single services.
    pub settings: Vec<(&'static str, String, String)>,
    pub secrets: Secrets,
    pub logs: PathBuf,
}

impl Options {
    /// Separate databases and topics, one process of each service.
    pub fn isolated(logs: impl Into<PathBuf>) -> Self {
        Self {
            isolated: true,
            replicas: HashMap::new(),
            settings: Vec::new(),
            secrets: Secrets::new(),
            logs: logs.into(),
        }
    }

    /// The stack's databases and topics.
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

/// The running processes of all services.
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
    /// Creates topics, schemas and databases, starts every process, and returns when all processes are ready.
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
        std::fs::create_dir_all(&options.logs).context("cannot create the log folder")?;
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
        let created = messaging::topics::apply(&settings, topics::ALL, 1)
            .await
            .context("cannot create the topics")?;
        progress(&format!(
            "{} topics created, {} already exist",
            created.len(),
            topics::ALL.len() - created.len()
        ));
        let registry = contracts::Registry::new(&self.servers.registry);
        let ids = registry
            .register_all(topics::ALL, "")
            .await
            .context("cannot register the schemas")?;
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
        // Without this process's environment, so a service depends only on the settings below.
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
                // All requests come from one address.
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
            .context("cannot write the log file")?;
        let mut command = self.command(process.service, process.admin_port, process.port);
        command.arg("run").stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| missing_binary(process.service))?;
        self.processes[index].child = Some(child);
        Ok(())
    }

    async fn ready(&mut self, index: usize) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = format!("http://127.0.0.1:{}/ready", self.processes[index].admin_port);
        let mut reason = String::new();
        while Instant::now() < deadline {
            let child = self.processes[index]
                .child
                .as_mut()
                .context("the process was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status}; see {}",
                    self.name_of(index),
                    self.log_of(index)
                );
            }
            match self.http.get(&url).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => reason = response.text().await.unwrap_or_default(),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!(
            "{} is not ready: {reason}; see {}",
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

    /// Returns the name and the process id of each running process.
    pub fn process_ids(&self) -> Vec<(&str, u32)> {
        self.processes
            .iter()
            .filter_map(|process| Some((process.name.as_str(), process.child.as_ref()?.id()?)))
            .collect()
    }

    /// Returns the public address of each gateway process.
    pub fn gateways(&self) -> Vec<String> {
        self.processes
            .iter()
            .filter_map(|process| process.port)
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    /// Signs the first admin in. Retries, because the gateway creates the account at its start.
    pub async fn admin(&self) -> Result<Client> {
        let gateway = self.gateways().first().cloned().context("the system has no gateway")?;
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

    /// Kills every process of a service with SIGKILL.
    pub async fn kill(&mut self, service: &str) -> Result<()> {
        for process in self.processes.iter_mut().filter(|process| process.service == service) {
            if let Some(mut child) = process.child.take() {
                child.kill().await?;
            }
        }
        Ok(())
    }

    /// Starts the killed processes of a service and waits until they are ready.
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

    /// Sends SIGTERM to every process, in the order of the message flow, and waits for their drain. Returns a description
    /// of each process that did not end with exit code 0.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        for process in &self.processes {
            if let Some(pid) = process.child.as_ref().and_then(Child::id) {
                // For a process that has already ended, `kill` fails; `wait` below reports its status.
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
                Ok(Ok(status)) => failures.push(format!("{} ended with {status}", process.name)),
                Ok(Err(error)) => failures.push(format!("{}: {error}", process.name)),
                Err(_) => failures.push(format!("{} did not drain within {DRAIN_WITHIN:?}", process.name)),
            }
        }
        if self.options.isolated {
            self.clean_up().await?;
        }
        Ok(failures)
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

    /// Returns a process's metrics in Prometheus's text format.
    pub async fn metrics(&self, process: &Process) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", process.admin_port);
        Ok(self.http.get(url).send().await?.text().await?)
    }

    /// Returns the URL of a service's store.
    pub fn database(&self, service: &str) -> &str {
        &self.databases[service]
    }
}

/// A temporary Postgres database.
pub struct Database {
    pub url: String,
    admin: sqlx::PgPool,
    name: String,
}

impl Database {
    /// Creates a database with a random suffix so that concurrent runs do not share it.
    pub async fn create(servers: &Servers, name: &str) -> Result<Self> {
        let run = Uuid::now_v7().simple().to_string();
        let name = format!("{name}_{}", &run[run.len() - 10..]);
        let admin = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .connect(&servers.postgres_admin)
            .await
            .context("Postgres is unreachable")?;
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

/// Parses the samples of `metric` in Prometheus's text format: labels and value.
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

/// Creates the databases of one run.
async fn isolated_databases(servers: &Servers, run: &str) -> Result<HashMap<&'static str, String>> {
    let admin = sqlx::PgPool::connect(&servers.postgres_admin)
        .await
        .context("Postgres is unreachable")?;
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

/// Returns the path of a service's executable, in the folder `ROLLCALL_BIN_DIR` or else in the folder of the current one.
fn binary(service: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("ROLLCALL_BIN_DIR").filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder).join(service);
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let folder = executable.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    folder.join(service)
}

fn missing_binary(service: &str) -> String {
    format!(
        "cannot start {}; run `cargo build --workspace` first",
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
    fn with_database_replaces_the_database_of_a_url() {
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
    fn stored_secrets_are_reused_and_missing_ones_are_added() -> Result<()> {
        let folder = std::env::temp_dir().join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir(&folder)?;
        let file = folder.join("secrets.json");
        let text = |secrets: &Secrets| serde_json::to_string(secrets);
        let first = Secrets::load_or_create(&file)?;
        ensure!(
            text(&first)? == text(&Secrets::load_or_create(&file)?)?,
            "the second run has other secrets"
        );

        std::fs::write(&file, r#"{"admin_email":"a@b.example","admin_password":"long enough"}"#)?;
        let completed = Secrets::load_or_create(&file)?;
        ensure!(completed.admin_password == "long enough" && completed.link_key.len() >= 32);
        ensure!(
            text(&completed)? == text(&Secrets::load_or_create(&file)?)?,
            "an added key was not stored"
        );
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }

    #[test]
    fn samples_are_parsed_with_their_labels() {
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
