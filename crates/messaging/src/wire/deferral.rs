//! Delays of a command that came too early: ten seconds in total, in growing steps.

use std::time::Duration;

const DELAYS_MS: [u64; 7] = [100, 200, 400, 800, 1_600, 3_000, 4_000];

/// Returns the delay before this attempt (1 is the first repetition), or `None` if the attempt before was the last.
pub(crate) fn delay_before(attempt: i32) -> Option<Duration> {
    let index = usize::try_from(attempt.saturating_sub(1)).ok()?;
    DELAYS_MS.get(index).map(|ms| Duration::from_millis(*ms))
}
