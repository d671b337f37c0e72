//! Rule: the generated documents match the topic table.

use super::Finding;
use crate::documents::{self, Document};
use crate::tree::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    documents::ALL
        .into_iter()
        .filter_map(|document| differs(tree, document))
        .collect()
}

fn differs(tree: &Tree, document: &Document) -> Option<Finding> {
    let expected = (document.text)();
    let found = tree.get(document.path).map(|file| file.text.as_str());
    if found == Some(&expected) {
        return None;
    }
    let lines = found.unwrap_or_default().lines().zip(expected.lines());
    let line = lines.take_while(|(found, expected)| found == expected).count() + 1;
    let message = format!(
        "the document does not match the topic table, so readers would be misled; run `{}`",
        document.command
    );
    Some(Finding::new(document.path, line, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    const DOCUMENT: Document = Document {
        path: "docs/x.md",
        command: "cargo xtask x",
        text: || "a\nb\n".to_owned(),
    };

    #[test]
    fn an_outdated_document_is_found() {
        let found = |text: &str| {
            differs(&Tree::of(&[("docs/x.md", text)]), &DOCUMENT)
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_found(&found("a\nb\n"), &[]);
        assert_found(
            &found("a\nc\n"),
            &["docs/x.md:2: the document does not match the topic table"],
        );
        assert_found(&found("a\nb\nc\n"), &["docs/x.md:3: the document does not match"]);
    }

    #[test]
    fn a_missing_document_is_found() {
        let found: Vec<_> = differs(&Tree::of(&[]), &DOCUMENT).into_iter().collect();
        assert_found(&found, &["docs/x.md:1: the document does not match"]);
    }
}
