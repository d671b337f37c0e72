//! Rule: relative links in Markdown have a target.

use super::Finding;
use crate::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| file.path.ends_with(".md")) {
        for (number, target) in links(&file.text) {
            if is_external(&target) {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let Some(path) = resolve(&file.path, path) else {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("{target} is outside the repository"),
                ));
                continue;
            };
            if !tree.has(&path) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("{target}: {path} does not exist"),
                ));
            } else if let Some(linked) = tree.get(&path).filter(|linked| linked.path.ends_with(".md"))
                && !anchor.is_empty()
                && !anchors(linked).iter().any(|known| known == anchor)
            {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("{target}: {path} does not have this heading"),
                ));
            }
        }
    }
    findings
}

/// Returns the lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let mark = line.trim_start().get(..3).filter(|mark| ["```", "~~~"].contains(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((number, line)),
            (Some(_), _) => {}
        }
        None
    })
}

/// Returns the targets of `[text](target)` and `[name]: target` outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let line: String = line
            .split('`')
            .enumerate()
            .map(|(index, part)| if index % 2 == 0 { part } else { "" })
            .collect();
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            links.push((number, target.to_owned()));
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            links.push((number, target.split(' ').next().unwrap_or_default().to_owned()));
        }
    }
    links
}

/// Returns `true` for links to other sites, and for items of Rust, which rustdoc checks.
fn is_external(target: &str) -> bool {
    target.contains("://")
        || target.starts_with("mailto:")
        || target.contains("::")
        || !target.contains(['/', '.', '#'])
}

/// Resolves `path`, which is relative to `file`, to a path from the root. Returns `None` if it is outside.
fn resolve(file: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(file.to_owned());
    }
    let mut parts: Vec<_> = if path.starts_with('/') {
        Vec::new()
    } else {
        file.split('/').collect()
    };
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns the anchors that GitHub generates for the headings.
fn anchors(file: &File) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(&file.text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = anchors.iter().filter(|known| **known == anchor).count();
        anchors.push(if before == 0 {
            anchor
        } else {
            format!("{anchor}-{before}")
        });
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(text: &str) -> Vec<Finding> {
        let other = ("docs/b.md", "# Two words: `x`\n```\n# no heading\n```\n");
        check(&Tree::of(&[("docs/a.md", text), other, ("scripts/stack", "")]))
    }

    #[test]
    fn links_with_a_target_have_no_findings() {
        let text = "[b](b.md) [b](b.md#two-words-x) [here](#top) [s](../scripts/stack) [f](../scripts) [r](/docs/b.md)\n\
                    [x](https://x.org/y.md) `[c](gone.md)` [`Codec`](crate::codec::Codec)\n\
                    # Top\n```\n[c](gone.md)\n```\n[name]: b.md\n[item]: crate::x\n";
        assert_found(&found(text), &[]);
    }

    #[test]
    fn links_without_a_target_are_found() {
        for (text, expected) in [
            ("[x](gone.md)", "docs/a.md:1: gone.md: docs/gone.md does not exist"),
            ("[x](../b.md)", "docs/a.md:1: ../b.md: b.md does not exist"),
            ("[x](../../b.md)", "docs/a.md:1: ../../b.md is outside"),
            (
                "[x](b.md#no-heading)",
                "docs/a.md:1: b.md#no-heading: docs/b.md does not have this heading",
            ),
            (
                "[x](#nowhere)",
                "docs/a.md:1: #nowhere: docs/a.md does not have this heading",
            ),
            ("[x]: gone.md", "docs/a.md:1: gone.md: docs/gone.md does not exist"),
        ] {
            assert_found(&found(text), &[expected]);
        }
    }
}
