//! What a statement that is to need little memory may have, divided among its operators beforehand.
//!
//! DataFusion's pools divide memory among those who have asked by then. So the sort that comes first takes all, and the next one
//! finds no room for its first batch: nobody can ask the first one to spill. With shares that are known from the start, each of
//! so many sorts has room for its batches and for merging them.

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, resources_err};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

/// What DataFusion calls those who merge sorted runs: they take as many of them as there is room for.
const MERGING: &str = "ExternalSorterMerge";
/// Of the memory of all queries merges leave this part to others, who have no choice.
const LEFT_BY_MERGES: usize = 8;
/// Unless they have no more than this part, for without two runs there is no merge.
const LEAST_OF_MERGES: usize = 64;

/// Fails where a merge asks for what other statements need more. A merge that is told so makes do with fewer runs at once; an operator
/// that has given rows and finds no room for its next batch fails with its query.
pub(super) fn leave_room(
    pool: &dyn MemoryPool,
    reservation: &MemoryReservation,
    additional: usize,
) -> Result<(), DataFusionError> {
    let MemoryLimit::Finite(limit) = pool.memory_limit() else { return Ok(()) };
    let consumer = reservation.consumer();
    let is_small = reservation.size().saturating_add(additional) <= limit / LEAST_OF_MERGES;
    let leaves_room = pool.reserved().saturating_add(additional) <= limit - limit / LEFT_BY_MERGES;
    if leaves_room || is_small || !consumer.name().starts_with(MERGING) {
        return Ok(());
    }
    resources_err!(
        "{} has {} bytes and asks for {additional} more, which are left to others",
        consumer.name(),
        reservation.size()
    )
}

/// How much a statement may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Bounds {
    /// Of all operators together.
    pub(in crate::engine) all: usize,
    /// Sorts that can run at the same time.
    pub(in crate::engine) sorts: usize,
}

/// What the operators of a statement have of it.
#[derive(Debug)]
pub(super) struct Portion {
    all: usize,
    /// The most that one operator has that can spill: together they leave room for merging.
    spilling: usize,
    /// The most that one merge has.
    merging: usize,
    used: AtomicUsize,
}

impl Portion {
    pub(super) fn new(Bounds { all, sorts }: Bounds) -> Self {
        let sorts = sorts.max(1);
        Self { all, spilling: all / 2 / sorts, merging: all / sorts, used: AtomicUsize::new(0) }
    }

    /// Takes `additional` bytes for the owner of `reservation`, or says why not.
    pub(super) fn try_take(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> Result<(), DataFusionError> {
        let consumer = reservation.consumer();
        let most = match (consumer.can_spill(), consumer.name().starts_with(MERGING)) {
            (true, _) => self.spilling,
            (false, true) => self.merging,
            (false, false) => self.all,
        };
        let before = self.used.fetch_add(additional, Ordering::Relaxed);
        if before.saturating_add(additional) <= self.all
            && reservation.size().saturating_add(additional) <= most
        {
            return Ok(());
        }
        self.give_back(additional);
        let (name, size, all) = (consumer.name(), reservation.size(), self.all);
        resources_err!(
            "{name} has {size} bytes of at most {most} and asks for {additional} more; the statement has {before} of {all}"
        )
    }

    /// Takes what is there already.
    pub(super) fn take(&self, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
