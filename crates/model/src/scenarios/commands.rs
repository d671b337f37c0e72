//! The commands of the scenarios.

pub(super) use crate::producer::Kind::{Accept, Defer, Poison};
use crate::producer::{Command, Kind};

pub(super) const fn command(key: u8, kind: Kind) -> Command {
    Command { key, kind }
}

pub(super) const ACCEPT_REJECT: &[Command] = &[command(0, Accept), command(0, Kind::Reject)];
pub(super) const ACCEPT_ACCEPT_REJECT: &[Command] = &[command(0, Accept), command(0, Accept), command(0, Kind::Reject)];
pub(super) const ACCEPT_ACCEPT_ACCEPT: &[Command] = &[command(0, Accept); 3];
pub(super) const ACCEPT_TWO_KEYS: &[Command] = &[command(0, Accept), command(1, Accept), command(0, Accept)];
pub(super) const DEFER_ACCEPT: &[Command] = &[command(0, Defer), command(0, Accept)];
pub(super) const POISON_ACCEPT: &[Command] = &[command(0, Poison), command(1, Accept)];
pub(super) const ACCEPT_DEFER_POISON: &[Command] = &[command(0, Accept), command(0, Defer), command(0, Poison)];
