//! What runs: how much at once, on which threads, and how it is seen and stopped.

mod admission;
mod control;
mod executors;
mod running;

pub(in crate::engine) use admission::Admission;
pub use admission::{AdmissionOptions, Permit};
pub use control::Control;
pub(in crate::engine) use executors::{Lane, STACK_BYTES, Workers};
pub use running::{Activity, cancelled};
pub(in crate::engine) use running::{Entry, Running, State};
