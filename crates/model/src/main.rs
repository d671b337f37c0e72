#![doc = include_str!("../README.md")]

mod asynchronous;
mod consumer;
mod context;
mod cursor;
mod draining;
mod durability;
mod explorer;
mod gateway;
mod lane;
mod producer;
mod scenario;
mod scenarios;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::explorer::{Counterexample, Exploration, Verdict};
use crate::scenario::{Scenario, Size};

/// Explores the scenarios of the delivery protocol.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios, by the start of their ids, e.g. A or S40; `all` for all of them. Without arguments, those that the tests run
    scenarios: Vec<String>,
    /// Print the counterexample of each scenario
    #[arg(long)]
    trace: bool,
}

impl Arguments {
    fn selects(&self, scenario: &Scenario) -> bool {
        if self.scenarios.is_empty() {
            return scenario.size == Size::Small;
        }
        let is_selected = |name: &String| name == "all" || scenario.id.starts_with(name.as_str());
        self.scenarios.iter().any(is_selected)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut explored, mut failed) = (0, 0);
    for scenario in scenarios::all().filter(|scenario| arguments.selects(scenario)) {
        let start = Instant::now();
        let found = scenario.explore();
        let is_expected = scenario.is_expected(&found);
        println!(
            "{} {}, {:.1} s",
            line(scenario, &found),
            if is_expected { "as expected" } else { "NOT AS EXPECTED" },
            start.elapsed().as_secs_f64()
        );
        if let Some(example) = found
            .counterexample
            .as_ref()
            .filter(|_| arguments.trace || !is_expected)
        {
            print_counterexample(example);
        }
        explored += 1;
        failed += usize::from(!is_expected);
    }
    println!("{explored} scenarios, {failed} not as expected");
    if explored == 0 || failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Describes the result of a scenario, without its duration.
fn line(scenario: &Scenario, found: &Exploration) -> String {
    let verdict = match found.verdict {
        Verdict::Holds => "no counterexample".to_owned(),
        Verdict::Violates(guarantee) => format!("counterexample: {guarantee}"),
        Verdict::Stuck(states) => format!("counterexample: {states} states lead to no completion"),
        Verdict::Unfinished => "too many states".to_owned(),
    };
    format!(
        "{} {}\n    {verdict}; {} states, {} steps, depth {}, {} done,",
        scenario.id, scenario.title, found.states, found.steps, found.depth, found.done
    )
}

fn print_counterexample(example: &Counterexample) {
    for (name, first, second) in &example.steps {
        println!("      {name} ({first}, {second})");
    }
    println!("      {}", example.state);
}
