//! What control groups allow of memory, of both versions, seen from inside and from outside of their namespace.
//!
//! A process is in one group of each hierarchy. `/proc/self/cgroup` names it from the root of the process's namespace, and
//! `/proc/self/mountinfo` tells where hierarchies are mounted, and which part of them: in a container that is often the
//! process's own group alone. Every group around it has a limit too, and the smallest holds.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Limits from this on are none: version 1 says so with the largest number of whole pages.
const NONE_FROM: u64 = 1 << 60;

/// A group of control group version 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups that a process is in, with those around them.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<(Version, PathBuf)>);

/// A mounted hierarchy.
struct Mount {
    version: Version,
    /// The group that is at the mount's place, as the process names groups.
    root: PathBuf,
    place: PathBuf,
}

impl Groups {
    pub(super) fn of_this_process() -> Self {
        Self::find(Path::new("/"))
    }

    /// The groups, as the files below `system` tell, in the place of `/`.
    fn find(system: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(system.join("proc/self").join(name)).unwrap_or_default();
        let (own, mounts) = (read("cgroup"), read("mountinfo"));
        let mut groups = Vec::new();
        for mount in mounts.lines().filter_map(mount) {
            let Some(path) = own.lines().find_map(|line| path_in(line, mount.version)) else { continue };
            let place = system.join(mount.place.strip_prefix("/").unwrap_or(&mount.place));
            // Where the names do not fit together, what is mounted is what is there for the process.
            let below = path.strip_prefix(&mount.root).ok().filter(|below| is_plain(below));
            let group = below.map_or_else(|| place.clone(), |below| place.join(below));
            let around = group.ancestors().take_while(|group| group.starts_with(&place));
            groups
                .extend(around.filter(|group| group.is_dir()).map(|group| (mount.version, group.to_owned())));
        }
        Self(groups)
    }

    /// The most that the process may use, if a group says so.
    pub(super) fn limit(&self) -> Option<u64> {
        self.0.iter().filter_map(|(version, group)| limit(*version, group)).min()
    }

    /// What is left of it: what other processes of the groups use is gone, what the kernel only keeps of files is not.
    pub(super) fn left(&self) -> Option<u64> {
        let left = |(version, group): &(Version, PathBuf)| {
            Some(limit(*version, group)?.saturating_sub(used(*version, group)?))
        };
        self.0.iter().filter_map(left).min()
    }
}

/// The mount that a line of `mountinfo` tells of, if it is of a hierarchy that counts memory.
fn mount(line: &str) -> Option<Mount> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, place) = (mount.next()?, mount.next()?);
    let mut system = system.split(' ');
    let version = match (system.next()?, system.nth(1)?) {
        ("cgroup2", _) => Version::Two,
        ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    Some(Mount { version, root: unescaped(root), place: unescaped(place) })
}

/// The group that a line of `cgroup` names, if it is of that version and counts memory.
fn path_in(line: &str, version: Version) -> Option<PathBuf> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let counts = match version {
        Version::One => controllers.split(',').any(|controller| controller == "memory"),
        Version::Two => controllers.is_empty(),
    };
    counts.then(|| PathBuf::from(path.trim_end_matches(" (deleted)")))
}

/// A path of `mountinfo`, which has blanks as `\040` and the like.
fn unescaped(path: &str) -> PathBuf {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, char)| path.replace(code, char))
        .into()
}

/// Whether a path leads down only.
fn is_plain(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_)))
}

fn limit(version: Version, group: &Path) -> Option<u64> {
    let limits = match version {
        // What groups around it allow that are not to be seen from here is in the statistics.
        Version::One => {
            [number(group, "memory.limit_in_bytes"), statistic(group, "hierarchical_memory_limit")]
        }
        // From the lower one on the kernel slows the group down until it hardly moves.
        Version::Two => [number(group, "memory.max"), number(group, "memory.high")],
    };
    limits.into_iter().flatten().filter(|limit| *limit < NONE_FROM).min()
}

/// What the processes of a group use, without what the kernel keeps of files and gives back.
fn used(version: Version, group: &Path) -> Option<u64> {
    let (used, kept) = match version {
        Version::One => ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]),
        Version::Two => ("memory.current", ["inactive_file", "active_file"]),
    };
    let kept: u64 = kept.iter().filter_map(|name| statistic(group, name)).sum();
    Some(number(group, used)?.saturating_sub(kept))
}

fn number(group: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

fn statistic(group: &Path, name: &str) -> Option<u64> {
    let statistics = fs::read_to_string(group.join("memory.stat")).ok()?;
    statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as a system has them, below a directory that stands for `/`.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, Groups) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let groups = Groups::find(root.path());
        (root, groups)
    }

    const MOUNT_2: &str = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const MIB: u64 = 1 << 20;

    #[test]
    fn the_smallest_limit_of_all_groups_around_holds_in_version_2() {
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "0::/apps.slice/server.service/workers\n"),
            ("proc/self/mountinfo", MOUNT_2),
            ("sys/fs/cgroup/apps.slice/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/apps.slice/memory.high", "max\n"),
            ("sys/fs/cgroup/apps.slice/memory.current", "1073741824\n"),
            (
                "sys/fs/cgroup/apps.slice/memory.stat",
                "anon 1\nfile 2\ninactive_file 536870912\nactive_file 0\n",
            ),
            ("sys/fs/cgroup/apps.slice/server.service/memory.max", "3221225472\n"),
            ("sys/fs/cgroup/apps.slice/server.service/memory.current", "1048576\n"),
            ("sys/fs/cgroup/apps.slice/server.service/workers/memory.max", "max\n"),
            ("sys/fs/cgroup/other.slice/memory.max", "1\n"),
        ]);
        assert_eq!(groups.limit(), Some(2048 * MIB));
        assert_eq!(groups.left(), Some(1536 * MIB));
    }

    #[test]
    fn a_group_that_is_slowed_down_is_at_its_limit() {
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", MOUNT_2),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.high", "1048576\n"),
        ]);
        assert_eq!(groups.limit(), Some(MIB));
    }

    #[test]
    fn inside_of_a_namespace_the_own_group_is_the_root() {
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", MOUNT_2),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
        ]);
        assert_eq!(groups.limit(), Some(MIB));
        // A mount that was made outside shows where it begins from the namespace's root.
        let above = MOUNT_2.replace(" / /sys", " /../.. /sys");
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", &above),
            ("sys/fs/cgroup/memory.max", "2097152\n"),
        ]);
        assert_eq!(groups.limit(), Some(2 * MIB));
    }

    #[test]
    fn a_container_of_version_1_sees_its_group_mounted_under_another_name() {
        let mounts = "40 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      41 31 0:33 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "4:cpu:/docker/abc\n3:memory:/docker/abc/inner\n0::/\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4194304\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "3145728\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 9\ntotal_inactive_file 1048576\ntotal_active_file 0\n",
            ),
            ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/inner/memory.stat", "hierarchical_memory_limit 4194304\n"),
        ]);
        assert_eq!(groups.limit(), Some(4 * MIB));
        assert_eq!(groups.left(), Some(2 * MIB));
    }

    #[test]
    fn without_limits_there_is_none() {
        let (_root, groups) = system(&[
            ("proc/self/cgroup", "3:memory:/\n"),
            ("proc/self/mountinfo", "40 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(groups.limit(), None);
        let (_root, groups) = system(&[]);
        assert_eq!((groups.limit(), groups.left()), (None, None));
    }
}
