//! Waiting between attempts, until a lane is stopped.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The longest wait between two attempts.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// The lane ended before it had applied all of its records.
///
/// Usually the process drains. Otherwise a stored position went back, so that the records that the lane holds are not those
/// that come next, and the partitions must be assigned again.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

/// Waits for `back_off` and doubles it, up to 5 s.
///
/// # Errors
/// Returns [`Stopped`] as soon as `stop` is cancelled.
pub(crate) async fn wait_or_stop(back_off: &mut Duration, stop: &CancellationToken) -> Result<(), Stopped> {
    tokio::select! {
        () = stop.cancelled() => Err(Stopped),
        () = tokio::time::sleep(*back_off) => {
            *back_off = (*back_off * 2).min(LONGEST);
            Ok(())
        }
    }
}
