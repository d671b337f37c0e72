use std::net::SocketAddr;
use std::time::Duration;

use chassis::Settings;
use chassis::settings::{Presence, Reader, Secret, Setting, Url, describe};

#[derive(Debug)]
struct Config {
    database: Url,
    lease: Duration,
    listen: SocketAddr,
    brokers: Vec<String>,
    password: Option<Secret>,
}

fn config(read: &mut Reader) -> Config {
    Config {
        database: read.required(
            "DATABASE_URL",
            "postgres://users@127.0.0.1/users",
            "this service's own database",
        ),
        lease: read.or(
            "LEASE_MS",
            "3000",
            "time for which an unresponsive process keeps its rows",
        ),
        listen: read.or("LISTEN", "127.0.0.1:8080", "address of the public port"),
        brokers: read.or("BROKERS", "a:1, b:2", "addresses of Kafka brokers"),
        password: read.optional("SMTP_PASSWORD", "hunter2", "password for the mail server"),
    }
}

#[test]
fn an_unset_or_empty_setting_has_its_default() {
    let settings = Settings::from_map([
        ("DATABASE_URL", " postgres://db/x\n"),
        ("LEASE_MS", " "),
        ("SMTP_PASSWORD", ""),
    ]);
    let config = settings.read(config).expect("valid settings");
    assert_eq!(config.database.as_str(), "postgres://db/x");
    assert_eq!(config.lease, Duration::from_secs(3));
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.brokers, ["a:1", "b:2"]);
    assert!(config.password.is_none());
}

#[test]
fn a_missing_setting_is_named_with_an_example() {
    let error = Settings::default().read(config).expect_err("DATABASE_URL is missing");
    assert_eq!(
        error.to_string(),
        "DATABASE_URL is not set (this service's own database); \
         for example DATABASE_URL=postgres://users@127.0.0.1/users"
    );
}

#[test]
fn all_problems_are_reported_together() {
    let settings = Settings::from_map([
        ("DATABASE_URL", "users"),
        ("LEASE_MS", "3s"),
        ("LISTEN", "8080"),
        ("BROKERS", "k"),
    ]);
    let error = settings.read(config).expect_err("three problems");
    assert_eq!(
        error.names().collect::<Vec<_>>(),
        ["DATABASE_URL", "LEASE_MS", "LISTEN"]
    );
    let text = error.to_string();
    assert!(
        text.contains(r#"LEASE_MS is "3s", but must be a whole number of milliseconds; for example LEASE_MS=3000"#)
    );
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn messages_and_debug_output_contain_no_secrets() {
    let settings = Settings::from_map([("DATABASE_URL", "hunter2"), ("SMTP_PASSWORD", "hunter2")]);
    let error = settings.read(config).expect_err("not a URL");
    assert!(!format!("{settings:?} {error} {error:?}").contains("hunter2"));

    let url = "postgres://ada:hunter2@db:5432/users?password=hunter2";
    for url in [
        url,
        "postgres://ada:hunt/hunter2@db/users",
        "postgres://ada:x?hunter2@db/users",
    ] {
        let settings = Settings::from_map([("DATABASE_URL", url), ("SMTP_PASSWORD", "hunter2")]);
        let config = settings.read(config).expect("valid settings");
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        assert_eq!(config.database.as_str(), url);
        assert_eq!(config.password.expect("the password is set").expose(), "hunter2");
    }
    let settings = Settings::from_map([("DATABASE_URL", url)]);
    let config = settings.read(config).expect("valid settings");
    assert_eq!(format!("{:?}", config.database), "postgres://db:5432/users");
}

#[test]
fn a_problem_found_by_the_caller_is_reported_with_the_others() {
    let error = Settings::from_map([("LEASE_MS", "1")]).read(|read| {
        let config = config(read);
        if config.lease < Duration::from_secs(2) {
            read.problem("LEASE_MS", "must be longer than the delivery timeout");
        }
        config
    });
    let error = error.expect_err("two problems");
    assert_eq!(error.names().collect::<Vec<_>>(), ["DATABASE_URL", "LEASE_MS"]);
}

#[test]
fn settings_are_listed_without_an_environment() {
    let listed = describe(config);
    assert_eq!(listed.len(), 5);
    assert_eq!(
        listed[1],
        Setting {
            name: "LEASE_MS",
            presence: Presence::Default,
            sample: "3000".to_owned(),
            description: "time for which an unresponsive process keeps its rows",
        }
    );
}

#[test]
fn the_name_of_a_duration_determines_its_unit() {
    let read = |name: &'static str| {
        let settings = Settings::from_map([(name, "2")]);
        settings
            .read(|read| read.or::<Duration>(name, "1", ""))
            .expect("a duration")
    };
    assert_eq!(read("X_MS"), Duration::from_millis(2));
    assert_eq!(read("X_SECONDS"), Duration::from_secs(2));
    assert_eq!(read("X_MINUTES"), Duration::from_secs(120));
    assert_eq!(read("X_HOURS"), Duration::from_secs(7_200));
    assert_eq!(read("X_DAYS"), Duration::from_secs(172_800));
}

#[test]
#[should_panic(expected = "the sample of WORKERS")]
fn reading_panics_if_a_sample_is_not_a_valid_value() {
    let _ = Settings::from_map([("WORKERS", "4")]).read(|read| read.or::<u16>("WORKERS", "four", ""));
}
