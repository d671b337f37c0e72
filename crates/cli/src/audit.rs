//! `rollcall audit`: exports the audit log to a file and verifies such a file.

mod export;
mod lines;
mod verifier;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use contracts::AuditQuery;
use serde_json::{Value, json};

use self::export::{ExportError, Exported, write_export};
use self::verifier::{Report, verify};
use crate::ops::{OpsArguments, OpsSession, require_live_service};
use crate::output::{Output, counted};
use crate::progress::Progress;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write the log up to its newest checkpoint to a file
    Export {
        /// File to write; it is replaced only when the export is complete
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        ops: OpsArguments,
    },
    /// Verify an export offline: every entry, tree and signature, and the chain of checkpoints
    Verify {
        /// File that `rollcall audit export` wrote
        file: PathBuf,
    },
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Export { out, ops } => export(&out, &ops, output).await,
        Command::Verify { file } => check(&file, output),
    }
}

async fn export(out: &Path, ops: &OpsArguments, output: Output) -> Result<Outcome, Error> {
    require_live_service(ops, "audit").await?;
    let part = part_of(out)?;
    let file = File::create(&part).map_err(|error| unusable(&part, error))?;
    let exported = export_into(file, ops).await;
    let exported = exported.and_then(|exported| match exported {
        Some(exported) => std::fs::rename(&part, out)
            .map_err(|error| unusable(out, error))
            .map(|()| exported),
        None => Err(Error::without_source(
            "the audit log has no checkpoint yet; the audit service signs one within a minute of the first record",
        )),
    });
    if exported.is_err() {
        // An incomplete export is useless. If it cannot be removed, its `.part` suffix marks it.
        let _ = std::fs::remove_file(&part);
    }
    let Exported { entries, checkpoints } = exported?;
    let summary = json!({ "file": out, "entries": entries, "checkpoints": checkpoints });
    output.print(&summary, || {
        let entries = counted(entries as usize, "entry");
        let checkpoints = counted(checkpoints, "checkpoint");
        let file = out.display();
        format!("wrote {entries} and {checkpoints} to {file}; verify it with `rollcall audit verify {file}`")
    });
    Ok(Outcome::Positive)
}

async fn export_into(file: File, ops: &OpsArguments) -> Result<Option<Exported>, Error> {
    let mut session = OpsSession::open(ops)?;
    let mut progress = Progress::new("exporting the audit log");
    let mut file = BufWriter::new(file);
    let query = async |query: AuditQuery| -> Result<Value, Error> {
        let reply = session.request("audit", query).await?;
        if reply.is_accepted() {
            Ok(reply.result)
        } else {
            Err(Error::without_source(reply.describe_failure()))
        }
    };
    let exported = write_export(
        query,
        |line| writeln!(file, "{}", line.text()),
        |done, total| progress.at(done as usize, total as usize),
    );
    let not_written = |error| Error::unavailable("cannot write the export", error);
    let exported = exported.await.map_err(|error| match error {
        ExportError::Query(error) => error,
        ExportError::Reply(error) => Error::unavailable("cannot decode the reply of the audit service", error),
        ExportError::Write(error) => not_written(error),
    })?;
    let written = file.into_inner().map_err(|error| error.into_error());
    written.and_then(|file| file.sync_all()).map_err(not_written)?;
    Ok(exported)
}

/// Returns the path of the incomplete export, in the same folder as the file so that it can be renamed.
fn part_of(out: &Path) -> Result<PathBuf, Error> {
    let Some(name) = out.file_name() else {
        return Err(Error::Usage(format!("{} is not a file name", out.display())));
    };
    let mut name = name.to_owned();
    name.push(".part");
    Ok(out.with_file_name(name))
}

fn check(file: &Path, output: Output) -> Result<Outcome, Error> {
    let opened = File::open(file).map_err(|error| unusable(file, error))?;
    let report = verify(BufReader::new(opened)).map_err(|error| unusable(file, error))?;
    output.print(&report, || text(file, &report));
    Ok(Outcome::positive_if(report.valid))
}

fn unusable(file: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot read or write {}", file.display()), error)
}

fn text(file: &Path, report: &Report) -> String {
    let entries = counted(report.entries as usize, "entry");
    let (trees, checkpoints) = (
        counted(report.trees, "tree"),
        counted(report.checkpoints as usize, "checkpoint"),
    );
    let file = file.display();
    let verdict = if report.valid {
        "is valid"
    } else {
        "does NOT match what was signed"
    };
    let mut lines = vec![format!("{file} {verdict}: {entries} in {trees}, {checkpoints}")];
    lines.extend(
        report
            .findings
            .iter()
            .map(|finding| format!("  line {}: {}", finding.line, finding.description)),
    );
    if report.more_findings > 0 {
        lines.push(format!(
            "  and {}",
            counted(report.more_findings as usize, "more finding")
        ));
    }
    if report.left_out > 0 {
        lines.push(format!(
            "the content or bytes of {} were too large for the export; their hashes are verified",
            counted(report.left_out as usize, "entry")
        ));
    }
    let keys: Vec<_> = report.key_ids.iter().map(String::as_str).collect();
    lines.push(format!(
        "signed with {}; compare this with the id of the key that you trust",
        keys.join(", ")
    ));
    if let Some(hash) = &report.newest_checkpoint {
        lines.push(format!("newest checkpoint {hash}"));
    }
    lines.join("\n")
}
