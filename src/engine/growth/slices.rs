//! Batches cut to fewer rows, for operators that make much of each.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};

use super::function::TooLarge;
use crate::engine::operators::Passing;
use crate::engine::run::Control;

type DfResult<T> = Result<T, DataFusionError>;

/// Gives the batches of its input in slices of a number of rows. Between two of them the query can be stopped.
#[derive(Debug, Clone)]
pub(super) struct Slices {
    rows: usize,
    /// What the operator computes of a slice: where that is too much, the slice has fewer rows.
    tried: Vec<Arc<dyn PhysicalExpr>>,
    control: Control,
}

impl Slices {
    /// Slices of `rows` rows.
    pub(super) fn of(rows: usize, control: Control) -> Self {
        Self { rows: rows.max(1), tried: Vec::new(), control }
    }

    /// The same of fewer rows where these come to too much for one of `tried`.
    pub(super) fn trying(self, tried: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { tried, ..self }
    }
}

impl Passing for Slices {
    const NAME: &'static str = "Slices";

    fn unread(&self) -> Self {
        self.clone()
    }

    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let input = input.execute(partition, context)?;
        let (rows, tried, control) = (self.rows, self.tried.clone(), self.control.clone());
        Ok(Box::pin(Sliced { input, most: rows, rows, tried, rest: None, control }))
    }

    fn fmt_as(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slices: rows={}", self.rows)
    }
}

struct Sliced {
    input: SendableRecordBatchStream,
    /// Rows of a slice, at most and by now.
    most: usize,
    rows: usize,
    tried: Vec<Arc<dyn PhysicalExpr>>,
    rest: Option<RecordBatch>,
    control: Control,
}

impl Sliced {
    /// The first rows of a batch that do not come to too much.
    fn first(&mut self, batch: &RecordBatch) -> RecordBatch {
        loop {
            let slice = batch.slice(0, self.rows.min(batch.num_rows()));
            // Any other error is the operator's to tell.
            let is_too_large = |tried: &Arc<dyn PhysicalExpr>| {
                tried.evaluate(&slice).is_err_and(|error| TooLarge::is(&error))
            };
            if slice.num_rows() < 2 || !self.tried.iter().any(is_too_large) {
                self.rows = (2 * self.rows).min(self.most);
                return slice;
            }
            self.rows = (slice.num_rows() / 4).max(1);
        }
    }
}

impl Stream for Sliced {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.control.check()?;
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        let slice = self.first(&batch);
        let rows = slice.num_rows();
        self.rest = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
        Poll::Ready(Some(Ok(slice)))
    }
}

impl RecordBatchStream for Sliced {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_plan::collect;

    use super::*;
    use crate::engine::operators::PassThrough;
    use crate::error::Error;

    fn slices(rows: usize, control: &Control) -> Arc<dyn ExecutionPlan> {
        let column = Int64Array::from_iter_values(0..10);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
        let schema = batch.schema();
        let input = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None).unwrap();
        PassThrough::over(input, Slices::of(rows, control.clone()))
    }

    #[tokio::test]
    async fn all_rows_come_in_order_until_the_query_is_stopped() {
        let (control, context) = (Control::default(), Arc::new(TaskContext::default()));
        let batches = collect(slices(4, &control), Arc::clone(&context)).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 4, 2]);
        let values = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
        assert!(values.copied().eq(0..10));
        control.stop(Error::exhausted("enough"));
        assert!(collect(slices(4, &control), context).await.is_err());
    }
}
