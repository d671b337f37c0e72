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
