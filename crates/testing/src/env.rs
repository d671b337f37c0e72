/// Where the servers are that tests use.
#[derive(Debug, Clone)]
pub struct Env {
    pub kafka_brokers: String,
    pub schema_registry_url: String,
    /// A role that may make databases.
    pub postgres_admin_url: String,
    pub mongodb_url: String,
}

/// Reads the environment. A variable that is missing fails the test: what was not run has not passed.
pub fn env() -> Env {
    Env {
        kafka_brokers: read("KAFKA_BROKERS"),
        schema_registry_url: read("SCHEMA_REGISTRY_URL"),
        postgres_admin_url: read("POSTGRES_ADMIN_URL"),
        mongodb_url: read("MONGODB_URL"),
    }
}

fn read(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, or eval \"$(scripts/stack env)\""))
}
