//! Results that are larger than what they are made of: kept to sizes that memory has room for.
//!
//! Batches are counted in rows, and a row can be of any size. So [the rows of a query's batches](rows_at_once) follow from how
//! wide its rows are, as far as footers tell; [functions](bound_functions) look at what they make before it is all there; and
//! [operators](by_size) whose expressions make more than they are given work on as few rows at once as that takes. Those that
//! keep batches get them without what is not theirs.

mod cost;
mod dense;
mod expressions;
mod function;
mod plan;
mod projection;
mod slices;
mod widths;

pub use dense::dense;
pub(super) use function::bound_functions;
pub(super) use plan::by_size;
pub(super) use widths::rows_at_once;

/// The sizes that results are kept to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// What a batch aims at.
    pub batch: usize,
    /// The most that a function may make of one batch.
    pub call: usize,
    /// The most that a function may make of one row.
    pub value: usize,
}

impl Sizes {
    /// The sizes for queries that may take `memory` together, and values of up to `value`.
    #[must_use]
    pub fn new(memory: usize, value: usize) -> Self {
        // Merging sorted runs takes two batches of each, and there can be as many sorts as queries and threads.
        let batch = (memory / 256).clamp(1 << 19, 8 << 20);
        Self {
            batch,
            call: (memory / 16).clamp(1 << 22, 32 << 20),
            value: value.min((memory / 4).max(1 << 20)),
        }
    }
}
