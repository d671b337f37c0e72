//! The report: medians, ranges and ratios, with a description of the machine.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// Repeated measurements of one quantity.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Samples {
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
}

impl Samples {
    pub(crate) fn new(unit: &'static str) -> Self {
        Self {
            unit,
            values: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
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

/// One row of the targets.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measured: Samples,
    pub(crate) against: Samples,
    pub(crate) against_what: &'static str,
    pub(crate) must: String,
    pub(crate) met: bool,
    /// Method of the measurement, and what limits the result.
    pub(crate) note: String,
}

impl Row {
    /// Returns the median of the ratios of each repeat.
    pub(crate) fn ratio(measured: &Samples, against: &Samples) -> f64 {
        let mut ratios = Samples::new("x");
        for (measured, against) in measured.values.iter().zip(&against.values) {
            ratios.push(measured / against);
        }
        ratios.median()
    }
}

/// The machine of the measurement.
#[derive(Debug, Serialize)]
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

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Renders the report as `docs/performance.md`.
    pub(crate) fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "# Performance\n\nMeasured by `scripts/bench` on {} cores ({}), {} GiB, Linux {}, release build, the servers of \
             `scripts/stack` on the same cores. Absolute figures mean little on a shared machine. Ratios are computed per \
             repeat, with both sides interleaved. Figures are medians, with the lowest and the highest repeat.\n\n\
             | # | quantity | measured | baseline | target | met |\n|---|---|---|---|---|---|\n",
            machine.cores, machine.cpu, machine.memory_gib, machine.kernel
        );
        for row in &self.rows {
            text += &format!(
                "| {} | {} | {} | {}: {} | {} | {} |\n",
                row.id,
                row.what,
                row.measured,
                row.against_what,
                row.against,
                row.must,
                if row.met { "yes" } else { "**no**" }
            );
        }
        text += "\n## How each row was measured, and what limits it\n";
        for row in &self.rows {
            text += &format!("\n**{}.** {}\n", row.id, row.note);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{}  {}", row.id, row.what)?;
            writeln!(f, "    measured  {}", row.measured)?;
            writeln!(f, "    baseline  {} ({})", row.against, row.against_what)?;
            writeln!(
                f,
                "    target    {}: {}",
                row.must,
                if row.met { "met" } else { "NOT met" }
            )?;
        }
        Ok(())
    }
}
