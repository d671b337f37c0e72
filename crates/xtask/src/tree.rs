//! The files of the repository: tracked ones, and new ones that are not ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Returns the root of the repository in which this runs.
///
/// It may differ from that in which this was compiled, because worktrees may share a target folder.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let path = git(Path::new("."), &["rev-parse", "--show-toplevel"])?;
    Ok(PathBuf::from(path.trim_end()))
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("a file's name is not UTF-8")
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: Vec<File>,
}

#[derive(Debug)]
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Reads the tracked files, and new ones that are not ignored, so files are checked before they are committed.
    /// Skips files that are not UTF-8.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let root = root()?;
        let listing = git(&root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"])?;
        let mut paths: Vec<_> = listing.split_terminator('\0').map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        // git lists deleted files until the deletion is staged.
        let files = paths.into_iter().filter_map(|path| {
            let text = std::fs::read_to_string(root.join(&path)).ok()?;
            Some(File { path, text })
        });
        Ok(Self { files: files.collect() })
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files().filter(|file| file.path.ends_with(".rs"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files().find(|file| file.path == path)
    }

    /// Returns `true` if the file or folder exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self
                .files()
                .any(|file| file.path == path || file.path.starts_with(&folder))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self {
            files: files.iter().map(file).collect(),
        }
    }
}

impl File {
    /// Returns the lines with their numbers, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().zip(1..).map(|(line, number)| (number, line))
    }
}
