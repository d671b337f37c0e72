//! The metrics of the audit log.

use prometheus::{IntCounterVec, Opts, Registry};

#[derive(Clone)]
pub struct Metrics {
    pub(crate) findings: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics with the registry of the process.
    ///
    /// # Errors
    /// Fails if a metric with the same name is already registered.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let findings = IntCounterVec::new(
            Opts::new(
                "rollcall_audit_findings_total",
                "Number of findings about records; a batch that is retried is counted again",
            ),
            &["topic", "kind"],
        )?;
        registry.register(Box::new(findings.clone()))?;
        Ok(Self { findings })
    }
}
