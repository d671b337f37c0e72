//! Verifies an export, which the code of the CLI creates from the results of the service, with two implementations: the CLI's,
//! and one in Python. The CLI's modules are included by path, because neither crate depends on the other.

#[path = "../../../../crates/cli/src/audit/export.rs"]
mod export;
#[path = "../../../../crates/cli/src/audit/lines.rs"]
mod lines;
#[path = "../../../../crates/cli/src/audit/verifier.rs"]
mod verifier;

use std::path::Path;
use std::process::Command;

use contracts::AuditQuery;
use serde_json::Value as Json;
use uuid::Uuid;

use self::export::write_export;
use crate::app::{App, create_user, signed_up};

const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/third-party-clients/verify_audit.py"
);

/// Returns the export of a small log with two checkpoints, personal data and reduced headers.
async fn export() -> Vec<u8> {
    let app = App::start().await;
    app.bench.deliver_all((0..5).map(|_| signed_up(Uuid::now_v7()))).await;
    let mut large = app.bench.record(signed_up(Uuid::now_v7()));
    large.headers.set("x-large", "\"\\\0".repeat(100_000));
    app.bench.deliver_records(vec![large]).await;
    app.sign().await.expect("the log has grown");
    app.bench.deliver(create_user()).await;
    app.bench.deliver_all((0..2).map(|_| signed_up(Uuid::now_v7()))).await;
    app.sign().await.expect("the log has grown");
    app.bench.deliver(signed_up(Uuid::now_v7())).await;

    let mut export = Vec::new();
    let query = async |query: AuditQuery| -> Result<Json, std::convert::Infallible> { Ok(app.query(query).await) };
    let mut seen = (0, 0);
    let gathered = write_export(
        query,
        |line| {
            export.extend(line.text().into_bytes());
            export.push(b'\n');
            Ok(())
        },
        |done, total| seen = (done, total),
    );
    let gathered = gathered
        .await
        .expect("the log can be read")
        .expect("a checkpoint exists");
    assert_eq!(
        (gathered.checkpoints, gathered.entries),
        (2, 10),
        "the export ends with the newest checkpoint"
    );
    assert_eq!(seen, (10, 10));
    export
}

fn is_valid(export: &[u8]) -> bool {
    verifier::verify(export).expect("memory can be read").valid
}

/// Returns, for each export, `true` if the Python implementation accepts it.
fn python_accepts(exports: &[Vec<u8>]) -> Vec<bool> {
    let folder = std::env::temp_dir().join(format!("rollcall-audit-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).expect("a folder can be created");
    let name = |index: usize| folder.join(format!("{index}.jsonl"));
    for (index, export) in exports.iter().enumerate() {
        std::fs::write(name(index), export).expect("a file can be written");
    }
    let files = (0..exports.len()).map(name);
    let output = Command::new("python3").arg("-B").arg(PYTHON).args(files).output();
    let output = output.expect("Python 3 is installed");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let is_valid =
        |file: &Path| stdout.contains(&format!("{}: valid, with 10 entries and 2 checkpoints", file.display()));
    let accepted = (0..exports.len()).map(|index| is_valid(&name(index))).collect();
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    accepted
}

fn lines(export: &[u8]) -> Vec<Vec<u8>> {
    export
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_flipped_byte_dropped_or_swapped_entry_is_detected_by_both_implementations() {
    let export = export().await;
    assert!(is_valid(&export));
    assert!(
        !String::from_utf8_lossy(&export).contains("Lovelace"),
        "the export contains no personal data"
    );

    let mut altered = Vec::new();
    // The step is a prime number, so every field is altered. Each turn flips another bit.
    for (turn, at) in (0..export.len()).step_by(23).enumerate() {
        let mut flipped = export.clone();
        flipped[at] ^= 1 << (turn % 8);
        altered.push(flipped);
    }
    let whole = lines(&export);
    for at in 0..whole.len() {
        let mut dropped = whole.clone();
        dropped.remove(at);
        altered.push(dropped.concat());
        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        altered.push(doubled.concat());
        for other in at + 1..whole.len() {
            let mut swapped = whole.clone();
            swapped.swap(at, other);
            altered.push(swapped.concat());
        }
    }
    altered.push(export[..export.len() - 1].to_vec());
    altered.push(Vec::new());

    for (turn, export) in altered.iter().enumerate() {
        assert!(
            !is_valid(export),
            "alteration {turn} was not detected:\n{}",
            String::from_utf8_lossy(export)
        );
    }
    altered.push(export);
    let accepted = python_accepts(&altered);
    assert_eq!(
        accepted.iter().position(|accepted| *accepted),
        Some(altered.len() - 1),
        "only the unaltered export is accepted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_line_is_reported_with_its_number() {
    let export = export().await;
    let mut altered = lines(&export);
    // The last line is the entry of a command.
    let line = altered.len() - 2;
    let text = String::from_utf8(altered[line].clone()).expect("text");
    altered[line] = text.replace("1970-01-01", "1971-01-01").into_bytes();
    let report = verifier::verify(altered.concat().as_slice()).expect("memory can be read");
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.line, finding.description.as_str()))
        .collect();
    assert_eq!(
        found,
        [(line as u64 + 1, "the content does not match its hash in the leaf")]
    );
}
