//! What may be in the tree of dependencies.

use super::Finding;
use crate::tree::Tree;

/// At most one version of each.
const ONCE: [(&str, &str); 4] = [
    (
        "opentelemetry",
        "two versions don't see each other's spans: traces fall apart",
    ),
    (
        "opentelemetry_sdk",
        "two versions don't see each other's spans: traces fall apart",
    ),
    (
        "prometheus",
        "two versions don't see each other's registries: metrics are lost",
    ),
    (
        "rdkafka-sys",
        "librdkafka is a minute of compiling, and two of it can't be linked",
    ),
];
const NEVER: [(&str, &str); 4] = [
    (
        "native-tls",
        "TLS is rustls: nothing has to be installed to build or run",
    ),
    (
        "openssl-sys",
        "TLS is rustls: nothing has to be installed to build or run",
    ),
    ("opentelemetry-jaeger", "it is abandoned; spans go out by OTLP"),
    (
        "testcontainers",
        "tests run on the servers of scripts/stack, without a Docker engine",
    ),
];
const EXACTLY: [(&str, &str, &str); 1] = [("sqlx", "0.8.6", "0.9.0 lost TCP_NODELAY: every query waits 40 ms")];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    const LOCK: &str = "Cargo.lock";
    let Some(lock) = tree.get(LOCK) else {
        return vec![Finding::new(
            LOCK,
            0,
            "it is missing: a build of today must be repeatable",
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
                format!("{name} is there again, as {version}: {reason}"),
            ));
        }
    }
    for (name, reason) in NEVER {
        for (line, _) in versions_of(name) {
            findings.push(Finding::new(
                LOCK,
                line,
                format!("{name}: {reason}; `cargo tree -i {name}` says whose it is"),
            ));
        }
    }
    for (name, wanted, reason) in EXACTLY {
        for (line, version) in versions_of(name) {
            if version != wanted {
                findings.push(Finding::new(
                    LOCK,
                    line,
                    format!("{name} is {version}, not {wanted}: {reason}"),
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
    fn two_opentelemetries_are_one_too_many() {
        assert_found(&found(&[("opentelemetry", "0.33.1"), ("sqlx", "0.8.6")]), &[]);
        let found = found(&[("opentelemetry", "0.32.0"), ("opentelemetry", "0.33.1")]);
        assert_found(
            &found,
            &["Cargo.lock:6: opentelemetry is there again, as 0.33.1: two versions"],
        );
    }

    #[test]
    fn some_crates_are_never_there() {
        assert_found(
            &found(&[("openssl-sys", "0.9.0")]),
            &["Cargo.lock:2: openssl-sys: TLS is rustls"],
        );
    }

    #[test]
    fn sqlx_stays_where_it_is() {
        assert_found(
            &found(&[("sqlx", "0.9.0")]),
            &["Cargo.lock:2: sqlx is 0.9.0, not 0.8.6"],
        );
    }

    #[test]
    fn a_missing_lock_is_found() {
        assert_found(&check(&Tree::default()), &["Cargo.lock: it is missing"]);
    }
}
