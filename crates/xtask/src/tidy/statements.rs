//! Rule: SQL statements name the columns that they read.

use super::Finding;
use crate::tree::Tree;

/// Folders whose statements are prepared once per connection, and executed while migrations run.
const FOLDERS: [&str; 3] = ["crates/postgres/src/", "crates/testing/src/", "services/"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        if !FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        for at in stars(&file.text) {
            let line = file.text[..at].matches('\n').count() + 1;
            let message = "a statement must name the columns that it reads (except `SELECT * FROM UNNEST(…)` of \
                           parameters), because a prepared `*` fails when a migration adds a column";
            findings.push(Finding::new(&file.path, line, message));
        }
    }
    findings
}

/// Returns the offsets of every `*` that stands for the columns of a table.
fn stars(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices('*').map(|(at, _)| at).filter(|at| {
        let before = text[..*at].trim_end();
        let after = text[at + 1..].trim_start();
        // `t.*`. In Rust, `.*` does not follow a word: not in `0.*`, and not in the format `{:.*}`.
        let of_a_table = text[..*at].strip_suffix('.').is_some_and(|table| {
            table.ends_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '"'))
                && !after.starts_with(['}', '*'])
        });
        let word = before.trim_end_matches(',').trim_end();
        let all = ["SELECT", "DISTINCT", "RETURNING"]
            .iter()
            .any(|keyword| word.ends_with(keyword));
        let of_parameters = after.starts_with("FROM UNNEST(");
        // `SELECT $1, * FROM`: preceded by a comma, followed by a table.
        let further = before.ends_with(',') && after.starts_with("FROM ");
        of_a_table || ((all || further) && !of_parameters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn statements_that_select_all_columns_are_found() {
        let text = "\
            q(\"SELECT * FROM profiles\");\n\
            q(\"SELECT p.* FROM profiles p\");\n\
            q(\"DELETE FROM delayed RETURNING *\");\n\
            q(\"SELECT $1, * FROM profiles\");\n\
            q(\"SELECT *, NULL AS due_at FROM outbox\");\n\
            q(\"SELECT DISTINCT *\n FROM outbox\");\n";
        let allowed = "\
            q(\"INSERT INTO names (name) SELECT * FROM UNNEST($1::text[])\");\n\
            q(\"SELECT $1, * FROM UNNEST($2::text[])\");\n\
            q(\"SELECT DISTINCT *\n  FROM UNNEST($2::text[])\");\n\
            q(\"SELECT count(*), a * b FROM profiles\");\n\
            let x = a.b * *c; let y = &mut **tx; use a::*; f(x, *y, \"**So.**\"); format!(\"{:.*}\", 1); // A sentence.\n*x = 1;\n";
        let files = [
            ("services/user/src/store.rs", text),
            ("services/user/src/names.rs", allowed),
            ("crates/xtask/src/tidy.rs", text),
        ];
        let expected =
            [1, 2, 3, 4, 5, 6].map(|line| format!("services/user/src/store.rs:{line}: a statement must name"));
        assert_found(&check(&Tree::of(&files)), &expected.each_ref().map(String::as_str));
    }
}
