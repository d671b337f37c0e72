//! Exit codes. The numbers are those of sysexits.h if it defines one.

use std::process::ExitCode;

/// Reason why a process ended, which determines who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The process was stopped, and everything was drained.
    Success,
    /// `healthcheck`: the process is not ready. Docker defines no other number.
    Unhealthy,
    /// The command is unknown.
    Usage,
    /// A dependency is unreachable, or a boot check failed.
    Unavailable,
    /// A task ended unexpectedly, or could not be drained in time.
    Internal,
    /// Settings are missing or invalid.
    Config,
}

impl Exit {
    /// Returns the exit code of the process.
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
