//! Rule: crates depend only on the crates that are listed for them.

use super::Finding;
use crate::metadata::{Kind, Metadata};
use crate::tree::Tree;

/// Workspace crates on which each crate may depend, with the reason for the limit.
const CRATES: [(&str, &[&str], &str); 9] = [
    (
        "chassis",
        &[],
        "chassis is a leaf, independent of messages, stores and Kafka",
    ),
    (
        "contracts",
        &[],
        "contracts is a leaf, on which all other crates are built",
    ),
    (
        "messaging",
        &["chassis", "contracts"],
        "messaging is independent of databases, which implement the Ledger trait",
    ),
    (
        "postgres",
        STORE,
        "a store implements traits of messaging, and is independent of other stores and of services",
    ),
    (
        "mongo",
        STORE,
        "a store implements traits of messaging, and is independent of other stores and of services",
    ),
    (
        "testing",
        &["chassis", "contracts", "messaging", "mongo", "postgres"],
        "testing is independent of services, because all of them use it",
    ),
    (
        "cli",
        &["chassis", "contracts", "messaging"],
        "the CLI uses only Kafka, so it works while services are down",
    ),
    ("model", &[], "the model is independent of the code that it describes"),
    (
        "xtask",
        &["contracts"],
        "maintenance tasks use the topic table, but no code that runs in production",
    ),
];
const STORE: &[&str] = &["chassis", "contracts", "messaging"];
const SERVICE: &[&str] = &["chassis", "contracts", "messaging", "mongo", "postgres"];
/// Folder of the end-to-end tests, which may depend on all crates, and on which no crate may depend.
const END_TO_END: &str = "tests";

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
                "services do not depend on other services, because they communicate only through Kafka",
            ),
            None if folder == END_TO_END => (None, "it is only for tests"),
            None => {
                let message = "the crate has no rule for its dependencies: add one to xtask's tidy/dependencies.rs";
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
                    "testing must be a dev-dependency, because releases must not contain code that creates databases \
                     and simulates failures"
                        .to_owned()
                }
                _ => format!("{} must not depend on {name}: {reason}", package.name),
            };
            findings.push(Finding::new(&manifest, 0, message));
        }
        if let Some(file) = tree.get(&manifest)
            && !file.text.contains("[lints]\nworkspace = true")
        {
            let message = "`[lints] workspace = true` is missing, so clippy would not check the workspace's lints";
            findings.push(Finding::new(&manifest, 0, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TestPackage;
    use crate::tidy::assert_found;

    fn found(packages: &[TestPackage<'_>]) -> Vec<Finding> {
        check(&Metadata::of(packages), &Tree::default())
    }

    const CONTRACTS: TestPackage<'_> = ("crates/contracts", &[]);
    const TESTING: TestPackage<'_> = ("crates/testing", &[("contracts", None)]);

    #[test]
    fn a_service_may_depend_on_crates_and_in_tests_on_testing() {
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
                &["services/user/Cargo.toml: user must not depend on event: services do not"],
            );
        }
    }

    #[test]
    fn dependencies_against_the_direction_are_found() {
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
    fn testing_as_a_normal_dependency_or_of_a_leaf_is_found() {
        let leaf = ("crates/contracts", &[("testing", Some(Kind::Dev))][..]);
        let found = found(&[TESTING, ("services/user", &[("testing", None)]), leaf]);
        assert_found(
            &found,
            &[
                "services/user/Cargo.toml: testing must be a dev-dependency",
                "crates/contracts/Cargo.toml: contracts must not depend on testing",
            ],
        );
    }

    #[test]
    fn end_to_end_tests_depend_on_all_crates_and_no_crate_on_them() {
        let top = (
            "tests",
            &[("user", None), ("cli", None), ("testing", Some(Kind::Dev))][..],
        );
        let others = [("services/user", &[][..]), ("crates/cli", &[("tests", None)])];
        let found = found(&[top, TESTING, others[0], others[1], CONTRACTS]);
        assert_found(&found, &["crates/cli/Cargo.toml: cli must not depend on tests"]);
    }

    #[test]
    fn a_crate_without_a_rule_is_found() {
        assert_found(
            &found(&[("crates/extras", &[])]),
            &["crates/extras/Cargo.toml: the crate has no rule"],
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
