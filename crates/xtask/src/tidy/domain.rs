//! A service's `domain` is boring: no async, clock, randomness, SQL or serde.

use super::Finding;
use crate::metadata::{Metadata, Package};
use crate::rust;
use crate::tree::{File, Tree};

/// Other crates that it may name: plain types.
const PLAIN: [&str; 2] = ["contracts", "uuid"];

/// Parts of `std` that are the world outside.
const OUTSIDE: [&str; 7] = ["env", "fs", "io", "net", "process", "sync::mpsc", "thread"];

const WORDS: [(&str, &str); 8] = [
    ("async", "it waits for nothing"),
    ("await", "it waits for nothing"),
    ("now", "the time arrives with the command"),
    ("now_v7", "new ids arrive with the command"),
    ("new_v4", "new ids arrive with the command"),
    ("Instant", "the time arrives with the command"),
    ("SystemTime", "the time arrives with the command"),
    ("println", "it says nothing but domain events"),
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
            let leads_on = after.starts_with("::") || (before.trim_end().ends_with("use") && after.starts_with(';'));
            // Its derives come from `state!`.
            if word == "serde"
                || is_root && leads_on && crates.iter().any(|name| name == word) && !PLAIN.contains(&word)
            {
                return Some(format!(
                    "`{word}`: a domain names `contracts`, `uuid` and `std`, so that it is tested in microseconds"
                ));
            }
            let path = |root: &str| before.ends_with(root).then(|| format!("{word}{after}"));
            if let Some(path) = path("std::")
                && OUTSIDE.iter().any(|outside| path.starts_with(outside))
            {
                return Some(format!(
                    "`std::{word}`: a domain knows no world outside; what it needs arrives with the command"
                ));
            }
            if path("crate::").is_some() && word != "domain" {
                return Some(format!(
                    "`crate::{word}`: what a domain needs, it has: main → api | consumers → store → domain"
                ));
            }
            // `now` as a name is what a command's time may be called.
            let called = word != "now" || before.ends_with("::");
            let (_, reason) = WORDS.iter().find(|(forbidden, _)| *forbidden == word && called)?;
            Some(format!("`{word}`: a domain is two pure functions; {reason}"))
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
    fn a_boring_domain_is_left_alone() {
        let text = "use std::collections::HashMap;\nuse contracts::{Date, Timestamp};\nuse uuid::Uuid;\n\
                    use super::form;\nuse crate::domain::Roster;\n// async, sqlx::query\n\
                    fn is_open(now: Timestamp) -> bool { self.tokio.len() < \"serde\".len() }\n";
        assert_found(&found(PATH, text), &[]);
        assert_found(&found("services/user/src/store.rs", "use sqlx::query;\n"), &[]);
    }

    #[test]
    fn other_crates_are_not_named() {
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
    fn the_world_outside_is_not_asked() {
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
