//! Decisions are numbered 1, 2, 3… without gaps.

use super::Finding;
use crate::tree::Tree;

const FOLDER: &str = "docs/adr/";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last = 0;
    let mut names: Vec<_> = tree.files().filter_map(|file| file.path.strip_prefix(FOLDER)).collect();
    names.sort_unstable();
    for name in names {
        if name == "README.md" {
            continue;
        }
        let path = format!("{FOLDER}{name}");
        let number = name
            .split_once('-')
            .filter(|(number, _)| number.len() == 4 && name.ends_with(".md"));
        let Some(number) = number.and_then(|(number, _)| number.parse::<u32>().ok()) else {
            findings.push(Finding::new(
                path,
                0,
                "a decision is NNNN-what-was-decided.md: others refer to its number",
            ));
            continue;
        };
        if number != last + 1 {
            let message = format!(
                "after {last:04} comes {:04}: others refer to decisions by number, so none is left out, used twice or \
                 deleted; a decision that holds no more is superseded",
                last + 1
            );
            findings.push(Finding::new(path, 0, message));
        }
        last = number;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(names: &[&str]) -> Vec<Finding> {
        let paths: Vec<_> = names.iter().map(|name| format!("{FOLDER}{name}")).collect();
        check(&Tree::of(
            &paths.iter().map(|path| (path.as_str(), "")).collect::<Vec<_>>(),
        ))
    }

    #[test]
    fn numbers_have_no_gaps_and_are_used_once() {
        assert_found(&found(&["0001-a.md", "0002-b.md", "README.md"]), &[]);
        assert_found(
            &found(&["0001-a.md", "0003-b.md"]),
            &["docs/adr/0003-b.md: after 0001 comes 0002"],
        );
        assert_found(
            &found(&["0001-a.md", "0001-b.md"]),
            &["docs/adr/0001-b.md: after 0001 comes 0002"],
        );
        assert_found(&found(&["0002-a.md"]), &["docs/adr/0002-a.md: after 0000 comes 0001"]);
    }

    #[test]
    fn every_decision_has_a_number() {
        assert_found(
            &found(&["kafka.md", "01-a.md"]),
            &["docs/adr/01-a.md: a decision is", "docs/adr/kafka.md: a decision is"],
        );
    }
}
