//! The memory of the process: how much it may use, how much it does, and who has to give some back.

mod budget;
mod groups;
mod portion;
mod share;
mod usage;
mod watchdog;

pub use budget::{MemoryBudget, usable_memory};
pub(super) use portion::Bounds;
pub(super) use share::shared_by;
pub use watchdog::Relief;
pub(super) use watchdog::Watchdog;
