//! How long a command that came too early waits: ten seconds in all, in growing steps.

use std::time::Duration;

const WAITS_MS: [u64; 7] = [100, 200, 400, 800, 1_600, 3_000, 4_000];

/// The wait before this attempt (1 is the first repetition); `None` once it was tried often enough.
pub(crate) fn wait_before(attempt: i32) -> Option<Duration> {
    let index = usize::try_from(attempt.saturating_sub(1)).ok()?;
    WAITS_MS.get(index).map(|ms| Duration::from_millis(*ms))
}
