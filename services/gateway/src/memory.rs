//! The memory limit of this process.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the memory limit of this process's control group in bytes, or `None` if it has none.
///
/// A group's limit is its own or that of a group above it, whichever is lower (Linux, `cgroups(7)`: `memory.max` in version
/// 2, `memory.limit_in_bytes` in version 1, where a number larger than the memory of any machine means that no limit is
/// set).
pub(crate) fn limit() -> Option<u64> {
    limit_below(Path::new("/"))
}

fn limit_below(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|group| limit_of(root, group)).min()
}

/// `group` is a line of `/proc/self/cgroup`: hierarchy, controllers, path.
fn limit_of(root: &Path, group: &str) -> Option<u64> {
    let mut parts = group.splitn(3, ':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (mount, file) = match (hierarchy, controllers) {
        ("0", "") => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // In a container, the path may be the host's, and only the group at the mount is visible.
    let path = PathBuf::from(path.trim_start_matches('/'));
    let limits = path.ancestors().filter_map(|group| {
        let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
        text.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files, removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn with(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(uuid::Uuid::now_v7().simple().to_string());
            for (file, text) in files {
                let file = root.join(file);
                fs::create_dir_all(file.parent().expect("below the root")).expect("a folder");
                fs::write(file, text).expect("a file");
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        limit_below(&Root::with(files).0)
    }

    #[test]
    fn the_limit_is_the_lowest_of_the_group_and_those_above() {
        let group = ("proc/self/cgroup", "0::/pod/container\n");
        let container = |limit| ("sys/fs/cgroup/pod/container/memory.max", limit);
        let pod = |limit| ("sys/fs/cgroup/pod/memory.max", limit);
        assert_eq!(limit_with(&[group, container("268435456\n")]), Some(268_435_456));
        assert_eq!(limit_with(&[group, container("max\n"), pod("1000\n")]), Some(1000));
        assert_eq!(limit_with(&[group, container("2000\n"), pod("1000\n")]), Some(1000));
        assert_eq!(limit_with(&[group, container("max\n"), pod("max\n")]), None);
    }

    #[test]
    fn the_limit_of_a_container_is_at_its_mount() {
        let own = ("sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(limit_with(&[("proc/self/cgroup", "0::/\n"), own]), Some(268_435_456));
        let of_the_host = ("proc/self/cgroup", "0::/../../docker/abc\n");
        assert_eq!(limit_with(&[of_the_host, own]), Some(268_435_456));
    }

    #[test]
    fn version_1_has_its_limit_with_the_memory_controller() {
        let groups = (
            "proc/self/cgroup",
            "9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/\n",
        );
        let own = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
        let deeper = (
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(limit_with(&[groups, own]), Some(1000));
        assert_eq!(limit_with(&[groups, own, deeper]), Some(1000));
    }

    #[test]
    fn without_a_control_group_there_is_no_limit() {
        assert_eq!(limit_with(&[("proc/version", "")]), None);
    }
}
