//! The files that git has, or would take.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The root of the repository in which this runs. Not the one in which it was compiled: checkouts may share a target
/// folder.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let path = git(Path::new("."), &["rev-parse", "--show-toplevel"])?;
    Ok(PathBuf::from(path.trim_end()))
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("git can't be run")?;
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
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Tracked files, and new ones that are not ignored: a file is checked before it is committed. What is no text is
    /// left out.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let root = root()?;
        let listing = git(&root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"])?;
        let mut paths: Vec<_> = listing.split_terminator('\0').map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        // Deleted files are listed until that is committed.
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

    /// Whether there is such a file or folder.
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
    /// Lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().zip(1..).map(|(line, number)| (number, line))
    }
}
