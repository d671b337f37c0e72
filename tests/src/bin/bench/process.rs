//! CPU time and memory of processes, from `/proc`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rollcall::system::System;

/// A tick of `/proc/PID/stat`; 100 per second on every architecture of Linux.
const TICK: Duration = Duration::from_millis(10);

/// The process ids of the servers by name, which `scripts/bench` reads from `scripts/stack status`.
pub(crate) fn servers() -> Result<Vec<(String, u32)>> {
    let text = std::env::var("ROLLCALL_SERVER_PIDS")
        .context("ROLLCALL_SERVER_PIDS is not set; run scripts/bench, or set it as `postgres=123 kafka=124`")?;
    text.split_whitespace()
        .map(|pair| {
            let (name, pid) = pair.split_once('=').context("ROLLCALL_SERVER_PIDS needs NAME=PID")?;
            Ok((name.to_owned(), pid.parse()?))
        })
        .collect()
}

/// CPU time of groups of processes.
pub(crate) struct Cpu {
    /// Of each process of a service.
    pub(crate) ours: Vec<(String, Duration)>,
    /// Of each server with its children.
    pub(crate) servers: Vec<(String, Duration)>,
}

impl Cpu {
    /// Returns the CPU time since each process's start.
    pub(crate) fn now(system: &System, servers: &[(String, u32)]) -> Result<Self> {
        let processes = all()?;
        let of = |pid: u32| TICK * u32::try_from(tree(&processes, pid)).unwrap_or(u32::MAX);
        Ok(Self {
            ours: system
                .process_ids()
                .into_iter()
                .map(|(name, pid)| (name.to_owned(), of(pid)))
                .collect(),
            servers: servers.iter().map(|(name, pid)| (name.clone(), of(*pid))).collect(),
        })
    }

    /// Returns the CPU time between an earlier moment and this one.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let difference = |now: &[(String, Duration)], before: &[(String, Duration)]| {
            now.iter()
                .zip(before)
                .map(|((name, now), (_, before))| (name.clone(), now.saturating_sub(*before)))
                .collect()
        };
        Self {
            ours: difference(&self.ours, &earlier.ours),
            servers: difference(&self.servers, &earlier.servers),
        }
    }

    pub(crate) fn of_ours(&self) -> Duration {
        self.ours.iter().map(|(_, time)| *time).sum()
    }

    pub(crate) fn of_servers(&self) -> Duration {
        self.servers.iter().map(|(_, time)| *time).sum()
    }

    /// Lists each process's share of `count` things, in milliseconds.
    pub(crate) fn list(&self, count: f64) -> String {
        let parts: Vec<_> = self
            .ours
            .iter()
            .chain(&self.servers)
            .map(|(name, time)| {
                format!(
                    "{} {:.2}",
                    name.trim_end_matches("-1"),
                    time.as_secs_f64() * 1e3 / count
                )
            })
            .collect();
        parts.join(", ")
    }
}

/// Returns the largest resident memory since a process's start, in MiB.
pub(crate) fn peak_memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("the process has no VmHWM")?;
    Ok(kib / 1024.0)
}

struct Process {
    parent: u32,
    /// User and system time of the process, in ticks.
    own: u64,
    /// The same of its children that have ended.
    ended: u64,
}

fn all() -> Result<HashMap<u32, Process>> {
    let mut processes = HashMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end at any time.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The second field is the name in parentheses, which may contain spaces.
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let (Some(parent), Some(user), Some(system), Some(ended_user), Some(ended_system)) =
            (field(4), field(14), field(15), field(16), field(17))
        else {
            continue;
        };
        let process = Process {
            parent: parent as u32,
            own: user + system,
            ended: ended_user + ended_system,
        };
        processes.insert(pid, process);
    }
    Ok(processes)
}

/// Returns the ticks of a process and of all its descendants.
fn tree(processes: &HashMap<u32, Process>, pid: u32) -> u64 {
    let own = processes.get(&pid).map_or(0, |process| process.own + process.ended);
    let children = processes
        .iter()
        .filter(|(_, process)| process.parent == pid)
        .map(|(child, _)| tree(processes, *child));
    own + children.sum::<u64>()
}
