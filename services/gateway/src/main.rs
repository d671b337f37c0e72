use std::process::ExitCode;

use gateway::Config;

/// Settings, telemetry, admin port, signals, drain and exit codes are the chassis's; what a gateway starts, in which
/// order, is `gateway::start`.
fn main() -> ExitCode {
    chassis::main(
        "gateway",
        env!("CARGO_PKG_VERSION"),
        Config::from_settings,
        gateway::migrate,
        async |config, process| gateway::start(config, &process).await.map(|_| ()),
    )
}
