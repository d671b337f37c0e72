/// The addresses of the servers that tests use.
#[derive(Debug, Clone)]
pub struct Env {
    pub kafka_brokers: String,
    pub schema_registry_url: String,
    /// URL with a role that may create databases.
    pub postgres_admin_url: String,
    pub mongodb_url: String,
}

/// Reads the environment.
///
/// # Panics
/// Panics if a variable is missing, because a test that did not run has not passed.
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
        .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, or first eval \"$(scripts/stack env)\""))
}
