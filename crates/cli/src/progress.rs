//! Progress of long-running work on standard error, if that is a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crate::output::human;

/// Minimum time between two updates: more frequent ones cannot be read.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
/// Width of the progress bar in columns.
const BAR: usize = 24;

/// A status line that is overwritten by each update and erased on drop.
pub(crate) struct Progress {
    activity: String,
    started: Instant,
    /// Time of the last update; `None` if nothing has been written.
    updated: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// `activity` is a participle phrase, e.g. `reading users`.
    pub(crate) fn new(activity: impl Into<String>) -> Self {
        Self {
            activity: activity.into(),
            started: Instant::now(),
            updated: None,
            is_shown: stderr().is_terminal(),
        }
    }

    /// Shows the elapsed time, for work of unknown length.
    pub(crate) fn tick(&mut self) {
        let time = human(self.started.elapsed());
        self.write(&format!("{}… {time}", self.activity));
    }

    /// Shows how many of `total` steps are done.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        let line = format!("{} {} {done}/{total}", self.activity, bar(done, total));
        self.write(&line);
    }

    fn write(&mut self, line: &str) {
        if !self.is_shown || self.updated.is_some_and(|updated| updated.elapsed() < UPDATE_INTERVAL) {
            return;
        }
        self.updated = Some(Instant::now());
        // Return to the first column, and erase the line.
        let _ = write!(stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.updated.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: usize, total: usize) -> String {
    let full = (BAR * done.min(total)).checked_div(total).unwrap_or(BAR);
    format!("[{}{}]", "█".repeat(full), " ".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_filled_in_proportion_to_the_work() {
        assert_eq!(bar(0, 4).matches('█').count(), 0);
        assert_eq!(bar(1, 4).matches('█').count(), BAR / 4);
        assert_eq!(bar(9, 4).matches('█').count(), BAR);
        assert_eq!(bar(0, 0).matches('█').count(), BAR);
    }
}
