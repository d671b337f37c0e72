//! How crates, modules and files are laid out.

use super::Finding;
use crate::metadata::Metadata;
use crate::rust;
use crate::tree::{File, Tree};

const LONGEST: usize = 600;
/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Says nothing about what is inside.
const NO_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];

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
            "it is not there any more: take it from the list of longer files in tidy/layout.rs",
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
            let message =
                "it is missing: it says what the crate is in one sentence, and what it never knows in the next";
            findings.push(Finding::new(readme, 0, message));
        }
        let root = ["src/lib.rs", "src/main.rs"].map(|file| format!("{folder}/{file}"));
        let root = root.iter().find_map(|path| tree.get(path));
        if let Some(root) = root
            && !root.text.starts_with("#![doc = include_str!(\"../README.md\")]\n")
        {
            let message = "it does not begin with `#![doc = include_str!(\"../README.md\")]`: the README is the crate's \
                           docs, so that there is one text, and its examples are tested";
            findings.push(Finding::new(&root.path, 1, message));
        }
    }
    findings
}

fn module_names(file: &File, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = file.path.trim_end_matches(".rs");
    if path.ends_with("/mod") {
        let message =
            "a module `foo` is in foo.rs, its parts in foo/: no mod.rs, of which an editor shows twenty alike";
        findings.push(Finding::new(&file.path, 0, message));
    }
    let say_nothing = |name: &str| {
        format!(
            "`{name}` says nothing about what is inside: name a module after what it knows, and it will not gather more"
        )
    };
    if let Some(name) = path.split('/').find(|name| NO_NAMES.contains(name)) {
        findings.push(Finding::new(&file.path, 0, say_nothing(name)));
    }
    for (line, number) in code.lines().zip(1..) {
        let inline = rust::words(line).find(|(before, name, after)| {
            before.trim_end().ends_with("mod") && after.trim_start().starts_with('{') && NO_NAMES.contains(name)
        });
        if let Some((_, name, _)) = inline {
            findings.push(Finding::new(&file.path, number, say_nothing(name)));
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
    let message = "write `#[expect(…, reason = \"…\")]`: it says why, and it says so when it is not needed any more";
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
    let message = match (lines > LONGEST, longer.iter().any(|(path, _)| *path == file.path)) {
        (true, false) if !is_test => format!(
            "{lines} lines without its tests, more than {LONGEST}: nobody reads that from top to bottom; find the parts \
             that can be understood alone"
        ),
        (false, true) => {
            "it is short enough by now: take it from the list of longer files in tidy/layout.rs".to_owned()
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
    fn a_crate_has_a_readme_which_is_its_docs() {
        let metadata = Metadata::of(&[("services/user", &[]), ("crates/xtask", &[])]);
        let whole = [
            ("services/user/README.md", ""),
            ("services/user/src/lib.rs", DOC),
            ("services/user/src/main.rs", "fn main() {}\n"),
            ("crates/xtask/README.md", ""),
            ("crates/xtask/src/main.rs", DOC),
        ];
        assert_found(&check(&metadata, &Tree::of(&whole)), &[]);
        let bare = [
            ("services/user/src/lib.rs", "//! Users.\n"),
            ("crates/xtask/src/main.rs", "fn main() {}\n"),
        ];
        assert_found(
            &check(&metadata, &Tree::of(&bare)),
            &[
                "services/user/README.md: it is missing",
                "services/user/src/lib.rs:1: it does not begin with",
                "crates/xtask/README.md: it is missing",
                "crates/xtask/src/main.rs:1: it does not begin with",
            ],
        );
    }

    #[test]
    fn modules_are_named_after_what_they_know() {
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
                "crates/a/src/utils.rs: `utils` says nothing",
                "crates/a/tests/common/setup.rs: `common` says nothing",
                "crates/a/src/lib.rs:2: `helpers` says nothing",
            ],
        );
    }

    #[test]
    fn an_exception_says_why() {
        let text = "#![allow(dead_code)]\n// #[allow(x)]\nlet a = \"#[allow(x)]\";\n#[expect(y, reason = \"z\")]\n#[allow(unused)]\n";
        assert_found(
            &found(&[("crates/a/src/b.rs", text)]),
            &[
                "crates/a/src/b.rs:1: write `#[expect",
                "crates/a/src/b.rs:5: write `#[expect",
            ],
        );
    }

    #[test]
    fn a_file_can_be_read_from_top_to_bottom() {
        let long = "x\n".repeat(LONGEST + 1);
        let with_tests = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let files = [
            ("crates/a/src/b.rs", &*long),
            ("crates/a/src/c.rs", &*with_tests),
            ("crates/a/tests/all/d.rs", &*long),
        ];
        assert_found(&found(&files), &["crates/a/src/b.rs: 601 lines"]);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        let file = |text: String| crate::tree::File {
            path: "a.rs".to_owned(),
            text,
        };
        let (short, long) = (file("x\n".to_owned()), file("x\n".repeat(LONGEST + 1)));
        let longer = [("a.rs", "a table")];
        assert!(length(&short, &short.text, &longer).is_some());
        assert!(length(&long, &long.text, &longer).is_none());
    }
}
