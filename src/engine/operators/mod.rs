//! Operators of ours, and rules that rewrite those of a plan.

mod interrupt;
mod pass_through;
mod rerun;
mod sort_key;

pub(in crate::engine) use interrupt::interruptible;
pub(in crate::engine) use pass_through::{PassThrough, Passing};
pub(in crate::engine) use rerun::rerunnable;
pub(in crate::engine) use sort_key::{OneSortKey, rows_of_runs};
