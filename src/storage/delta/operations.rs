//! What the library does with a whole table.

use std::num::NonZeroU64;

use deltalake_core::operations::optimize::OptimizeType;
use deltalake_core::table::state::DeltaTableState;

use super::log::{DeltaLog, DeltaVersion};
use crate::error::{Error, Result};

/// The size of files that an ordering by Z-order aims at.
const TARGET_BYTES: NonZeroU64 = NonZeroU64::new(256 << 20).expect("it is not zero");

impl DeltaLog {
    /// Rewrites all files so that rows whose values in `columns` are near lie near each other.
    pub fn z_order(&self, columns: &[String]) -> Result<()> {
        let known = self.latest()?;
        for column in columns {
            if known.stored().index_of(column).is_err() {
                return Err(Error::invalid(format!("there is no column {column:?} to order by")));
            }
            if known.partition_columns().contains(column) {
                return Err(Error::invalid(format!("the table is partitioned by {column:?} already")));
            }
        }
        let table = self.table()?;
        let optimize =
            table.optimize().with_type(OptimizeType::ZOrder(columns.to_vec())).with_target_size(TARGET_BYTES);
        let (table, _) = self.load(optimize.into_future(), Ok)?;
        self.committed_table(table)
    }

    /// Makes the rows and columns of an earlier version the newest ones.
    pub fn restore(&self, to: &DeltaVersion) -> Result<DeltaVersion> {
        let restore = self.table()?.restore().with_version_to_restore(to.number());
        let (table, _) = self.load(restore.into_future(), Ok)?;
        self.committed_table(table)?;
        self.latest()
    }

    pub(super) fn committed_table(&self, table: deltalake_core::DeltaTable) -> Result<()> {
        match table.state {
            Some(state) => self.committed(DeltaTableState::clone(&state)).map(|_| ()),
            None => Ok(()),
        }
    }
}
