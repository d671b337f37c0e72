//! Rules for the layout of crates, modules and files.

use super::Finding;
use crate::metadata::Metadata;
use crate::rust;
use crate::tree::{File, Tree};

/// Maximum number of lines of a file, without its tests.
const MAX_LINES: usize = 600;
/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Module names that do not describe the content.
const VAGUE_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];

pub(crate) fn check(metadata: &Metadata, tree: &Tree) -> Vec<Finding> {
    let mut findings = readmes(metadata, tree);
    for file in tree.rust() {
        let code = rust::code(&file.text);
        findings.extend(module_names(file, &code));
        findings.extend(bare_allows(file, &code));
        findings.extend(length(file, &code, LONGER));
    }
    findings.extend(LONGER.iter().filter(|(path, _)| !tree.has(path)).map(|(path, _)| {
        Finding::new(
            *path,
            0,
            "the file does not exist: remove it from the list of longer files in tidy/layout.rs",
        )
    }));
    findings
}

fn readmes(metadata: &Metadata, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let folder = metadata.folder(package);
        if !folder.starts_with("crates/") && !folder.starts_with("services/") {
            continue;
        }
        let readme = format!("{folder}/README.md");
        if !tree.has(&readme) {
            let message = "the README is missing: it states in one sentence what the crate is, and in the next what it \
                           must not depend on";
            findings.push(Finding::new(readme, 0, message));
        }
        let root = ["src/lib.rs", "src/main.rs"].map(|file| format!("{folder}/{file}"));
        let root = root.iter().find_map(|path| tree.get(path));
        if let Some(root) = root
            && !root.text.starts_with("#![doc = include_str!(\"../README.md\")]\n")
        {
            let message = "the file does not begin with `#![doc = include_str!(\"../README.md\")]`: the README is the \
                           crate's documentation, so there is only one text, and its examples are tested";
            findings.push(Finding::new(&root.path, 1, message));
        }
    }
    findings
}

fn module_names(file: &File, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = file.path.trim_end_matches(".rs");
    if path.ends_with("/mod") {
        let message = "a module `foo` is in foo.rs and foo/, and not in a mod.rs, because editors show many files with \
                       that name";
        findings.push(Finding::new(&file.path, 0, message));
    }
    let vague = |name: &str| {
        format!("`{name}` does not describe the content: a module with a precise name does not collect unrelated code")
    };
    if let Some(name) = path.split('/').find(|name| VAGUE_NAMES.contains(name)) {
        findings.push(Finding::new(&file.path, 0, vague(name)));
    }
    for (line, number) in code.lines().zip(1..) {
        let inline = rust::words(line).find(|(before, name, after)| {
            before.trim_end().ends_with("mod") && after.trim_start().starts_with('{') && VAGUE_NAMES.contains(name)
        });
        if let Some((_, name, _)) = inline {
            findings.push(Finding::new(&file.path, number, vague(name)));
        }
    }
    findings
}

fn bare_allows(file: &File, code: &str) -> Vec<Finding> {
    let found = code.lines().zip(1..).filter(|(line, _)| {
        rust::words(line).any(|(before, word, after)| {
            let before = before.trim_end();
            word == "allow" && after.starts_with('(') && (before.ends_with("#[") || before.ends_with("#!["))
        })
    });
    let message = "use `#[expect(…, reason = \"…\")]`, which states a reason and is reported when it is obsolete";
    found
        .map(|(_, number)| Finding::new(&file.path, number, message))
        .collect()
}

fn length(file: &File, code: &str, longer: &[(&str, &str)]) -> Option<Finding> {
    let is_test = file
        .path
        .split('/')
        .any(|folder| matches!(folder, "tests" | "benches" | "examples"));
    let lines = rust::lines_before_tests(code);
    let message = match (lines > MAX_LINES, longer.iter().any(|(path, _)| *path == file.path)) {
        (true, false) if !is_test => format!(
            "{lines} lines without tests, more than {MAX_LINES}: split the file into parts that can be understood \
             separately"
        ),
        (false, true) => {
            "the file is short enough: remove it from the list of longer files in tidy/layout.rs".to_owned()
        }
        (true, _) | (false, false) => return None,
    };
    Some(Finding::new(&file.path, 0, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    const DOC: &str = "#![doc = include_str!(\"../README.md\")]\n";

    fn found(files: &[(&str, &str)]) -> Vec<Finding> {
        check(&Metadata::of(&[]), &Tree::of(files))
    }

    #[test]
    fn a_missing_readme_and_a_root_without_it_are_found() {
        let metadata = Metadata::of(&[("services/user", &[]), ("crates/xtask", &[])]);
        let complete = [
            ("services/user/README.md", ""),
            ("services/user/src/lib.rs", DOC),
            ("services/user/src/main.rs", "fn main() {}\n"),
            ("crates/xtask/README.md", ""),
            ("crates/xtask/src/main.rs", DOC),
        ];
        assert_found(&check(&metadata, &Tree::of(&complete)), &[]);
        let bare = [
            ("services/user/src/lib.rs", "//! Users.\n"),
            ("crates/xtask/src/main.rs", "fn main() {}\n"),
        ];
        assert_found(
            &check(&metadata, &Tree::of(&bare)),
            &[
                "services/user/README.md: the README is missing",
                "services/user/src/lib.rs:1: the file does not begin with",
                "crates/xtask/README.md: the README is missing",
                "crates/xtask/src/main.rs:1: the file does not begin with",
            ],
        );
    }

    #[test]
    fn vague_module_names_are_found() {
        let files = [
            ("crates/a/src/outbox/mod.rs", ""),
            ("crates/a/src/utils.rs", ""),
            ("crates/a/tests/common/setup.rs", ""),
            (
                "crates/a/src/lib.rs",
                "// mod utils {}\nmod helpers {\n}\nmod commons {}\nmod outbox;\n",
            ),
        ];
        assert_found(
            &found(&files),
            &[
                "crates/a/src/outbox/mod.rs: a module `foo` is in foo.rs",
                "crates/a/src/utils.rs: `utils` does not describe",
                "crates/a/tests/common/setup.rs: `common` does not describe",
                "crates/a/src/lib.rs:2: `helpers` does not describe",
            ],
        );
    }

    #[test]
    fn bare_allows_are_found() {
        let text = "#![allow(dead_code)]\n// #[allow(x)]\nlet a = \"#[allow(x)]\";\n#[expect(y, reason = \"z\")]\n#[allow(unused)]\n";
        assert_found(
            &found(&[("crates/a/src/b.rs", text)]),
            &[
                "crates/a/src/b.rs:1: use `#[expect",
                "crates/a/src/b.rs:5: use `#[expect",
            ],
        );
    }

    #[test]
    fn long_files_are_found() {
        let long = "x\n".repeat(MAX_LINES + 1);
        let with_tests = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let files = [
            ("crates/a/src/b.rs", &*long),
            ("crates/a/src/c.rs", &*with_tests),
            ("crates/a/tests/all/d.rs", &*long),
        ];
        assert_found(&found(&files), &["crates/a/src/b.rs: 601 lines"]);
    }

    #[test]
    fn an_obsolete_exception_is_found() {
        let file = |text: String| crate::tree::File {
            path: "a.rs".to_owned(),
            text,
        };
        let (short, long) = (file("x\n".to_owned()), file("x\n".repeat(MAX_LINES + 1)));
        let longer = [("a.rs", "a table")];
        assert!(length(&short, &short.text, &longer).is_some());
        assert!(length(&long, &long.text, &longer).is_none());
    }
}
