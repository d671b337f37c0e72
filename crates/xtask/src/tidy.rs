//! `cargo xtask tidy`: rules, each with a reason. See CONTRIBUTING.md and ARCHITECTURE.md.

mod adr;
mod dependencies;
mod documents;
mod domain;
mod environment;
mod layout;
mod links;
mod lock;
mod machine_paths;
mod schemas;
mod statements;
mod wording;

use std::fmt;

use crate::metadata::Metadata;
use crate::tree::Tree;

/// A violation of a rule. The message states the reason for the rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Line number from 1; 0 stands for the whole file.
    line: usize,
    message: String,
}

impl Finding {
    pub(crate) fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Returns all violations of the rules.
pub(crate) fn findings() -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::read()?;
    let mut findings = of_files(&Metadata::read()?, &tree);
    findings.extend(lock::check(&tree));
    findings.extend(schemas::check(&tree, &schemas::topics()));
    findings.extend(documents::check(&tree));
    findings.sort();
    Ok(findings)
}

/// Checks the rules that also apply to a part of the tree.
pub(crate) fn of_files(metadata: &Metadata, tree: &Tree) -> Vec<Finding> {
    [
        dependencies::check(metadata, tree),
        layout::check(metadata, tree),
        domain::check(metadata, tree),
        environment::check(tree),
        machine_paths::check(tree),
        adr::check(tree),
        links::check(tree),
        statements::check(tree),
        wording::check(tree),
    ]
    .concat()
}

#[cfg(test)]
fn messages(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// Asserts that each finding begins as expected, and that there are no others.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_found(findings: &[Finding], expected: &[&str]) {
    let messages = messages(findings);
    let same = messages.len() == expected.len()
        && messages
            .iter()
            .zip(expected)
            .all(|(message, expected)| message.starts_with(expected));
    assert!(same, "expected {expected:#?}, found {messages:#?}");
}
