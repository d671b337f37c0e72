//! Every schema reads, and is read by, every version of it that git remembers.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use apache_avro::{
    Schema,
    schema_compatibility::{Compatibility, SchemaCompatibility},
};
use contracts::topics;

#[test]
fn the_schemas_are_compatible_with_all_that_git_remembers() {
    let (mut compared, mut retired) = (0, BTreeSet::new());
    let history = history(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    for (blob, text) in history {
        let old = Schema::parse_str(&text).unwrap_or_else(|error| panic!("blob {blob}: {error}"));
        let name = old.name().expect("a schema file holds a record").to_string();
        match topics::ALL.iter().find_map(|topic| topic.record(&name)) {
            Some(record) => {
                let today = Schema::parse_str(record.schema).expect("valid");
                if let Err(reason) = full(&old, &today) {
                    panic!("{name} is not compatible with its version {blob}: {reason}");
                }
                compared += 1;
            }
            None => {
                retired.insert(name);
            }
        }
    }
    println!("compared with {compared} earlier versions; names that are gone: {retired:?}");
}

#[test]
fn an_incompatible_change_would_be_found() {
    let record = topics::USERS.record("rollcall.users.UserDeactivated").expect("there");
    let today = Schema::parse_str(record.schema).expect("valid");
    let change = |from: &str, to: &str| {
        let text = record.schema;
        assert!(text.contains(from), "{from}");
        full(&Schema::parse_str(&text.replacen(from, to, 1)).expect("valid"), &today)
    };
    let fields = r#""fields": ["#;

    change(r#""doc": "Why"#, r#""doc": "The reason"#).expect("words");
    change(
        fields,
        r#""fields": [{ "name": "by", "type": "string", "default": "" },"#,
    )
    .expect("a field with a default");
    change(fields, r#""fields": [{ "name": "by", "type": "string" },"#).expect_err("a field without a default");
    change(r#""reason""#, r#""cause""#).expect_err("a new name");
    change(r#""type": "string""#, r#""type": "long""#).expect_err("another type");
    change(r#""type": "string""#, r#""type": ["null", "string"]"#).expect_err("null, which today can't read");
}

/// FULL: each reads everything that the other writes.
fn full(one: &Schema, other: &Schema) -> Result<(), String> {
    match SchemaCompatibility::mutual_read(one, other) {
        Ok(Compatibility::Full) => Ok(()),
        Ok(Compatibility::Partial) => Err("some values of one can't be read by the other".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Every version of every schema file that is reachable from HEAD, by blob id: none in an archive without `.git`, a
/// few in a shallow clone.
fn history(root: &Path) -> BTreeSet<(String, String)> {
    let Some(commits) = git(root, &["rev-list", "HEAD", "--", "schemas"]) else {
        println!("no git history here");
        return BTreeSet::new();
    };
    let mut blobs = BTreeSet::new();
    for commit in commits.lines() {
        // <mode> blob <id>\t<path>
        for entry in git(root, &["ls-tree", "-r", commit, "--", "schemas"])
            .unwrap_or_default()
            .lines()
        {
            if let Some((entry, path)) = entry.split_once('\t')
                && path.ends_with(".avsc")
                && let Some(blob) = entry.split_whitespace().nth(2)
            {
                blobs.insert(blob.to_owned());
            }
        }
    }
    blobs
        .into_iter()
        .filter_map(|blob| git(root, &["cat-file", "blob", &blob]).map(|text| (blob, text)))
        .collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn history_holds_every_version_and_whatever_a_shallow_clone_has() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}", std::process::id()));
    let (origin, shallow, empty) = (folder.join("origin"), folder.join("shallow"), folder.join("empty"));
    let run = |root: &Path, arguments: &[&str]| git(root, arguments).unwrap_or_else(|| panic!("git {arguments:?}"));
    fs::create_dir_all(origin.join("schemas/users")).expect("a folder");
    fs::create_dir_all(&empty).expect("a folder");
    run(&origin, &["init", "--quiet"]);
    for (file, text) in [
        ("A.avsc", "1"),
        ("A.avsc", "2"),
        ("B.avsc", "2"),
        ("notes.txt", "3"),
        ("A.avsc", "4"),
    ] {
        fs::write(origin.join("schemas/users").join(file), text).expect("a file");
        run(&origin, &["add", "."]);
        let author = [
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "commit.gpgsign=false",
        ];
        run(
            &origin,
            &[&author[..], &["commit", "--quiet", "--message", text]].concat(),
        );
    }
    let from = format!("file://{}", origin.display());
    run(&folder, &["clone", "--quiet", "--depth=1", &from, "shallow"]);
    run(&empty, &["init", "--quiet"]);

    let texts = |root: &Path| -> BTreeSet<String> { history(root).into_iter().map(|(_, text)| text).collect() };
    assert_eq!(texts(&origin), ["1", "2", "4"].map(str::to_owned).into());
    assert_eq!(texts(&shallow), ["2", "4"].map(str::to_owned).into());
    assert!(texts(&empty).is_empty(), "no commit yet");

    fs::remove_dir_all(folder).expect("our own folder");
}
