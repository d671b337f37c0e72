//! `cargo xtask new-service`: creates a working service from a template.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

/// Files of a small service on Postgres that consumes `users`. `NAME` stands for the name of the service.
const TEMPLATE: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.template")),
    ("README.md", include_str!("../template/README.md.template")),
    (
        "migrations/DATE_members.sql",
        include_str!("../template/migrations/members.sql.template"),
    ),
    ("src/main.rs", include_str!("../template/src/main.rs.template")),
    ("src/lib.rs", include_str!("../template/src/lib.rs.template")),
    ("src/config.rs", include_str!("../template/src/config.rs.template")),
    ("src/handlers.rs", include_str!("../template/src/handlers.rs.template")),
    ("src/store.rs", include_str!("../template/src/store.rs.template")),
    (
        "tests/service.rs",
        include_str!("../template/tests/service.rs.template"),
    ),
];

/// Creates the folder of a service, and updates `Cargo.lock`.
pub(crate) fn create(name: &str) -> anyhow::Result<()> {
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
        "{name} is not a valid name: use one noun in lower case, which becomes the package, the consumer group and the ce_source"
    );
    let services = crate::tree::root()?.join("services");
    let folder = services.join(name);
    ensure!(!folder.exists(), "services/{name} already exists");
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    for (path, text) in files(name, &date(since.as_secs() / 86_400)) {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.strip_prefix(&services).unwrap_or(&path).display());
    }
    // Builds use `--locked`, and the order of imports depends on the name.
    cargo(&["update", "--workspace", "--offline", "--quiet"])?;
    cargo(&["fmt", "--package", name])?;
    println!(
        "\nThe service works: `scripts/test -p {name}`. Next, adapt it, and add:
  - its messages: schemas/, crates/contracts (README.md, \"Add a record\")
  - its database and role: deploy/postgres/databases.sql, scripts/stack
  - its deployment: docker-compose.yml, k8s/{name}/, deploy/compose/prometheus.yml, SERVICES in tests/src/system.rs
`cargo xtask tidy` and `scripts/lint-deploy` report what is missing."
    );
    Ok(())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(arguments)
        .current_dir(crate::tree::root()?)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    Ok(())
}

fn files(name: &str, date: &str) -> Vec<(String, String)> {
    let file = |(path, text): (&str, &str)| {
        (
            path.replace("DATE", &format!("{date}000001")),
            text.replace("NAME", name),
        )
    };
    TEMPLATE.into_iter().map(file).collect()
}

/// Formats a day since 1970-01-01 as `YYYYMMDD`.
fn date(day: u64) -> String {
    let day = i32::try_from(day)
        .ok()
        .and_then(|day| contracts::Date::from_days(day).ok());
    day.expect("the clock is in the supported range")
        .to_string()
        .replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;
    use crate::tidy::{assert_found, of_files};
    use crate::tree::Tree;

    #[test]
    fn a_new_service_complies_with_the_rules() {
        let created = files("billing", "20260301");
        let placed: Vec<_> = created
            .iter()
            .map(|(path, text)| (format!("services/billing/{path}"), text))
            .collect();
        let placed: Vec<_> = placed
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let metadata = Metadata::of(&[("services/billing", &[])]);
        assert_found(&of_files(&metadata, &Tree::of(&placed)), &[]);
        assert!(
            created
                .iter()
                .all(|(path, text)| !path.contains("DATE") && !text.contains("NAME"))
        );
        assert_eq!(created[2].0, "migrations/20260301000001_members.sql");
    }

    #[test]
    fn invalid_names_and_existing_services_are_rejected() {
        for name in ["", "Billing", "bill-ing", "../user", "2nd"] {
            assert!(create(name).is_err(), "{name}");
        }
        assert!(create("user").is_err_and(|error| error.to_string().contains("already exists")));
    }

    #[test]
    fn days_are_formatted_as_dates() {
        assert_eq!([date(0), date(20_513)], ["19700101", "20260301"]);
    }
}
