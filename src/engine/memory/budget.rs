//! How much memory the process may use.

use sysinfo::System;

use super::groups::Groups;

/// What is assumed where nothing can be found out.
const UNKNOWN: u64 = 4 << 30;

/// The least that is left for what nobody counts.
const LEAST_HEADROOM: u64 = 128 << 20;

/// How much memory the process may use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// All that the process may hold: what is counted, and the headroom.
    pub bound: u64,
    /// The part of it for what nobody counts: batches on their way, the code, fragments. From its middle on statements are
    /// stopped, so that what they do until they notice stays below the bound.
    pub headroom: u64,
}

impl MemoryBudget {
    /// The budget of a process whose queries and caches may take `counted` bytes, where it may use `usable`.
    #[must_use]
    pub fn new(counted: u64, headroom: u64, usable: u64) -> Self {
        let headroom = headroom.max(LEAST_HEADROOM);
        // A little is the kernel's, for pages of tables and sockets.
        Self { bound: counted.saturating_add(headroom).min(usable - usable / 16), headroom }
    }

    /// The use from which on there has to be less.
    pub(super) fn high(&self) -> u64 {
        self.bound.saturating_sub(self.headroom / 2)
    }

    /// What is to stay free in the process's control groups and on the machine.
    pub(super) fn reserve(&self) -> u64 {
        (self.headroom / 4).min(self.bound / 16)
    }
}

/// The memory that this process may use: the machine's, or that of the control groups that it is in, if that is less.
pub fn usable_memory() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    let machine = match system.total_memory() {
        0 => {
            tracing::warn!("cannot tell how much memory there is; assuming 4 GiB (memory-limit sets it)");
            UNKNOWN
        }
        bytes => bytes,
    };
    Groups::of_this_process().limit().map_or(machine, |limit| limit.min(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_is_counted_and_the_headroom_but_never_all_there_is() {
        let budget = MemoryBudget::new(256 << 20, 512 << 20, 16 << 30);
        assert_eq!((budget.bound, budget.high()), (768 << 20, 512 << 20));
        assert_eq!(MemoryBudget::new(12 << 30, 512 << 20, 8 << 30).bound, (8 << 30) / 16 * 15);
        assert!(MemoryBudget::new(1 << 20, 0, 8 << 30).headroom >= LEAST_HEADROOM);
    }
}
