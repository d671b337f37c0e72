//! Who may depend on whom.

use super::Finding;
use crate::metadata::{Kind, Metadata};
use crate::tree::Tree;

/// What each crate may know of the workspace, and why no more.
const CRATES: [(&str, &[&str], &str); 8] = [
    (
        "chassis",
        &[],
        "chassis is a leaf: it knows no message, no store and no Kafka",
    ),
    ("contracts", &[], "contracts is what everything else is built on"),
    (
        "messaging",
        &["chassis", "contracts"],
        "messaging knows no database: that is the Ledger trait's",
    ),
    (
        "postgres",
        STORE,
        "a store knows the messaging that it serves, and no other store and no service",
    ),
    (
        "mongo",
        STORE,
        "a store knows the messaging that it serves, and no other store and no service",
    ),
    (
        "testing",
        &["chassis", "contracts", "messaging", "mongo", "postgres"],
        "testing serves every service alike",
    ),
    (
        "cli",
        &["chassis", "contracts", "messaging"],
        "the command speaks to Kafka, and works while services are down",
    ),
    (
        "xtask",
        &["contracts"],
        "chores know the topic table, and nothing that runs",
    ),
];
const STORE: &[&str] = &["chassis", "contracts", "messaging"];
const SERVICE: &[&str] = &["chassis", "contracts", "messaging", "mongo", "postgres"];
/// The top: it tests and measures the whole, and nothing depends on it.
const TOP: &str = "tests";

pub(crate) fn check(metadata: &Metadata, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let folder = metadata.folder(package);
        let manifest = format!("{folder}/Cargo.toml");
        let rule = CRATES.iter().find(|(name, ..)| folder == format!("crates/{name}"));
        let (allowed, reason) = match rule {
            Some((_, allowed, reason)) => (Some(*allowed), *reason),
            None if folder.starts_with("services/") => (
                Some(SERVICE),
                "services never depend on services: they talk through Kafka alone",
            ),
            None if folder == TOP => (None, "it is not for what is built"),
            None => {
                let message = "nobody has said what this crate may depend on: do so in xtask's tidy/dependencies.rs";
                findings.push(Finding::new(manifest, 0, message));
                continue;
            }
        };
        let is_leaf = allowed.is_some_and(<[_]>::is_empty);
        let is_allowed = |name| name != "testing" && allowed.is_none_or(|allowed| allowed.contains(&name));
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if !metadata.packages.iter().any(|other| other.name == name) || is_allowed(name) {
                continue;
            }
            let message = match (name, dependency.kind) {
                ("testing", Some(Kind::Dev)) if !is_leaf => continue,
                ("testing", _) if !is_leaf => {
                    "testing is a dev-dependency: what ships must not contain what makes databases and breaks things"
                        .to_owned()
                }
                _ => format!("{} must not depend on {name}: {reason}", package.name),
            };
            findings.push(Finding::new(&manifest, 0, message));
        }
        if let Some(file) = tree.get(&manifest)
            && !file.text.contains("[lints]\nworkspace = true")
        {
            let message = "`[lints] workspace = true` is missing: clippy would hold this crate to nothing";
            findings.push(Finding::new(&manifest, 0, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Given;
    use crate::tidy::assert_found;

    fn found(packages: &[Given<'_>]) -> Vec<Finding> {
        check(&Metadata::of(packages), &Tree::default())
    }

    const CONTRACTS: Given<'_> = ("crates/contracts", &[]);
    const TESTING: Given<'_> = ("crates/testing", &[("contracts", None)]);

    #[test]
    fn a_service_may_use_the_crates_and_test_with_testing() {
        let user = (
            "services/user",
            &[("contracts", None), ("serde", None), ("testing", Some(Kind::Dev))][..],
        );
        assert_found(&found(&[CONTRACTS, TESTING, user]), &[]);
    }

    #[test]
    fn a_service_must_not_depend_on_a_service() {
        for kind in [None, Some(Kind::Dev), Some(Kind::Build)] {
            let found = found(&[("services/user", &[("event", kind)]), ("services/event", &[])]);
            assert_found(
                &found,
                &["services/user/Cargo.toml: user must not depend on event: services never"],
            );
        }
    }

    #[test]
    fn dependencies_point_one_way() {
        let found = found(&[
            ("crates/contracts", &[("chassis", None)]),
            ("crates/chassis", &[("contracts", Some(Kind::Dev))]),
            ("crates/messaging", &[("postgres", None)]),
            ("crates/postgres", &[("mongo", None)]),
            ("crates/mongo", &[("cli", None)]),
            ("crates/cli", &[("user", None)]),
            ("services/user", &[("cli", None)]),
        ]);
        assert_found(
            &found,
            &[
                "crates/contracts/Cargo.toml: contracts must not depend on chassis",
                "crates/chassis/Cargo.toml: chassis must not depend on contracts",
                "crates/messaging/Cargo.toml: messaging must not depend on postgres",
                "crates/postgres/Cargo.toml: postgres must not depend on mongo",
                "crates/mongo/Cargo.toml: mongo must not depend on cli",
                "crates/cli/Cargo.toml: cli must not depend on user",
                "services/user/Cargo.toml: user must not depend on cli",
            ],
        );
    }

    #[test]
    fn testing_is_never_a_normal_dependency_and_a_leaf_has_none() {
        let leaf = ("crates/contracts", &[("testing", Some(Kind::Dev))][..]);
        let found = found(&[TESTING, ("services/user", &[("testing", None)]), leaf]);
        assert_found(
            &found,
            &[
                "services/user/Cargo.toml: testing is a dev-dependency",
                "crates/contracts/Cargo.toml: contracts must not depend on testing",
            ],
        );
    }

    #[test]
    fn the_end_to_end_tests_know_everything_and_nobody_knows_them() {
        let top = (
            "tests",
            &[("user", None), ("cli", None), ("testing", Some(Kind::Dev))][..],
        );
        let others = [("services/user", &[][..]), ("crates/cli", &[("tests", None)])];
        let found = found(&[top, TESTING, others[0], others[1], CONTRACTS]);
        assert_found(&found, &["crates/cli/Cargo.toml: cli must not depend on tests"]);
    }

    #[test]
    fn a_new_crate_has_to_be_placed() {
        assert_found(
            &found(&[("crates/extras", &[])]),
            &["crates/extras/Cargo.toml: nobody has said"],
        );
    }

    #[test]
    fn a_crate_without_the_workspace_lints_is_found() {
        let tree = Tree::of(&[("crates/contracts/Cargo.toml", "[package]\nname = \"contracts\"\n")]);
        let found = check(&Metadata::of(&[CONTRACTS]), &tree);
        assert_found(
            &found,
            &["crates/contracts/Cargo.toml: `[lints] workspace = true` is missing"],
        );
    }
}
