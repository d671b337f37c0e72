//! `cargo xtask settings`: compares the section "Settings" of each service's README with the settings that its executable
//! reads.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, bail};

use crate::metadata::Metadata;
use crate::tidy::Finding;
use crate::tree::Tree;

/// README that describes the settings of every service. The READMEs of services need not repeat them.
const EVERY_SERVICE: &str = "crates/chassis/README.md";

pub(crate) fn findings() -> anyhow::Result<Vec<Finding>> {
    let metadata = Metadata::read()?;
    let tree = Tree::read()?;
    let text = |path: &str| tree.get(path).map(|file| file.text.as_str()).unwrap_or_default();
    let shared = documented(text(EVERY_SERVICE));
    let mut findings = Vec::new();
    for service in metadata.services() {
        let program = metadata.target_directory.join("debug").join(&service.name);
        let output = Command::new(&program)
            .arg("settings")
            .env_clear()
            .output()
            .with_context(|| format!("cannot run {}; run `cargo build --bins` first", program.display()))?;
        if !output.status.success() {
            bail!("{} settings: {}", service.name, output.status);
        }
        let readme = format!("{}/README.md", metadata.folder(service));
        let read = read(&String::from_utf8_lossy(&output.stdout));
        findings.extend(compare(&readme, &documented(text(&readme)), &read, &shared));
    }
    Ok(findings)
}

fn compare(
    readme: &str,
    documented: &BTreeSet<String>,
    read: &BTreeSet<String>,
    shared: &BTreeSet<String>,
) -> Vec<Finding> {
    let missing = read
        .iter()
        .filter(|name| !documented.contains(*name) && !shared.contains(*name))
        .map(|name| {
            Finding::new(
                readme,
                0,
                format!(
                    "the service reads {name}, but the section \"Settings\" does not describe it, so operators would \
                     not know it"
                ),
            )
        });
    let stale = documented.difference(read).map(|name| {
        Finding::new(
            readme,
            0,
            format!("the section \"Settings\" describes {name}, which the service does not read, so it has no effect"),
        )
    });
    missing.chain(stale).collect()
}

/// Returns the names that the command `settings` prints, one per line with a description.
fn read(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Returns every `NAME` in the section "Settings", in tables and in sentences.
fn documented(readme: &str) -> BTreeSet<String> {
    let section = readme.split_once("\n## Settings\n").map_or("", |(_, section)| section);
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = section.split('`').skip(1).step_by(2);
    let is_name = |text: &&str| {
        text.len() > 1
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    const README: &str = "# user\n`GET` is not a setting.\n\n## Settings\n\nBesides `user settings`: `DATABASE_URL`.\n\n\
                          | `BATCH_SIZE` | 500 | `classic` |\n\n## Tests\n\n`OTHER`\n";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_in_tables_and_sentences_are_found() {
        assert_eq!(documented(README), names(&["DATABASE_URL", "BATCH_SIZE"]));
        assert_eq!(documented("# nothing"), names(&[]));
        assert_eq!(
            read("DATABASE_URL  where\nBATCH_SIZE    most\n"),
            names(&["DATABASE_URL", "BATCH_SIZE"])
        );
    }

    #[test]
    fn a_readme_describes_exactly_the_settings_that_are_read() {
        let shared = names(&["LOG_FORMAT"]);
        let found = |read: &[&str]| compare("r", &documented(README), &names(read), &shared);
        assert_found(&found(&["DATABASE_URL", "BATCH_SIZE", "LOG_FORMAT"]), &[]);
        assert_found(
            &found(&["DATABASE_URL", "BATCH_SIZE", "SMTP_URL"]),
            &["r: the service reads SMTP_URL"],
        );
        assert_found(
            &found(&["DATABASE_URL"]),
            &["r: the section \"Settings\" describes BATCH_SIZE"],
        );
    }
}
