//! What the mailer counts.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

#[derive(Clone)]
pub struct Metrics {
    pub(crate) mails: IntCounterVec,
    pub(crate) delay: HistogramVec,
    pub(crate) reachable: IntGauge,
}

impl Metrics {
    /// Registers with the process's registry. Fails where a name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mails = IntCounterVec::new(
            Opts::new("rollcall_mails_total", "Mails taken in hand, by what became of them"),
            &["kind", "outcome"],
        )?;
        let delay = HistogramVec::new(
            HistogramOpts::new(
                "rollcall_mail_delay_seconds",
                "Time from saying the cause of a mail to the mail server's taking it",
            )
            .buckets(vec![
                0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 3600.0,
            ]),
            &["kind"],
        )?;
        let reachable = IntGauge::new(
            "rollcall_mail_server_reachable",
            "1 while mails are sent, 0 while they wait",
        )?;
        registry.register(Box::new(mails.clone()))?;
        registry.register(Box::new(delay.clone()))?;
        registry.register(Box::new(reachable.clone()))?;
        Ok(Self {
            mails,
            delay,
            reachable,
        })
    }
}
