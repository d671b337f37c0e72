//! A filter that is evaluated for each event.

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

/// An `EnvFilter` that never returns `Interest::always`.
///
/// With a per-layer filter, tracing-subscriber stores the result of `tracing::enabled!` in a thread-local. A call site
/// with `Interest::always` does not evaluate the filter again, and uses the stored result of another call site. The event after
/// a negative `tracing::enabled!`, which sqlx calls before it logs a statement, would therefore be lost.
pub(super) struct PerEvent(pub(super) EnvFilter);

impl<S: Subscriber> Filter<S> for PerEvent
where
    EnvFilter: Filter<S>,
{
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::enabled(&self.0, metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = Filter::<S>::callsite_enabled(&self.0, metadata);
        if interest.is_always() {
            Interest::sometimes()
        } else {
            interest
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, fmt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_after_a_negative_enabled_check_is_logged() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer()
            .with_writer(move || writer.clone())
            .with_filter(PerEvent(EnvFilter::new("info")));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let log = || tracing::error!("the line");
            log();
            assert!(!tracing::enabled!(tracing::Level::TRACE));
            log();
        });
        let text =
            String::from_utf8(lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("lines are UTF-8");
        assert_eq!(text.matches("the line").count(), 2, "{text}");
    }
}
