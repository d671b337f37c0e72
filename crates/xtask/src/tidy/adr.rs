//! Rule: decision records are numbered 1, 2, 3… without gaps.

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
                "a decision record is named NNNN-title.md, because other documents refer to its number",
            ));
            continue;
        };
        if number != last + 1 {
            let message = format!(
                "expected {:04} after {last:04}: numbers have no gaps or duplicates, because other documents refer to \
                 them; supersede an outdated decision instead of deleting it",
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
    fn gaps_and_duplicate_numbers_are_found() {
        assert_found(&found(&["0001-a.md", "0002-b.md", "README.md"]), &[]);
        assert_found(
            &found(&["0001-a.md", "0003-b.md"]),
            &["docs/adr/0003-b.md: expected 0002 after 0001"],
        );
        assert_found(
            &found(&["0001-a.md", "0001-b.md"]),
            &["docs/adr/0001-b.md: expected 0002 after 0001"],
        );
        assert_found(
            &found(&["0002-a.md"]),
            &["docs/adr/0002-a.md: expected 0001 after 0000"],
        );
    }

    #[test]
    fn decisions_without_a_number_are_found() {
        assert_found(
            &found(&["kafka.md", "01-a.md"]),
            &[
                "docs/adr/01-a.md: a decision record is",
                "docs/adr/kafka.md: a decision record is",
            ],
        );
    }
}
