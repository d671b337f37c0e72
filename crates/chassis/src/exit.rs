//! How a process ends. The numbers are those of sysexits.h, where it has one.

use std::process::ExitCode;

/// Why a process ended, which is who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Stopped because it was asked to, and everything was drained.
    Success,
    /// `healthcheck`: not ready. Docker knows no other number.
    Unhealthy,
    /// An unknown command.
    Usage,
    /// Something that the process needs can't be reached, or a boot check failed.
    Unavailable,
    /// A task ended before it was asked to, or could not be drained in time.
    Internal,
    /// Settings are missing or wrong.
    Config,
}

impl Exit {
    /// The number that the operating system is told.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Unhealthy => 1,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
