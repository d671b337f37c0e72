//! Metadata of the workspace, from `cargo metadata`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Dev,
    Build,
}

/// A package in a test: its folder and its dependencies.
#[cfg(test)]
pub(crate) type TestPackage<'a> = (&'a str, &'a [(&'a str, Option<Kind>)]);

impl Metadata {
    /// Reads the manifests. Works offline.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(crate::tree::root()?)
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("cannot parse the output of cargo metadata")
    }

    /// Returns the path of a package's folder from the root.
    pub(crate) fn folder(&self, package: &Package) -> String {
        let folder = package.manifest_path.parent().expect("a manifest is in a folder");
        let folder = folder.strip_prefix(&self.workspace_root).unwrap_or(folder);
        folder.to_string_lossy().into_owned()
    }

    /// Returns the packages under `services/`.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.folder(package).starts_with("services/"))
    }

    #[cfg(test)]
    pub(crate) fn of(packages: &[TestPackage<'_>]) -> Self {
        let package = |(folder, dependencies): &TestPackage<'_>| Package {
            name: folder.rsplit('/').next().unwrap_or_default().to_owned(),
            manifest_path: PathBuf::from(format!("/r/{folder}/Cargo.toml")),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: *kind,
                })
                .collect(),
        };
        Self {
            packages: packages.iter().map(package).collect(),
            target_directory: PathBuf::from("/r/target"),
            workspace_root: PathBuf::from("/r"),
        }
    }
}
