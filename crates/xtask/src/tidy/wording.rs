//! Rule: prose avoids the words of CONTRIBUTING.md's word list that are hardest to understand.

use super::Finding;
use crate::tree::{File, Tree};

/// Phrases that are not allowed, each with its replacement.
///
/// A phrase matches whole words, regardless of case, across a line break, and in names (`an_index_made_anew`). Hyphens are
/// parts of words, so "is a no" does not match "is a no-op".
const PHRASES: [(&str, &str); 26] = [
    ("anew", "again, recreated"),
    ("whoever", "the actor: the caller, the client, the second worker"),
    ("somebody", "the actor: another user, another process"),
    ("/// Answers", "/// Returns"),
    ("set aside", "dead-lettered"),
    ("is buried", "is dead-lettered"),
    ("who is gone", "a disconnected client"),
    ("gone away", "disconnected, unreachable"),
    ("without a word", "unresponsive, without a response"),
    ("of one's own", "a separate, a dedicated"),
    ("of our own", "our, a separate, a dedicated"),
    ("going on from", "resuming from"),
    ("goes on from", "resumes from"),
    ("doesn't answer", "is unreachable, did not respond within …"),
    ("does not answer", "is unreachable, did not respond within …"),
    ("nobody answers", "is unreachable"),
    ("is no JSON", "is not JSON"),
    ("the promise", "the delivery guarantee"),
    ("is a no", "is a rejection, was not found"),
    ("a business no", "a rejection"),
    ("there is no such", "does not exist"),
    ("not heard of", "not received, unknown"),
    ("fresh look", "read again, re-read"),
    ("is at fault", "is invalid, has failed"),
    ("are at fault", "are invalid, have failed"),
    ("mended", "fixed"),
];

/// Marks a line, or the next one, on which a phrase is allowed. A reason must follow.
const MARKER: &str = "wording:";

/// Extensions of the files that are checked. Shell scripts are recognized by their first line.
const EXTENSIONS: [&str; 14] = [
    ".rs",
    ".md",
    ".yml",
    ".yaml",
    ".avsc",
    ".html",
    ".template",
    ".sql",
    ".py",
    ".java",
    ".txt",
    ".js",
    ".toml",
    ".css",
];

/// Files that quote the phrases.
const EXEMPT: [&str; 3] = ["CONTRIBUTING.md", "CHANGELOG.md", "crates/xtask/src/tidy/wording.rs"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter(|file| is_checked(file))
        .flat_map(check_file)
        .collect()
}

fn is_checked(file: &File) -> bool {
    let first_line = file.text.lines().next().unwrap_or_default();
    let is_script =
        first_line.starts_with("#!") && first_line.ends_with("sh") || first_line.contains("shellcheck shell=");
    let has_extension = EXTENSIONS.iter().any(|extension| file.path.ends_with(extension));
    (is_script || has_extension) && !EXEMPT.contains(&file.path.as_str())
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<_> = file.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let marked = [index.checked_sub(1), Some(index)]
            .into_iter()
            .flatten()
            .find_map(|index| lines[index].split_once(MARKER));
        let next = lines.get(index + 1).copied().unwrap_or_default();
        for (phrase, replacement) in PHRASES {
            if !begins_in(line, next, phrase) {
                continue;
            }
            match marked {
                Some((_, reason)) if reason.contains(char::is_alphabetic) => {}
                Some(_) => findings.push(Finding::new(
                    &file.path,
                    index + 1,
                    format!("`{MARKER}` needs a reason, because an exception without one cannot be reviewed"),
                )),
                None => findings.push(Finding::new(
                    &file.path,
                    index + 1,
                    format!(
                        "\"{phrase}\" is hard to understand; write: {replacement} (or state with `{MARKER} reason` why \
                         the phrase is needed)"
                    ),
                )),
            }
        }
    }
    findings
}

/// Returns `true` if the phrase begins on `line` and ends there or on the `next` line.
fn begins_in(line: &str, next: &str, phrase: &str) -> bool {
    let line = line.trim_end();
    let next =
        next.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '/' | '!' | '*' | '#' | '>' | '|' | '-'));
    let text = format!("{line} {next}")
        .replace('’', "'")
        .replace('_', " ")
        .to_ascii_lowercase();
    let phrase = phrase.to_ascii_lowercase();
    text.match_indices(&phrase).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '-';
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        at < line.len() && !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(path: &str, text: &str) -> Vec<Finding> {
        check(&Tree::of(&[(path, text)]))
    }

    #[test]
    fn phrases_are_found_in_any_case_in_names_and_across_lines() {
        let text = "// Made ANEW.\nfn is_set_aside() {}\n/// Answers the offset.\n// The record was set\n//   aside by the consumer.\n";
        assert_found(
            &found("crates/a/src/lib.rs", text),
            &[
                "crates/a/src/lib.rs:1: \"anew\"",
                "crates/a/src/lib.rs:2: \"set aside\"",
                "crates/a/src/lib.rs:3: \"/// Answers\"",
                "crates/a/src/lib.rs:4: \"set aside\"",
            ],
        );
        for (path, text) in [
            ("README.md", "Whoever calls this waits."),
            ("docs/a.md", "The server doesn’t answer."),
            ("docker-compose.yml", "# built anew"),
            ("schemas/users/UserCreated.avsc", "{ \"doc\": \"Somebody.\" }"),
            ("site/index.html", "<p>The promise</p>"),
            ("scripts/stages", "# shellcheck shell=bash\n# made anew"),
            ("scripts/demo", "#!/usr/bin/env bash\necho 'it is made anew'"),
            ("migrations/0001_ledger.sql", "-- Records that are set\n-- aside."),
            ("tests/verify.py", "print('this is no JSON')"),
            ("tests/Decode.java", "/** Nobody answers. */"),
            ("templates/welcome.txt", "Hello, whoever you are"),
            ("site/page.js", "// made anew"),
            ("Cargo.toml", "# made anew"),
            ("site/page.css", "/* made anew */"),
        ] {
            assert_eq!(found(path, text).len(), 1, "{text}");
        }
    }

    #[test]
    fn plain_texts_and_parts_of_words_have_no_findings() {
        let text = "// This is a no-op. It is renewed and has a compromise.\n/// Returns answers.\n\
                    // The value is not JSON. \"set\"\n// \"side\"\n";
        assert_found(&found("crates/a/src/lib.rs", text), &[]);
        for path in ["CONTRIBUTING.md", "CHANGELOG.md", "data/export.jsonl", "LICENSE"] {
            assert_found(&found(path, "anew\n"), &[]);
        }
    }

    #[test]
    fn an_exception_needs_a_reason() {
        let text = "// wording: quoted from the RFC\n// \"anew\"\nlet a = \"anew\"; // wording: part of the protocol\n";
        assert_found(&found("a.rs", text), &[]);
        assert_found(
            &found("a.rs", "let a = \"anew\"; // wording:\n"),
            &["a.rs:1: `wording:` needs a reason"],
        );
    }
}
