use std::process::ExitCode;

use gateway::Config;

/// The chassis handles settings, telemetry, the admin port, signals, the drain and exit codes. `gateway::start` contains
/// what a gateway starts, and in which order.
fn main() -> ExitCode {
    chassis::main(
        "gateway",
        env!("CARGO_PKG_VERSION"),
        Config::from_settings,
        gateway::migrate,
        async |config, process| gateway::start(config, &process).await.map(|_| ()),
    )
}
