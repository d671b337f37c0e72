//! `rollcall audit`: the audit log as a file, and whether such a file is whole.

mod gathering;
mod lines;
mod verifier;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use contracts::AuditQuery;
use serde_json::{Value, json};

use self::gathering::{Gathered, Trouble, gather};
use self::verifier::{Report, verify};
use crate::operation::{Asking, Operation, somebody_listens};
use crate::output::{Output, counted};
use crate::progress::Progress;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write the log up to its newest checkpoint into a file
    Export {
        /// The file; it is there when it is whole, or as it was before
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Verify an export: every entry, tree, signature and the chain, offline
    Verify {
        /// What `rollcall audit export` wrote
        file: PathBuf,
    },
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Export { out, asking } => export(&out, &asking, output).await,
        Command::Verify { file } => check(&file, output),
    }
}

async fn export(out: &Path, asking: &Asking, output: Output) -> Result<Outcome, Error> {
    somebody_listens(asking, "audit").await?;
    let part = part_of(out)?;
    let file = File::create(&part).map_err(|error| unusable(&part, error))?;
    let gathered = gather_into(file, asking).await;
    let gathered = gathered.and_then(|gathered| match gathered {
        Some(gathered) => std::fs::rename(&part, out)
            .map_err(|error| unusable(out, error))
            .map(|()| gathered),
        None => Err(Error::without_source(
            "the log has no checkpoint yet: one is signed within a minute of the first record",
        )),
    });
    if gathered.is_err() {
        // What is half of an export is none. Where it can't be removed, its name says so.
        let _ = std::fs::remove_file(&part);
    }
    let Gathered { entries, checkpoints } = gathered?;
    let answer = json!({ "file": out, "entries": entries, "checkpoints": checkpoints });
    output.answer(&answer, || {
        let entries = counted(entries as usize, "entry");
        let checkpoints = counted(checkpoints, "checkpoint");
        format!(
            "{entries} and {checkpoints} are in {}; `rollcall audit verify` verifies it",
            out.display()
        )
    });
    Ok(Outcome::Yes)
}

async fn gather_into(file: File, asking: &Asking) -> Result<Option<Gathered>, Error> {
    let mut operation = Operation::begin(asking)?;
    let mut progress = Progress::of("exporting the audit log");
    let mut file = BufWriter::new(file);
    let ask = async |question: AuditQuery| -> Result<Value, Error> {
        let answer = operation.ask("audit", question).await?;
        match answer.is_accepted() {
            true => Ok(answer.result),
            false => Err(Error::without_source(answer.refusal())),
        }
    };
    let gathered = gather(
        ask,
        |line| writeln!(file, "{}", line.text()),
        |done, total| progress.at(done as usize, total as usize),
    );
    let gathered = gathered.await.map_err(|trouble| match trouble {
        Trouble::Asking(error) => error,
        Trouble::Answer(error) => Error::unavailable("the audit service's answer can't be read", error),
        Trouble::Writing(error) => Error::unavailable("the export can't be written", error),
    })?;
    let written = file.into_inner().map_err(|error| error.into_error());
    written
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::unavailable("the export can't be written", error))?;
    Ok(gathered)
}

/// Beside the file, so that it can be renamed.
fn part_of(out: &Path) -> Result<PathBuf, Error> {
    let Some(name) = out.file_name() else {
        return Err(Error::Usage(format!("{} is no name of a file", out.display())));
    };
    let mut name = name.to_owned();
    name.push(".part");
    Ok(out.with_file_name(name))
}

fn check(file: &Path, output: Output) -> Result<Outcome, Error> {
    let opened = File::open(file).map_err(|error| unusable(file, error))?;
    let report = verify(BufReader::new(opened)).map_err(|error| unusable(file, error))?;
    output.answer(&report, || text(file, &report));
    Ok(match report.valid {
        true => Outcome::Yes,
        false => Outcome::No,
    })
}

fn unusable(file: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("{} can't be used", file.display()), error)
}

fn text(file: &Path, report: &Report) -> String {
    let entries = counted(report.entries as usize, "entry");
    let (trees, checkpoints) = (
        counted(report.trees, "tree"),
        counted(report.checkpoints as usize, "checkpoint"),
    );
    let file = file.display();
    let mut lines = vec![match report.valid {
        true => format!("{file} is whole: {entries} in {trees}, {checkpoints}"),
        false => format!("{file} is NOT what was signed: {entries} in {trees}, {checkpoints}"),
    }];
    lines.extend(
        report
            .findings
            .iter()
            .map(|wrong| format!("  line {}: {}", wrong.line, wrong.what)),
    );
    if report.more_findings > 0 {
        lines.push(format!("  and {} more", report.more_findings));
    }
    if report.left_out > 0 {
        lines.push(format!(
            "of {} content or bytes were too large for the export; their hashes are proven",
            counted(report.left_out as usize, "entry")
        ));
    }
    let keys: Vec<_> = report.key_ids.iter().map(String::as_str).collect();
    lines.push(format!(
        "signed with {}; compare that with the key you trust",
        keys.join(", ")
    ));
    if let Some(hash) = &report.newest_checkpoint {
        lines.push(format!("newest checkpoint {hash}"));
    }
    lines.join("\n")
}
