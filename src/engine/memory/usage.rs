//! How much memory the process uses, and how much there is left.

use std::fs;

use super::groups::Groups;

/// Where the kernel tells.
const STATUS: &str = "/proc/self/status";
const MACHINE: &str = "/proc/meminfo";

/// The bytes of memory that are the process's own: pages of files, which the kernel can read again, do not count.
/// `None` where the system does not tell.
pub(super) fn resident() -> Option<u64> {
    kilobytes(STATUS, "RssAnon:")
}

/// The bytes that are left for the process, on the machine and in its control groups.
pub(super) fn left(groups: &Groups) -> Option<u64> {
    groups.left().into_iter().chain(kilobytes(MACHINE, "MemAvailable:")).min()
}

fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_seen() {
        let before = resident().unwrap();
        let taken = vec![1_u8; 64 << 20];
        let after = resident().unwrap();
        assert!(after >= before + (48 << 20), "{before} {after}");
        drop(taken);
        assert!(left(&Groups::of_this_process()).unwrap() > 0);
    }
}
