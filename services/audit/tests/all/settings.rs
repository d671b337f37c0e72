use std::time::Duration;

use audit::config::Config;
use chassis::Settings;
use chassis::settings::describe;

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in describe(Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}

#[test]
fn one_lane_collects_records_unless_the_settings_name_others() {
    let lanes = |further: &[(&'static str, &'static str)]| {
        let required = [
            ("DATABASE_URL", "mongodb://127.0.0.1/audit"),
            ("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081"),
            ("KAFKA_BROKERS", "127.0.0.1:9092"),
        ];
        let settings = Settings::from_map(required.into_iter().chain(further.iter().copied()));
        let config = settings.read(Config::from_settings).expect("valid settings");
        (config.messaging.kafka.lanes, config.messaging.kafka.lane_pace)
    };
    assert_eq!(lanes(&[]), (1, Duration::from_millis(50)));
    assert_eq!(lanes(&[("LANES", "4"), ("LANE_PACE_MS", "0")]), (4, Duration::ZERO));
}
