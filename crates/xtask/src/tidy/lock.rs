//! Rules for the dependency tree in `Cargo.lock`.

use super::Finding;
use crate::tree::Tree;

/// Crates of which only one version is allowed, with the reason.
const ONCE: [(&str, &str); 4] = [
    (
        "opentelemetry",
        "two versions do not see each other's spans, so traces would be incomplete",
    ),
    (
        "opentelemetry_sdk",
        "two versions do not see each other's spans, so traces would be incomplete",
    ),
    (
        "prometheus",
        "two versions do not see each other's registries, so metrics would be lost",
    ),
    (
        "rdkafka-sys",
        "librdkafka takes a minute to compile, and two versions cannot be linked",
    ),
];
/// Crates of which an exact version is required, with the reason.
const EXACTLY: [(&str, &str, &str); 1] = [(
    "sqlx",
    "0.8.6",
    "0.9.0 does not set TCP_NODELAY, so every query waits 40 ms",
)];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    const LOCK: &str = "Cargo.lock";
    let Some(lock) = tree.get(LOCK) else {
        return vec![Finding::new(
            LOCK,
            0,
            "the file is missing, so builds are not reproducible",
        )];
    };
    let versions_of = |name: &str| -> Vec<(usize, &str)> {
        let name = format!("name = \"{name}\"");
        lock.lines()
            .zip(lock.text.lines().skip(1))
            .filter(|((_, line), _)| *line == name)
            .filter_map(|((number, _), next)| Some((number, next.strip_prefix("version = \"")?.strip_suffix('"')?)))
            .collect()
    };
    let mut findings = Vec::new();
    for (name, reason) in ONCE {
        if let [_, .., (line, version)] = versions_of(name)[..] {
            findings.push(Finding::new(
                LOCK,
                line,
                format!("{name} has a second version, {version}: {reason}"),
            ));
        }
    }
    for (name, wanted, reason) in EXACTLY {
        for (line, version) in versions_of(name) {
            if version != wanted {
                findings.push(Finding::new(
                    LOCK,
                    line,
                    format!("{name} has version {version} instead of {wanted}: {reason}"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(packages: &[(&str, &str)]) -> Vec<Finding> {
        let package =
            |(name, version): &(&str, &str)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
        check(&Tree::of(&[(
            "Cargo.lock",
            &packages.iter().map(package).collect::<Vec<_>>().join("\n"),
        )]))
    }

    #[test]
    fn a_second_version_is_found() {
        assert_found(&found(&[("opentelemetry", "0.33.1"), ("sqlx", "0.8.6")]), &[]);
        let found = found(&[("opentelemetry", "0.32.0"), ("opentelemetry", "0.33.1")]);
        assert_found(
            &found,
            &["Cargo.lock:6: opentelemetry has a second version, 0.33.1: two versions"],
        );
    }

    #[test]
    fn another_version_of_a_pinned_crate_is_found() {
        assert_found(
            &found(&[("sqlx", "0.9.0")]),
            &["Cargo.lock:2: sqlx has version 0.9.0 instead of 0.8.6"],
        );
    }

    #[test]
    fn a_missing_lock_is_found() {
        assert_found(&check(&Tree::default()), &["Cargo.lock: the file is missing"]);
    }
}
