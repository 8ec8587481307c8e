//! Where the rows of a statement go.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::modify::ChangeSink;
use crate::catalog::{Catalog, DatasetRef, PutMode, Snapshot, TemporaryUpload, Upload};
use crate::engine::session::{Environment, TemporaryTables};
use crate::error::Result;
use crate::storage::BatchSink;

/// Rows on their way into a table: a dataset, or a temporary table of a session.
pub enum TableSink {
    /// A dataset that is published at the end.
    Dataset(Upload),
    /// A table that only its session sees.
    Temporary {
        /// The rows so far.
        upload: Box<TemporaryUpload>,
        /// Where the table goes.
        tables: Arc<TemporaryTables>,
        /// Its name.
        name: String,
        /// Whether it takes the place of one of that name.
        replace: bool,
        /// What was there before, if rows are added to it.
        before: Option<Arc<Snapshot>>,
    },
    /// Rows of a table that change.
    Change(Box<ChangeSink>),
}

impl TableSink {
    /// Begins a temporary table, or adds to one.
    pub fn temporary(
        catalog: Arc<Catalog>,
        environment: &Environment,
        name: &DatasetRef,
        schema: SchemaRef,
        mode: PutMode,
    ) -> Result<Self> {
        let tables = Arc::clone(&environment.temporary);
        tables.check()?;
        let there = tables.get(name.name.as_str()).filter(|_| mode == PutMode::Append);
        let before = there.clone();
        let upload = match there {
            Some(table) => TemporaryUpload::append(catalog, name.clone(), table, &schema)?,
            None => TemporaryUpload::begin(catalog, name.clone(), schema)?,
        };
        let replace = mode != PutMode::Create;
        Ok(Self::Temporary {
            upload: Box::new(upload),
            tables,
            name: name.name.as_str().to_owned(),
            replace,
            before,
        })
    }

    /// Makes the table visible, and says how many rows it has. Blocks.
    pub fn finish(self) -> Result<u64> {
        self.finish_after(&|| Ok(()))
    }

    /// The same, if `look` allows it right before it becomes visible.
    pub fn finish_after(self, look: &dyn Fn() -> Result<()>) -> Result<u64> {
        match self {
            Self::Dataset(upload) => Ok(upload.commit_after(look)?.rows),
            Self::Temporary { upload, tables, name, replace, before } => {
                look()?;
                let (snapshot, rows) = upload.finish()?;
                tables.add(&name, snapshot, replace, before.as_ref())?;
                Ok(rows - before.map_or(0, |before| before.dataset.rows()))
            }
            Self::Change(sink) => {
                look()?;
                sink.finish()
            }
        }
    }
}

/// A sink whose rows become visible at the end.
pub(super) trait Publish: BatchSink {
    /// What is told of it.
    type Published: Send + 'static;

    /// Makes the rows visible. Blocks.
    fn publish(self) -> Result<Self::Published>;
}

impl Publish for TableSink {
    type Published = u64;

    fn publish(self) -> Result<u64> {
        self.finish()
    }
}

impl BatchSink for TableSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Dataset(upload) => upload.write(batch),
            Self::Temporary { upload, .. } => upload.write(batch),
            Self::Change(sink) => sink.write(batch),
        }
    }
}
