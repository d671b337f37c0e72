//! A filter that is asked anew for every line.

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

/// An `EnvFilter` that never says "always".
///
/// With a filter on a layer, tracing-subscriber notes the answer to `tracing::enabled!` in a thread-local. A call
/// site that is always on does not ask again and finds the note of another one: after sqlx has asked whether a
/// statement is worth a line, the next line of the thread is lost.
pub(super) struct Asked(pub(super) EnvFilter);

impl<S: Subscriber> Filter<S> for Asked
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
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, fmt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_after_a_mere_question_is_not_lost() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer()
            .with_writer(move || writer.clone())
            .with_filter(Asked(EnvFilter::new("info")));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let say = || tracing::error!("the line");
            say();
            assert!(!tracing::enabled!(tracing::Level::TRACE));
            say();
        });
        let text = String::from_utf8(lines.0.lock().expect("nobody panics with it").clone()).expect("lines are UTF-8");
        assert_eq!(text.matches("the line").count(), 2, "{text}");
    }
}
