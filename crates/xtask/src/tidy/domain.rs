//! Rule: the `domain` module of a service uses no async, clock, randomness, SQL or serde.

use super::Finding;
use crate::metadata::{Metadata, Package};
use crate::rust;
use crate::tree::{File, Tree};

/// Crates that a domain may use, because they have plain types.
const PLAIN: [&str; 2] = ["contracts", "uuid"];

/// Modules of `std` with side effects.
const SIDE_EFFECTS: [&str; 7] = ["env", "fs", "io", "net", "process", "sync::mpsc", "thread"];

const WORDS: [(&str, &str); 8] = [
    ("async", "they do not wait"),
    ("await", "they do not wait"),
    ("now", "the command contains the time"),
    ("now_v7", "the command contains new ids"),
    ("new_v4", "the command contains new ids"),
    ("Instant", "the command contains the time"),
    ("SystemTime", "the command contains the time"),
    ("println", "their only output is domain events"),
];

pub(crate) fn check(metadata: &Metadata, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in metadata.services() {
        let folder = metadata.folder(service);
        let (file, parts) = (format!("{folder}/src/domain.rs"), format!("{folder}/src/domain/"));
        for file in tree
            .rust()
            .filter(|other| other.path == file || other.path.starts_with(&parts))
        {
            findings.extend(check_file(service, file));
        }
    }
    findings
}

fn check_file(service: &Package, file: &File) -> Vec<Finding> {
    let crates: Vec<String> = service
        .dependencies
        .iter()
        .map(|dependency| dependency.name.replace('-', "_"))
        .collect();
    let code = rust::code(&file.text);
    let mut findings = Vec::new();
    for (line, number) in code.lines().zip(1..) {
        let message = rust::words(line).find_map(|(before, word, after)| {
            let is_root = !before.ends_with("::") && !before.ends_with('.');
            let is_path = after.starts_with("::") || (before.trim_end().ends_with("use") && after.starts_with(';'));
            // `serde` is never needed, because `state!` generates the derives.
            if word == "serde" || is_root && is_path && crates.iter().any(|name| name == word) && !PLAIN.contains(&word)
            {
                return Some(format!(
                    "`{word}`: a domain uses only `contracts`, `uuid` and `std`, so its tests take microseconds"
                ));
            }
            let path = |root: &str| before.ends_with(root).then(|| format!("{word}{after}"));
            if let Some(path) = path("std::")
                && SIDE_EFFECTS.iter().any(|module| path.starts_with(module))
            {
                return Some(format!(
                    "`std::{word}`: a domain has no side effects; the command contains all that it needs"
                ));
            }
            if path("crate::").is_some() && word != "domain" {
                return Some(format!(
                    "`crate::{word}`: a domain uses no other module, because dependencies go main → api | handlers → \
                     store → domain"
                ));
            }
            // A variable may be named `now`. Only the function is forbidden.
            let is_forbidden = word != "now" || before.ends_with("::");
            let (_, reason) = WORDS.iter().find(|(forbidden, _)| *forbidden == word && is_forbidden)?;
            Some(format!("`{word}`: a domain consists of pure functions; {reason}"))
        });
        findings.extend(message.map(|message| Finding::new(&file.path, number, message)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(path: &str, text: &str) -> Vec<Finding> {
        let dependencies = [
            "contracts",
            "uuid",
            "sqlx",
            "tokio",
            "chrono-tz",
            "messaging",
            "thiserror",
        ];
        let dependencies = dependencies.map(|name| (name, None));
        check(
            &Metadata::of(&[("services/user", &dependencies)]),
            &Tree::of(&[(path, text)]),
        )
    }

    const PATH: &str = "services/user/src/domain/form.rs";

    #[test]
    fn a_pure_domain_has_no_findings() {
        let text = "use std::collections::HashMap;\nuse contracts::{Date, Timestamp};\nuse uuid::Uuid;\n\
                    use super::form;\nuse crate::domain::Roster;\n// async, sqlx::query\n\
                    fn is_open(now: Timestamp) -> bool { self.tokio.len() < \"serde\".len() }\n";
        assert_found(&found(PATH, text), &[]);
        assert_found(&found("services/user/src/store.rs", "use sqlx::query;\n"), &[]);
    }

    #[test]
    fn other_crates_are_found() {
        for line in [
            "use sqlx::query;",
            "use sqlx;",
            "let x = tokio::spawn(y);",
            "use chrono_tz::Tz;",
            "#[derive(serde::Serialize)]",
        ] {
            assert_found(&found(PATH, line), &["services/user/src/domain/form.rs:1: `"]);
        }
        let found = found("services/user/src/domain.rs", "\nuse messaging::Unit;\n");
        assert_found(&found, &["services/user/src/domain.rs:2: `messaging`"]);
    }

    #[test]
    fn side_effects_are_found() {
        for line in [
            "async fn f() {}",
            "Timestamp::now()",
            "let t: SystemTime;",
            "Uuid::now_v7()",
            "use std::env::var;",
            "std::thread::spawn(f)",
            "use crate::store::Members;",
        ] {
            assert_found(&found(PATH, line), &["services/user/src/domain/form.rs:1: `"]);
        }
    }
}
