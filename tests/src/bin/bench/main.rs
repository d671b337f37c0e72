//! Measures targets, each interleaved with its baseline in one run. Prints the table, and on request adds the rows to a JSON
//! file (`docs/performance.json`) and renders the Markdown file `docs/performance.md` from it.

mod bare;
mod capacity;
mod commands;
mod cost;
mod gateway;
mod latency;
mod load;
mod mail;
mod naive;
mod pipeline;
mod process;
mod recovery;
mod report;
mod site;
mod visible;

use anyhow::{Context, Result, ensure};
use rollcall::servers::Servers;

use crate::report::{Machine, Report, Row};

/// All targets, in the order in which they are measured.
const TARGETS: [&str; 16] = [
    "P1", "P2", "P3", "P4", "P5", "P5h", "P5c", "P7", "P8", "P9", "P10", "P11", "P12", "P15", "P16", "P17",
];

/// The command line: `bench [--repeats N] [--without-traces] [--json FILE --markdown FILE] [P1 P2 …]`.
struct Arguments {
    /// Five, and for P5c one, so that a single target takes less than two minutes.
    repeats: Option<usize>,
    without_traces: bool,
    markdown: Option<String>,
    json: Option<String>,
    targets: Vec<&'static str>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            repeats: None,
            without_traces: false,
            markdown: None,
            json: None,
            targets: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--repeats" => parsed.repeats = Some(value()?.parse().context("--repeats needs a number")?),
                "--without-traces" => parsed.without_traces = true,
                "--markdown" => parsed.markdown = Some(value()?),
                "--json" => parsed.json = Some(value()?),
                name => {
                    let target = TARGETS.iter().find(|target| target.eq_ignore_ascii_case(name));
                    let target = target.with_context(|| format!("{name} is none of {}", TARGETS.join(", ")))?;
                    parsed.targets.push(target);
                }
            }
        }
        ensure!(parsed.repeats != Some(0), "--repeats must be at least 1");
        if parsed.targets.is_empty() {
            parsed.targets = TARGETS.to_vec();
        }
        Ok(parsed)
    }

    async fn measure(&self, servers: &Servers, target: &str) -> Result<Vec<Row>> {
        let repeats = self.repeats.unwrap_or(5);
        let row = match target {
            "P1" => commands::measure(servers, repeats).await?,
            "P2" => pipeline::measure(servers, repeats).await?,
            "P3" => latency::at_half_load(servers, repeats).await?,
            "P4" => latency::at_rest(servers, repeats).await?,
            "P5" => visible::at_fixed_rate(servers, repeats).await?,
            "P5h" => visible::at_half_load(servers, repeats).await?,
            "P5c" => {
                let written = self.json.is_some();
                let repeats = self.repeats.unwrap_or(if written { 5 } else { 1 });
                return capacity::measure(servers, repeats).await;
            }
            "P7" => gateway::memory(servers, repeats).await?,
            "P8" => gateway::reads(servers, repeats).await?,
            "P9" => gateway::writes(servers, repeats).await?,
            "P10" => gateway::traces(servers, repeats).await?,
            "P11" => pipeline::with_poison(servers, repeats).await?,
            "P12" => recovery::after_kill(servers, repeats).await?,
            "P15" => recovery::audit(servers, repeats).await?,
            "P16" => cost::per_request(servers, repeats).await?,
            "P17" => cost::at_rest(servers, repeats).await?,
            _ => unreachable!("the targets are listed above"),
        };
        Ok(vec![row])
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, status, file] = words.as_slice()
        && first == bare::ARGUMENT
    {
        return bare::serve(status, std::path::Path::new(file)).await;
    }
    let arguments = Arguments::parse()?;
    let mut servers = Servers::from_env()?;
    if arguments.without_traces {
        servers.otlp = None;
    }
    eprintln!(
        "traces: {}",
        servers.otlp.as_deref().unwrap_or("off, because there is no collector")
    );
    let mut rows = Vec::new();
    for target in &arguments.targets {
        rows.extend(arguments.measure(&servers, target).await.context(*target)?);
    }
    let report = Report {
        machine: Machine::this()?,
        rows,
    };
    print!("{report}");
    let Some(file) = &arguments.json else {
        return Ok(());
    };
    let report = match std::fs::read_to_string(file) {
        Ok(earlier) => report.merged_into(&earlier)?,
        Err(_) => report,
    };
    std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n").context("cannot write the JSON file")?;
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, report.markdown()).context("cannot write the Markdown file")?;
    }
    Ok(())
}
