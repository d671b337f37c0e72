//! Rule: the environment is read once, through `chassis::settings`.

use super::Finding;
use crate::rust;
use crate::tree::Tree;

/// Folders of code that runs in production and gets its settings from a struct.
const FOLDERS: [&str; 4] = [
    "crates/contracts/src/",
    "crates/messaging/src/",
    "crates/mongo/src/",
    "crates/postgres/src/",
];
const READS: [&str; 4] = ["var", "var_os", "vars", "vars_os"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let is_service = file.path.starts_with("services/") && file.path.split('/').nth(2) == Some("src");
        if !is_service && !FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        for (line, number) in rust::code(&file.text).lines().zip(1..) {
            if rust::words(line).any(|(before, word, _)| before.ends_with("env::") && READS.contains(&word)) {
                let message = "read the environment through `chassis::settings`, so all problems are reported at \
                               the start, and the command `settings` lists every variable";
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn direct_reads_of_the_environment_are_found() {
        let text = "// env::var\nlet x = std::env::var(\"X\");\nlet y = env!(\"CARGO_PKG_VERSION\");\n";
        let files = [
            ("services/user/src/config.rs", text),
            ("crates/postgres/src/lib.rs", text),
            ("services/user/tests/all.rs", text),
            ("crates/testing/src/env.rs", text),
        ];
        let expected = [
            "services/user/src/config.rs:2: read the environment",
            "crates/postgres/src/lib.rs:2: read the environment",
        ];
        assert_found(&check(&Tree::of(&files)), &expected);
    }
}
