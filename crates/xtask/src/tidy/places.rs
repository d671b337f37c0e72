//! Places that exist on some machines only.

use super::Finding;
use crate::tree::{File, Tree};

/// In parts, so that this file is none of those that name them. The second half says what a client is used for instead.
const HOSTS: [[&str; 2]; 8] = [
    ["crates", ".io"],
    ["pypi", ".org"],
    ["pythonhosted", ".org"],
    ["npmjs", ".org"],
    ["npmjs", ".com"],
    ["repo1.maven", ".org"],
    ["repo.maven.apache", ".org"],
    ["golang", ".org"],
];
const FOLDERS: [[&str; 2]; 3] = [["/ro", "ot"], ["/ho", "me/"], ["/wo", "rk/"]];

/// Written by a package manager, which names where it found things.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter(|file| !LOCKS.iter().any(|lock| file.path.ends_with(lock)))
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        for host in HOSTS.map(|parts| parts.concat()) {
            if line.contains(&host) {
                let message = format!(
                    "{host}: fetch by name with the ordinary client, which knows its registry or the mirror that \
                     a machine is set up for"
                );
                findings.push(Finding::new(&file.path, number, message));
            }
        }
        for folder in FOLDERS.map(|parts| parts.concat()) {
            if names(line, &folder) {
                let message =
                    format!("{folder}: a folder of one machine; take $HOME, a setting, or a path from the root");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// Whether the folder begins there, and is not the end of another path or a URL, nor the beginning of another word.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | '*' | '/');
        let ends = folder.ends_with('/') || !after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        !before.is_some_and(is_part) && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn registries_are_not_named() {
        for host in HOSTS.map(|parts| parts.concat()) {
            let text = format!("\nRUN curl https://{host}/x\n");
            assert_found(
                &check(&Tree::of(&[("Dockerfile", &text)])),
                &[&format!("Dockerfile:2: {host}")],
            );
            assert_found(
                &check(&Tree::of(&[("Cargo.lock", &text), ("a/package-lock.json", &text)])),
                &[],
            );
        }
    }

    #[test]
    fn folders_of_one_machine_are_not_named() {
        let named = FOLDERS.map(|parts| parts.concat());
        for text in [
            format!("cd {}", named[0]),
            format!("\"{}me\"", named[1]),
            format!("x={}main", named[2]),
        ] {
            assert_found(&check(&Tree::of(&[("scripts/x", &text)])), &["scripts/x:1: /"]);
        }
        let other = named.map(|folder| format!("https://host{folder} ./a{folder} {}-x", folder.trim_end_matches('/')));
        assert_found(&check(&Tree::of(&[("scripts/x", &other.join("\n"))])), &[]);
    }
}
