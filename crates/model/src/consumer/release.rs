//! The release of a parked key, by an operator through any process.

use super::sequences::{Change, Progress};
use super::{Config, Fault, KEYS, State};
use crate::explorer::Steps;

/// The open transaction of a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Release {
    key: u8,
    read: Progress,
    /// The keys whose rows other transactions have changed since.
    pub(super) row_changed: [bool; KEYS],
}

impl Config {
    pub(super) fn release(&self, state: &State, steps: &mut Steps<State>) {
        match &state.release {
            None => self.begin_release(state, steps),
            Some(release) => self.end_release(state, release, steps),
        }
    }

    fn begin_release(&self, state: &State, steps: &mut Steps<State>) {
        for key in 0..KEYS {
            if state.progress.poisoned[key] != 0 {
                steps.add(state, ("begin release", key, 0), |next| {
                    next.release = Some(Release {
                        key: key as u8,
                        read: state.progress.clone(),
                        row_changed: [false; KEYS],
                    });
                });
            }
        }
    }

    fn end_release(&self, state: &State, release: &Release, steps: &mut Steps<State>) {
        let key = usize::from(release.key);
        // The release locks the position of the partition first, so it and the worker see each other's changes.
        let takes_turns = !self.has(Fault::ReleaseWithoutPositionLock);
        if takes_turns && release.row_changed[key] {
            steps.add(state, ("conflict of release", key, 0), |next| next.release = None);
            return;
        }
        steps.add(state, ("commit release", key, 0), |next| {
            let mut change = Change::new(&release.read);
            change.progress.poisoned[key] = 0;
            change.touched[key] = true;
            self.drain(state.is_fixed, &mut change, release.key);
            next.write(&release.read, &change);
            next.release = None;
            if takes_turns {
                for transaction in next.transactions() {
                    transaction.key_released = true;
                }
            }
        });
    }
}
