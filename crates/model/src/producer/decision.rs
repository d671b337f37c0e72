//! The transaction of a worker: what it reads, decides and writes.

use super::worker::Transaction;
use super::{Config, Database, Fault, KEYS, Kind, Message, State, Violation};

/// The reason why a transaction was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RolledBack {
    /// The stored position is not the expected one.
    Mismatch,
    /// Another transaction has inserted the inbox entry.
    InboxConflict,
    /// Another transaction has written the version.
    VersionConflict,
}

/// The bit of an attempt in the inbox. All attempts after the first share one.
pub(super) fn inbox_entry(config: &Config, command: u8, attempt: u8) -> u16 {
    let counts_attempts =
        !config.has(Fault::DeferredAttemptRecordedAsCommand) && !config.has(Fault::DeferredAttemptNotRecorded);
    let attempt = if counts_attempts { attempt.min(1) } else { 0 };
    1 << (command * 2 + attempt)
}

/// What the commands of a batch lead to.
struct Decided {
    /// The state after each command, which the next one sees.
    versions: [u8; KEYS],
    /// The keys whose aggregate decided something.
    touched: [bool; KEYS],
    domain_events: Vec<(u8, u8)>,
    rows: Vec<Message>,
    entries: u16,
    effects: [u8; super::COMMANDS],
    outcomes: [u8; super::COMMANDS],
}

impl Config {
    /// Commits a transaction: checks it against the database, and writes its effects. Returns the new state of the
    /// aggregates, for the cache.
    ///
    /// The checks are evaluated at the commit, because the transaction holds its locks until then.
    pub(super) fn commit(
        &self,
        state: &mut State,
        process: usize,
        transaction: &Transaction,
        with_inbox: bool,
    ) -> Result<[u8; KEYS], RolledBack> {
        let is_compared = !self.has(Fault::PositionNotCompared) && !self.has(Fault::PositionMovesFirst);
        if is_compared && state.database.position != transaction.from {
            return Err(RolledBack::Mismatch);
        }
        let decided = self.decide(state, transaction);
        self.check_keys(&state.database, transaction, &decided)?;
        let heads = state.database.heads();
        if (0..KEYS).any(|key| decided.touched[key] && heads[key] != transaction.versions[key]) {
            state.violation = Some(Violation::StaleDecision);
        }
        let owner = state.processes[process].owner;
        let database = &mut state.database;
        for (key, version) in decided.domain_events {
            let key = usize::from(key);
            if database.head(key) + 1 != version {
                state.violation = Some(Violation::VersionGap);
            }
            database.journal[key].push(version);
            database.journal[key].sort_unstable();
        }
        for message in decided.rows {
            database.append(owner, message);
        }
        database.effects = decided.effects;
        database.outcomes = decided.outcomes;
        if with_inbox {
            database.inbox |= decided.entries;
        }
        if !self.has(Fault::PositionMovesFirst) {
            database.position = transaction.to;
        }
        Ok(decided.versions)
    }

    /// Decides the commands of a batch, in offset order, on the state that the transaction read.
    fn decide(&self, state: &State, transaction: &Transaction) -> Decided {
        let mut decided = Decided {
            versions: transaction.versions,
            touched: [false; KEYS],
            domain_events: Vec::new(),
            rows: Vec::new(),
            entries: 0,
            effects: state.database.effects,
            outcomes: state.database.outcomes,
        };
        for (id, attempt) in &state.commands[transaction.records()] {
            let entry = inbox_entry(self, *id, *attempt);
            if (transaction.inbox | decided.entries) & entry != 0 {
                continue;
            }
            let command = usize::from(*id);
            let super::Command { key, kind } = self.commands[command];
            let is_recorded = match kind {
                Kind::Defer if *attempt == 0 => {
                    decided.rows.push(Message::Command(*id, 1));
                    !self.has(Fault::DeferredAttemptNotRecorded)
                }
                Kind::Poison => {
                    decided.outcomes[command] += 1;
                    true
                }
                Kind::Reject => {
                    decided.outcomes[command] += 1;
                    decided.touched[usize::from(key)] = true;
                    true
                }
                Kind::Accept | Kind::Defer => {
                    decided.accept(key);
                    decided.effects[command] += 1;
                    decided.outcomes[command] += 1;
                    true
                }
            };
            if is_recorded {
                decided.entries |= entry;
            }
        }
        decided
    }

    /// Checks the primary keys of the inbox and the journal.
    fn check_keys(&self, database: &Database, transaction: &Transaction, decided: &Decided) -> Result<(), RolledBack> {
        if database.inbox & decided.entries != 0 && !self.has(Fault::InboxInAnotherTransaction) {
            return Err(RolledBack::InboxConflict);
        }
        let is_taken = |(key, version): &(u8, u8)| database.journal[usize::from(*key)].contains(version);
        if decided.domain_events.iter().any(is_taken) {
            return Err(RolledBack::VersionConflict);
        }
        let heads = database.heads();
        let is_outdated = |(key, _): &(u8, u8)| heads[usize::from(*key)] != transaction.versions[usize::from(*key)];
        if self.compares_head && decided.domain_events.iter().any(is_outdated) {
            return Err(RolledBack::VersionConflict);
        }
        Ok(())
    }
}

impl Decided {
    fn accept(&mut self, key: u8) {
        let k = usize::from(key);
        self.touched[k] = true;
        self.versions[k] += 1;
        self.domain_events.push((key, self.versions[k]));
        self.rows.push(Message::DomainEvent(key, self.versions[k]));
    }
}
