//! Rule: files name no hosts of package registries and no folders of a specific machine.

use super::Finding;
use crate::tree::{File, Tree};

/// Hosts of package registries, split so that this file does not violate the rule.
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
/// Folders of specific machines, split likewise.
const FOLDERS: [[&str; 2]; 3] = [["/ro", "ot"], ["/ho", "me/"], ["/wo", "rk/"]];

/// Files in which a package manager records the sources of packages.
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
                    "{host}: fetch by name with the package manager, which uses the registry or mirror that the \
                     machine is configured for"
                );
                findings.push(Finding::new(&file.path, number, message));
            }
        }
        for folder in FOLDERS.map(|parts| parts.concat()) {
            if names(line, &folder) {
                let message =
                    format!("{folder} does not exist on every machine: use $HOME, a setting, or a path from the root");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// Returns `true` if the line contains the folder as a complete path: not within another path or a URL, and not as the
/// beginning of another word.
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
    fn hosts_of_registries_are_found() {
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
    fn folders_of_a_machine_are_found() {
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
