//! What is told on standard error while something takes long: nothing where that is no terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crate::output::human;

/// Faster than anybody reads.
const EVERY: Duration = Duration::from_millis(100);
const BAR: usize = 24;

/// One line that is written anew, and gone in the end.
pub(crate) struct Progress {
    what: String,
    started: Instant,
    /// `None`: nothing is on the screen.
    written: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// `what` is being done, e.g. `reading users`.
    pub(crate) fn of(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            started: Instant::now(),
            written: None,
            is_shown: stderr().is_terminal(),
        }
    }

    /// It goes on, and nobody knows how far.
    pub(crate) fn goes_on(&mut self) {
        let time = human(self.started.elapsed());
        self.write(&format!("{}… {time}", self.what));
    }

    /// It is so far.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        let line = format!("{} {} {done}/{total}", self.what, bar(done, total));
        self.write(&line);
    }

    fn write(&mut self, line: &str) {
        if !self.is_shown || self.written.is_some_and(|written| written.elapsed() < EVERY) {
            return;
        }
        self.written = Some(Instant::now());
        // Back to the first column, and away with what was there.
        let _ = write!(stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written.is_some() {
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
    fn a_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(bar(0, 4).matches('█').count(), 0);
        assert_eq!(bar(1, 4).matches('█').count(), BAR / 4);
        assert_eq!(bar(9, 4).matches('█').count(), BAR);
        assert_eq!(bar(0, 0).matches('█').count(), BAR);
    }
}
