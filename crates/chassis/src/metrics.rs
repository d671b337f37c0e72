//! The registry that `/metrics` shows: one a process, handed around, no global.

use prometheus::{IntGauge, Opts, Registry};
use uuid::Uuid;

/// Which service, version and run the other metrics are from; always 1.
pub const PROCESS_INFO: &str = "rollcall_process_info";

/// A registry with the process's own metrics: `process_cpu_seconds_total`, `process_resident_memory_bytes`
/// and so on (Linux only), and [`PROCESS_INFO`].
pub fn registry(service: &str, version: &str, instance: Uuid) -> Registry {
    let registry = Registry::new();
    let info = Opts::new(
        PROCESS_INFO,
        "Which service, version and run the other metrics are from; always 1",
    )
    .const_label("service", service)
    .const_label("version", version)
    .const_label("instance_id", instance.to_string());
    let info = IntGauge::with_opts(info).expect("the name and the labels are valid");
    info.set(1);
    registry.register(Box::new(info)).expect("the registry is new");
    #[cfg(target_os = "linux")]
    registry
        .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
        .expect("nothing else is named process_");
    registry
}

/// The registry in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> prometheus::Result<String> {
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}
