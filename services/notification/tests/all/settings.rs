use std::time::Duration;

use chassis::Settings;
use chassis::settings::describe;
use notification::config::Config;

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in describe(Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}

#[test]
fn invalid_settings_are_reported_at_boot() {
    let settings = Settings::from_map([
        ("DATABASE_URL", "mongodb://127.0.0.1/notification"),
        ("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081"),
        ("KAFKA_BROKERS", "127.0.0.1:9092"),
        ("SMTP_URL", "http://127.0.0.1:1025"),
        ("MAIL_FROM", "nobody"),
        ("LINK_KEY", "one character too few for a key"),
        ("MAIL_RETENTION_DAYS", "9"),
    ]);
    let problems = settings
        .read(Config::from_settings)
        .expect_err("four settings are invalid");
    assert_eq!(
        problems.names().collect::<Vec<_>>(),
        ["MAIL_FROM", "MAIL_RETENTION_DAYS", "SMTP_URL", "LINK_KEY"]
    );
    assert!(!problems.to_string().contains("too few"), "{problems}");
}

#[test]
fn one_lane_collects_messages_unless_the_settings_name_others() {
    let lanes = |further: &[(&'static str, &'static str)]| {
        let required = [
            ("DATABASE_URL", "mongodb://127.0.0.1/notification"),
            ("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081"),
            ("KAFKA_BROKERS", "127.0.0.1:9092"),
            ("SMTP_URL", "smtp://127.0.0.1:1025"),
            ("LINK_KEY", "a key of thirty-two characters.."),
        ];
        let settings = Settings::from_map(required.into_iter().chain(further.iter().copied()));
        let config = settings.read(Config::from_settings).expect("valid settings");
        (config.messaging.kafka.lanes, config.messaging.kafka.lane_pace)
    };
    assert_eq!(lanes(&[]), (1, Duration::from_millis(20)));
    assert_eq!(lanes(&[("LANES", "4"), ("LANE_PACE_MS", "0")]), (4, Duration::ZERO));
}
