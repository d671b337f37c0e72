//! Measures the targets P1, P2, P3 and P5, each interleaved with its baseline in one run, at least five times. Writes the
//! table to standard output, and on request to a Markdown file (`docs/performance.md`) and a JSON file.

mod commands;
mod latency;
mod naive;
mod pipeline;
mod report;
mod visible;

use anyhow::{Context, Result};
use rollcall::servers::Servers;

use crate::report::{Machine, Report, Row};

/// The command line: `bench [--repeats N] [--markdown FILE] [--json FILE] [P1 P2 …]`.
struct Arguments {
    repeats: usize,
    markdown: Option<String>,
    json: Option<String>,
    rows: Vec<String>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            repeats: 5,
            markdown: None,
            json: None,
            rows: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--repeats" => parsed.repeats = value()?.parse().context("--repeats needs a number")?,
                "--markdown" => parsed.markdown = Some(value()?),
                "--json" => parsed.json = Some(value()?),
                row => parsed.rows.push(row.to_uppercase()),
            }
        }
        Ok(parsed)
    }

    fn includes(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|requested| requested == row)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let servers = Servers::from_env()?;
    let mut rows: Vec<Row> = Vec::new();
    if arguments.includes("P1") {
        rows.push(commands::measure(&servers, arguments.repeats).await.context("P1")?);
    }
    if arguments.includes("P2") {
        rows.push(pipeline::measure(&servers, arguments.repeats).await.context("P2")?);
    }
    if arguments.includes("P3") {
        rows.push(latency::measure(&servers, arguments.repeats).await.context("P3")?);
    }
    if arguments.includes("P5") {
        rows.push(visible::measure(&servers, arguments.repeats).await.context("P5")?);
    }
    let report = Report {
        machine: Machine::this()?,
        rows,
    };
    print!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?).context("cannot write the JSON file")?;
    }
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, report.markdown()).context("cannot write the Markdown file")?;
    }
    Ok(())
}
