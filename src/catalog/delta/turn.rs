//! Whose turn it is to change the rows of a table.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::catalog::DatasetRef;
use crate::storage::DeltaLog;

/// The turn to change the rows of a Delta table that are there. Changes follow each other, so none fails for
/// another; appends need no turn. It ends when this is dropped.
#[derive(Debug)]
pub struct ChangeTurn {
    pub(super) dataset: DatasetRef,
    pub(super) log: Arc<DeltaLog>,
    _guard: OwnedMutexGuard<()>,
}

impl ChangeTurn {
    /// Waits for the turn to change `dataset`, whose log this is.
    pub async fn wait(dataset: DatasetRef, log: Arc<DeltaLog>) -> Self {
        let guard = log.changing().await;
        Self { dataset, log, _guard: guard }
    }

    /// The same if nobody else has it.
    pub(super) fn take_if_free(dataset: &DatasetRef, log: &Arc<DeltaLog>) -> Option<Self> {
        let guard = log.try_changing()?;
        Some(Self { dataset: dataset.clone(), log: Arc::clone(log), _guard: guard })
    }
}
