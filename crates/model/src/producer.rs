//! Producers: the command topic, two processes with worker and relay, their database, and the log that they write.
//! Optionally, consumers behind that log.

mod decision;
mod relay;
mod worker;

use self::relay::{InFlight, Lease, Row};
use self::worker::{Cache, Transaction};
use crate::consumer;
use crate::explorer::{Model, Steps};

/// Number of keys.
const KEYS: usize = 2;
/// Maximum number of commands.
const COMMANDS: usize = 4;
/// Maximum number of owners of outbox rows: one for each start of a process and each lost lease.
const OWNERS: usize = 8;

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command leads to a domain event.
    Accept,
    /// The command is rejected, based on the state of its aggregate.
    Reject,
    /// The command can never be executed.
    Poison,
    /// The command comes too early once, and is accepted the second time.
    Defer,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    pub(crate) key: u8,
    pub(crate) kind: Kind,
}

/// A message of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Message {
    /// A domain event, by key and version.
    DomainEvent(u8, u8),
    /// A command that was deferred, and the number of its attempt.
    Command(u8, u8),
}

/// A rule that is left out, or a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The transaction does not compare the stored position with the expected one.
    PositionNotCompared,
    /// The position moves in a transaction before the one with the effects.
    PositionMovesFirst,
    /// A position that does not match stops the worker instead of making it read the position.
    MismatchStopsTheWorker,
    /// The cached state survives a position that does not match.
    MismatchKeepsTheCache,
    /// The cached state survives a rollback.
    RollbackKeepsTheCache,
    /// The cached state survives a change of the assignment.
    AssignmentKeepsTheCache,
    /// The inbox entry is inserted in another transaction.
    InboxInAnotherTransaction,
    /// The inbox is purged while a duplicate can still arrive.
    InboxPurgedTooEarly,
    /// A deferred command leaves no inbox entry.
    DeferredAttemptNotRecorded,
    /// A deferred command is recorded without the number of its attempt.
    DeferredAttemptRecordedAsCommand,
    /// A dead-lettered command can be released.
    DeadCommandIsReleased,
    /// Messages are published before their transaction commits.
    PublishedBeforeCommit,
    /// A row is deleted before the broker acknowledges it.
    RowDeletedBeforeAcknowledgement,
    /// The relay reads rows behind a cursor, and no sweep finds the others.
    RelayReadsBehindACursor,
    /// A relay that loses its lease stops.
    LostLeaseStopsTheRelay,
    /// No process adopts the rows of others.
    RowsAreNeverAdopted,
    /// Rows are adopted only once, while the row of the expired lease exists.
    RowsAreAdoptedOncePerLease,
    /// The rows of live owners are adopted.
    RowsOfLiveOwnersAreAdopted,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) commands: &'static [Command],
    pub(crate) processes: usize,
    /// Maximum number of records of a transaction.
    pub(crate) batch: u8,
    /// Maximum number of messages of a relay that are not acknowledged.
    pub(crate) in_flight: usize,
    pub(crate) budget: Budget,
    /// The head version of the stream is compared as well.
    pub(crate) compares_head: bool,
    /// The log keeps duplicates and their order. Otherwise, only the set of its messages is kept.
    pub(crate) keeps_log_order: bool,
    /// First occurrences must be in the log in the order of their versions, which the protocol does not guarantee.
    pub(crate) expects_log_order: bool,
    pub(crate) faults: &'static [Fault],
    /// The consumers behind the log.
    pub(crate) consumers: Option<consumer::Config>,
}

impl Config {
    pub(crate) const DEFAULT: Self = Self {
        commands: &[Command {
            key: 0,
            kind: Kind::Accept,
        }; 2],
        processes: 2,
        batch: 2,
        in_flight: 2,
        budget: Budget::NONE,
        compares_head: false,
        keeps_log_order: false,
        expects_log_order: false,
        faults: &[],
        consumers: None,
    };
}

/// The number of times that each disturbance can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) rebalances: u8,
    pub(crate) duplicates: u8,
    pub(crate) expired_leases: u8,
    /// Deliveries that time out, although the message may be in the log.
    pub(crate) timeouts: u8,
    pub(crate) rollbacks: u8,
    /// Commits that succeed, although the process receives no confirmation.
    pub(crate) unknown_commits: u8,
}

impl Budget {
    pub(crate) const NONE: Self = Self {
        crashes: 0,
        rebalances: 0,
        duplicates: 0,
        expired_leases: 0,
        timeouts: 0,
        rollbacks: 0,
        unknown_commits: 0,
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    budget: Budget,
    /// The commands that are in their topic at least once, as bits.
    sent: u8,
    /// The command topic: commands and their attempts.
    commands: Vec<(u8, u8)>,
    /// The process to which the group assigns the command topic.
    owner: u8,
    processes: [Process; 2],
    database: Database,
    leases: [Lease; OWNERS],
    next_owner: u8,
    /// The log: domain events by key and version.
    log: Vec<(u8, u8)>,
    violation: Option<Violation>,
    consumers: Option<Box<consumer::State>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Database {
    /// The stored position in the command topic.
    position: u8,
    /// The inbox entries, as bits.
    inbox: u16,
    /// The versions of each stream.
    journal: [Vec<u8>; KEYS],
    outbox: Vec<Row>,
    /// The position of the next outbox row.
    next_row: u8,
    /// Number of effects of each command.
    effects: [u8; COMMANDS],
    /// Number of outcomes (accepted, rejected, failed) of each command.
    outcomes: [u8; COMMANDS],
}

/// A violation that a step detects, because it is not visible in the state after the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Violation {
    StaleDecision,
    VersionGap,
    PhantomMessage,
    LogOrder,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    is_alive: bool,
    /// The owner of the outbox rows that the process writes.
    owner: u8,
    // The worker.
    is_assigned: bool,
    is_stopped: bool,
    /// The stored position, as far as the process knows.
    position: u8,
    cache: Cache,
    transaction: Option<Transaction>,
    /// The inbox entry that is left to another transaction, which is a fault.
    left_entry: Option<u16>,
    // The relay.
    relays: bool,
    in_flight: Vec<InFlight>,
    /// The positions of rows that are acknowledged and not deleted.
    acknowledged: Vec<u8>,
    /// The highest position that the relay has read.
    cursor: u8,
}

impl Process {
    fn new(owner: u8) -> Self {
        Self {
            is_alive: true,
            owner,
            is_assigned: false,
            is_stopped: false,
            position: 0,
            cache: Cache::default(),
            transaction: None,
            left_entry: None,
            relays: true,
            in_flight: Vec::new(),
            acknowledged: Vec::new(),
            cursor: 0,
        }
    }

    fn crashed(owner: u8) -> Self {
        Self {
            is_alive: false,
            relays: false,
            ..Self::new(owner)
        }
    }
}

impl Database {
    /// Returns the version of a stream.
    fn head(&self, key: usize) -> u8 {
        self.journal[key].last().copied().unwrap_or(0)
    }

    fn heads(&self) -> [u8; KEYS] {
        [self.head(0), self.head(1)]
    }
}

impl State {
    /// Returns the lowest owner id that is unused, with a live lease.
    fn new_owner(&mut self) -> u8 {
        let owner = self.next_owner;
        self.next_owner += 1;
        self.leases[usize::from(owner)] = Lease::Live;
        owner
    }
}

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Clients send commands, in any number of copies. The order of different commands is of no interest, because none is
    /// guaranteed.
    fn send(&self, state: &State, steps: &mut Steps<State>) {
        let is_sent = |command: &usize| state.sent & (1 << command) != 0;
        let mut append = |name, command: usize, is_duplicate: bool| {
            steps.add(state, (name, command, 0), |next| {
                next.budget.duplicates -= u8::from(is_duplicate);
                next.sent |= 1 << command;
                next.commands.push((command as u8, 0));
            });
        };
        let commands = 0..self.commands.len();
        if let Some(command) = commands.clone().find(|command| !is_sent(command)) {
            append("send", command, false);
        }
        if state.budget.duplicates > 0 {
            for command in commands.filter(is_sent) {
                append("send again", command, true);
            }
        }
    }

    /// The group coordinator moves the command topic to the other process.
    fn coordinate(&self, state: &State, steps: &mut Steps<State>) {
        let owner = usize::from(state.owner);
        let other = 1 - owner;
        if self.processes < 2 || !state.processes[other].is_alive {
            return;
        }
        if state.budget.rebalances > 0 {
            steps.add(state, ("rebalance", other, 0), |next| {
                next.budget.rebalances -= 1;
                next.owner = other as u8;
            });
        }
        if !state.processes[owner].is_alive {
            steps.add(state, ("fail over", other, 0), |next| next.owner = other as u8);
        }
    }

    fn process(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let owner = state.processes[process].owner;
        if !state.processes[process].is_alive {
            steps.add(state, ("restart", process, 0), |next| {
                next.processes[process] = Process::new(next.new_owner());
            });
            return;
        }
        if state.budget.crashes > 0 {
            steps.add(state, ("crash", process, 0), |next| {
                next.budget.crashes -= 1;
                next.processes[process] = Process::crashed(owner);
            });
        }
        self.work(state, process, steps);
        self.relay(state, process, steps);
        if self.has(Fault::DeadCommandIsReleased) {
            self.release_dead(state, process, steps);
        }
    }

    fn release_dead(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        for (id, command) in self.commands.iter().enumerate() {
            let is_dead = state.database.outcomes[id] == 1 && state.database.effects[id] == 0;
            if command.kind == Kind::Poison && is_dead {
                steps.add(state, ("release dead command", process, id), |next| {
                    next.database.outcomes[id] += 1;
                    next.database.effects[id] += 1;
                });
            }
        }
    }

    fn purge_inbox(&self, state: &State, steps: &mut Steps<State>) {
        if self.has(Fault::InboxPurgedTooEarly) && state.database.inbox != 0 {
            steps.add(state, ("purge inbox", 0, 0), |next| next.database.inbox = 0);
        }
    }

    /// Adds the steps of the consumers behind the log.
    fn consume(&self, state: &State, steps: &mut Steps<State>) {
        let (Some(config), Some(consumers)) = (&self.consumers, &state.consumers) else {
            return;
        };
        let mut consumed = Steps::new();
        config.consume(consumers, &state.log, &mut consumed);
        for (label, consumers) in consumed.into_vec() {
            steps.add(state, label, |next| next.consumers = Some(Box::new(consumers)));
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        let mut leases = [Lease::None; OWNERS];
        leases[..self.processes].fill(Lease::Live);
        let second = Process {
            is_alive: self.processes > 1,
            ..Process::new(1)
        };
        State {
            budget: self.budget,
            sent: 0,
            commands: Vec::new(),
            owner: 0,
            processes: [Process::new(0), second],
            database: Database {
                position: 0,
                inbox: 0,
                journal: Default::default(),
                outbox: Vec::new(),
                next_row: 1,
                effects: [0; COMMANDS],
                outcomes: [0; COMMANDS],
            },
            leases,
            next_owner: 2,
            log: Vec::new(),
            violation: None,
            consumers: self.consumers.map(|consumers| Box::new(consumers.initial_state())),
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        match state.violation {
            Some(Violation::StaleDecision) => return Some("a decision on stale state was committed"),
            Some(Violation::VersionGap) => return Some("the journal has a gap between versions"),
            Some(Violation::PhantomMessage) => return Some("a message was published whose transaction did not commit"),
            Some(Violation::LogOrder) => return Some("first occurrences are out of order in the log"),
            None => {}
        }
        let database = &state.database;
        if database.effects.iter().any(|effects| *effects > 1) {
            return Some("a command has two effects");
        }
        if database.outcomes.iter().any(|outcomes| *outcomes > 1) {
            return Some("a command has two outcomes");
        }
        let is_lost = |(key, version): (u8, u8)| {
            let message = Message::DomainEvent(key, version);
            !state.log.contains(&(key, version)) && !database.outbox.iter().any(|row| row.message == message)
        };
        if journaled(database).any(is_lost) {
            return Some("a row was deleted whose message is not in the log");
        }
        let consumers = state.consumers.as_ref()?;
        consumer::Config::violated_guarantee(consumers)
    }

    fn is_done(&self, state: &State) -> bool {
        let commands = self.commands.len();
        let database = &state.database;
        state.sent == (1 << commands) - 1
            && database.outcomes[..commands].iter().all(|outcomes| *outcomes == 1)
            && database.outbox.is_empty()
            && usize::from(database.position) == state.commands.len()
            && journaled(database).all(|message| state.log.contains(&message))
            && state.consumers.as_ref().is_none_or(|consumers| {
                consumer::Config::has_applied(consumers, [database.journal[0].len(), database.journal[1].len()])
            })
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        self.send(state, steps);
        self.coordinate(state, steps);
        Self::expire_dead_leases(state, steps);
        for process in 0..self.processes {
            self.process(state, process, steps);
        }
        self.purge_inbox(state, steps);
        self.consume(state, steps);
    }
}

/// Returns all domain events of the journal, by key and version.
fn journaled(database: &Database) -> impl Iterator<Item = (u8, u8)> {
    let streams = database.journal.iter().zip(0_u8..);
    streams.flat_map(|(versions, key)| versions.iter().map(move |version| (key, *version)))
}
