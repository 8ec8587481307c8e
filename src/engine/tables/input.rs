//! A stream of batches as a table that can be read once: `input` of an exchange.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::{Error, Result};

/// The table that a client streams in while its query runs.
pub struct InputTable {
    schema: SchemaRef,
    batches: Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>,
}

impl InputTable {
    /// A table of `batches`, which have `schema`.
    pub fn table(
        schema: SchemaRef,
        batches: BoxStream<'static, Result<RecordBatch>>,
    ) -> Result<Arc<dyn TableProvider>> {
        let input = Self { schema: Arc::clone(&schema), batches: Mutex::new(Some(batches)) };
        Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(input)])?))
    }
}

impl fmt::Debug for InputTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputTable").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for InputTable {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        let batches = batches.unwrap_or_else(|| {
            let error = Error::invalid(
                "the query reads the table input more than once, but it is a stream; read it once, or \
                 upload it as a dataset first (DoPut)",
            );
            futures::stream::once(async { Err(error) }).boxed()
        });
        let batches = batches.map(|batch| batch.map_err(DataFusionError::from));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
