//! The registry that `/metrics` shows. Each process has one, which is passed as an argument and not a global.

mod pool;

pub use pool::{PoolConnections, register_pool};

use prometheus::{IntGauge, Opts, Registry};
use uuid::Uuid;

/// Name of the metric whose labels are the service, version and instance of the process. Its value is always 1.
pub const PROCESS_INFO: &str = "rollcall_process_info";

/// Returns a registry with metrics of the process: `process_cpu_seconds_total`, `process_resident_memory_bytes`
/// and so on (Linux only), and [`PROCESS_INFO`].
pub fn registry(service: &str, version: &str, instance: Uuid) -> Registry {
    let registry = Registry::new();
    let info = Opts::new(
        PROCESS_INFO,
        "Service, version and instance of the process, as labels; always 1",
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
        .expect("the names beginning with process_ are unused");
    registry
}

/// Encodes the metrics in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> prometheus::Result<String> {
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}
