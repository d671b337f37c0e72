//! The metrics of the mailer.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

#[derive(Clone)]
pub struct Metrics {
    pub(crate) mails: IntCounterVec,
    pub(crate) delay: HistogramVec,
    pub(crate) reachable: IntGauge,
}

impl Metrics {
    /// Registers the metrics with the registry of the process.
    ///
    /// # Errors
    /// Fails if a metric with the same name is already registered.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mails = IntCounterVec::new(
            Opts::new(
                "rollcall_mails_total",
                "Number of attempts to send an e-mail, by kind and outcome",
            ),
            &["kind", "outcome"],
        )?;
        let delay = HistogramVec::new(
            HistogramOpts::new(
                "rollcall_mail_delay_seconds",
                "Time from the publication of the message that caused an e-mail until the mail server accepted the e-mail",
            )
            .buckets(vec![
                0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 3600.0,
            ]),
            &["kind"],
        )?;
        let reachable = IntGauge::new(
            "rollcall_mail_server_reachable",
            "1 while the mail server is reachable, 0 while e-mails wait for it",
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
