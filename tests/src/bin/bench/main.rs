//! Measures the targets P1, P2, P3 and P5: each side by side with what it is held against, interleaved in one
//! run, at least five times. Writes the table to standard output, and to `docs/performance.md` and a JSON file
//! where it is told to.

mod commands;
mod latency;
mod naive;
mod pipeline;
mod report;
mod visible;

use anyhow::{Context, Result};
use rollcall::servers::Servers;

use crate::report::{Machine, Report, Row};

/// What to run, from the command line: `bench [--repeats N] [--markdown FILE] [--json FILE] [P1 P2 …]`.
struct Wanted {
    repeats: usize,
    markdown: Option<String>,
    json: Option<String>,
    rows: Vec<String>,
}

impl Wanted {
    fn from_arguments() -> Result<Self> {
        let mut wanted = Self {
            repeats: 5,
            markdown: None,
            json: None,
            rows: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--repeats" => wanted.repeats = value()?.parse().context("--repeats needs a number")?,
                "--markdown" => wanted.markdown = Some(value()?),
                "--json" => wanted.json = Some(value()?),
                row => wanted.rows.push(row.to_uppercase()),
            }
        }
        Ok(wanted)
    }

    fn has(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let wanted = Wanted::from_arguments()?;
    let servers = Servers::from_env()?;
    let mut rows: Vec<Row> = Vec::new();
    if wanted.has("P1") {
        rows.push(commands::measure(&servers, wanted.repeats).await.context("P1")?);
    }
    if wanted.has("P2") {
        rows.push(pipeline::measure(&servers, wanted.repeats).await.context("P2")?);
    }
    if wanted.has("P3") {
        rows.push(latency::measure(&servers, wanted.repeats).await.context("P3")?);
    }
    if wanted.has("P5") {
        rows.push(visible::measure(&servers, wanted.repeats).await.context("P5")?);
    }
    let report = Report {
        machine: Machine::this()?,
        rows,
    };
    print!("{report}");
    if let Some(file) = &wanted.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?).context("the JSON file can't be written")?;
    }
    if let Some(file) = &wanted.markdown {
        std::fs::write(file, report.markdown()).context("the Markdown file can't be written")?;
    }
    Ok(())
}
