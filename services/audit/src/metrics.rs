//! What the log counts.

use prometheus::{IntCounterVec, Opts, Registry};

#[derive(Clone)]
pub struct Metrics {
    pub(crate) findings: IntCounterVec,
}

impl Metrics {
    /// Registers with the process's registry. Fails where a name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let findings = IntCounterVec::new(
            Opts::new(
                "rollcall_audit_findings_total",
                "Findings about records; a batch that is tried again counts again",
            ),
            &["topic", "kind"],
        )?;
        registry.register(Box::new(findings.clone()))?;
        Ok(Self { findings })
    }
}
