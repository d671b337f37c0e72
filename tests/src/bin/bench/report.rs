//! The report: medians, ranges and ratios, with a description of the machine.

use std::fmt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Repeated measurements of one quantity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Samples {
    pub(crate) unit: String,
    pub(crate) values: Vec<f64>,
}

impl Samples {
    pub(crate) fn new(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            values: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Combines two measurements repeat by repeat.
    pub(crate) fn combined(unit: &str, left: &Self, right: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = left.values.iter().zip(&right.values);
        Self {
            unit: unit.to_owned(),
            values: pairs.map(|(left, right)| combine(*left, *right)).collect(),
        }
    }

    /// Returns the differences of each repeat.
    pub(crate) fn difference(left: &Self, right: &Self) -> Self {
        Self::combined(&left.unit, left, right, |left, right| left - right)
    }

    pub(crate) fn last(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self) -> (f64, f64) {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.spread();
        let digits = if self.median() < 100.0 { 1 } else { 0 };
        write!(
            f,
            "{:.digits$} {} ({low:.digits$} to {high:.digits$})",
            self.median(),
            self.unit
        )
    }
}

/// One row of the report.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Unique; a new measurement replaces the row with its id.
    pub(crate) id: String,
    /// The argument of `scripts/bench` that measures this row.
    pub(crate) command: String,
    pub(crate) what: String,
    pub(crate) measured: Samples,
    pub(crate) against: Option<Samples>,
    pub(crate) against_what: String,
    pub(crate) must: String,
    pub(crate) aim: String,
    /// The measured quantity in the unit of the targets.
    pub(crate) result: String,
    /// Whether `must` is met; `None` without a target.
    pub(crate) met: Option<bool>,
    /// Method of the measurement, and what limits the result; `None` if another row of the command states it.
    pub(crate) note: Option<String>,
    /// Date of the measurement.
    #[serde(default = "today")]
    pub(crate) measured_on: String,
}

impl Row {
    /// Returns the median of the ratios of each repeat.
    pub(crate) fn ratio(measured: &Samples, against: &Samples) -> f64 {
        Samples::combined("x", measured, against, |measured, against| measured / against).median()
    }
}

/// Returns the date of today in UTC.
pub(crate) fn today() -> String {
    contracts::Timestamp::now().to_string().chars().take(10).collect()
}

/// The machine of the measurement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split(':').nth(1))
                .map(|value| value.trim().to_owned())
        };
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib = field(&memory, "MemTotal").and_then(|text| {
            text.split_whitespace()
                .next()
                .and_then(|number| number.parse::<u64>().ok())
        });
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            cpu: field(&std::fs::read_to_string("/proc/cpuinfo")?, "model name")
                .unwrap_or_else(|| "unknown".to_owned()),
            memory_gib: kib.unwrap_or(0) / 1024 / 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Replaces the rows of an earlier report, in its JSON form, with those of this one that have the same ids.
    pub(crate) fn merged_into(self, earlier: &str) -> Result<Self> {
        let earlier: Self = serde_json::from_str(earlier).context("the JSON file is not a report of this version")?;
        let mut rows = earlier.rows;
        for row in self.rows {
            match rows.iter_mut().find(|old| old.id == row.id) {
                Some(old) => *old = row,
                None => rows.push(row),
            }
        }
        rows.sort_by_key(|row| order(&row.command));
        Ok(Self {
            machine: self.machine,
            rows,
        })
    }

    /// Renders the report as `docs/performance.md`.
    pub(crate) fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "# Performance\n\nMeasured by `scripts/bench` on {} cores ({}), {} GiB, Linux {}, release build. The services, the \
             servers of `scripts/stack` and the load share the cores. `scripts/bench P5c` measures one target, \
             `scripts/bench --write` all of them, and renders this document. Absolute figures mean little on a shared \
             machine. Ratios are computed per repeat, with both sides interleaved. Figures are medians, with the lowest and \
             the highest repeat.\n\n\
             | # | quantity | measured | baseline | must | aim | result | must met | date |\n|---|---|---|---|---|---|---|---|---|\n",
            machine.cores, machine.cpu, machine.memory_gib, machine.kernel
        );
        for row in &self.rows {
            text += &format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
                row.command,
                row.what,
                row.measured,
                row.baseline().unwrap_or_default(),
                row.must,
                row.aim,
                row.result,
                match row.met {
                    Some(true) => "yes",
                    Some(false) => "**no**",
                    None => "",
                },
                row.measured_on
            );
        }
        text += "\n## How each row was measured, and what limits it\n";
        for row in &self.rows {
            if let Some(note) = &row.note {
                text += &format!("\n**{}.** {note}\n", row.command);
            }
        }
        text
    }
}

impl Row {
    fn baseline(&self) -> Option<String> {
        Some(format!("{}: {}", self.against_what, self.against.as_ref()?))
    }
}

/// Returns the position of a command in the report: `P5` is before `P5c`, and both are before `P10`.
fn order(command: &str) -> (u32, String) {
    let number: String = command.chars().filter(char::is_ascii_digit).collect();
    (number.parse().unwrap_or(u32::MAX), command.to_owned())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{}  {}", row.command, row.what)?;
            writeln!(f, "    measured  {}", row.measured)?;
            if let Some(baseline) = row.baseline() {
                writeln!(f, "    baseline  {baseline}")?;
            }
            writeln!(f, "    result    {}", row.result)?;
            if let Some(met) = row.met {
                let met = if met { "met" } else { "NOT met" };
                writeln!(f, "    target    {}: {met}; aim {}", row.must, row.aim)?;
            }
        }
        Ok(())
    }
}
