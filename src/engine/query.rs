//! One query: planned, then run as a lazy stream.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::gate;
use super::output::{Output, TypeProfile, digest};
use super::session::Engine;
use crate::error::{Error, ErrorKind, Result};

/// A query that was planned on snapshots of its datasets and waits to run.
pub struct Query {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    output: Output,
}

impl Engine {
    /// Plans `sql`, which must be one read-only statement; `extra` are tables besides the datasets.
    pub async fn plan(
        &self,
        sql: &str,
        profile: TypeProfile,
        extra: HashMap<String, Arc<dyn TableProvider>>,
        deadline: Instant,
    ) -> Result<Query> {
        let planning = AssertUnwindSafe(self.plan_inner(sql, profile, extra)).catch_unwind();
        match timeout_at(deadline, planning).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(panic)) => Err(Error::from_panic(panic.as_ref())),
            Err(_) => Err(deadline_exceeded()),
        }
    }

    /// Whether `sql` reads a table called `table` of the default schema.
    pub fn reads_table(&self, sql: &str, table: &str) -> Result<bool> {
        let statement = gate::parse(sql, &self.sql)?;
        let (state, _) = self.session(HashMap::new());
        Ok(state.resolve_table_references(&statement)?.iter().any(|reference| reference.table() == table))
    }

    async fn plan_inner(
        &self,
        sql: &str,
        profile: TypeProfile,
        extra: HashMap<String, Arc<dyn TableProvider>>,
    ) -> Result<Query> {
        let statement = gate::parse(sql, &self.sql)?;
        let (state, datasets) = self.session(extra);
        gate::check_tables(&state.resolve_table_references(&statement)?)?;
        let logical = state.statement_to_plan(statement).await;
        let logical = logical
            .map_err(|error| datasets.explain_missing(&error.to_string()).unwrap_or_else(|| error.into()))?;
        gate::check_plan(&logical, &self.sql)?;
        let plan = state.create_physical_plan(&logical).await?;
        let output = Output::new(logical.schema().as_arrow(), &plan.schema(), profile);
        Ok(Query { plan, context: state.task_ctx(), output })
    }

    /// Waits for the query's turn, then starts it. `deadline` holds for the waiting and for every
    /// batch up to the last.
    pub async fn run(&self, query: Query, deadline: Instant) -> Result<QueryStream> {
        let permit =
            timeout_at(deadline, self.admission.enter()).await.map_err(|_| deadline_exceeded())??;
        let Query { plan, context, output } = query;
        let batches = execute_stream(plan, context)?;
        Ok(QueryStream {
            batches: Some(batches),
            output,
            deadline: Box::pin(sleep_until(deadline)),
            _permit: permit,
        })
    }
}

impl Query {
    /// The schema that the result has on every surface.
    pub fn schema(&self) -> &SchemaRef {
        self.output.schema()
    }

    /// A digest of the result's schema.
    pub fn schema_digest(&self) -> Vec<u8> {
        digest(self.output.schema())
    }

    /// The number of rows, where the plan knows it exactly before it runs.
    pub fn exact_rows(&self) -> Option<u64> {
        match StatisticsContext::new().compute(self.plan.as_ref(), &StatisticsArgs::new()).ok()?.num_rows {
            Precision::Exact(rows) => Some(rows as u64),
            _ => None,
        }
    }
}

/// The rows of a running query. Dropping it stops the query and lets the next one in.
pub struct QueryStream {
    /// `None` after the end or an error.
    batches: Option<SendableRecordBatchStream>,
    output: Output,
    deadline: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl QueryStream {
    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        self.output.schema()
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let Some(batches) = &mut self.batches else { return Poll::Ready(None) };
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(deadline_exceeded())));
        }
        // A panic in an operator must neither take down the connection nor look like the end.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| batches.poll_next_unpin(cx)));
        match polled {
            Ok(Poll::Ready(Some(Ok(batch)))) => Poll::Ready(Some(self.output.convert(&batch))),
            Ok(Poll::Ready(Some(Err(error)))) => Poll::Ready(Some(Err(error.into()))),
            Ok(Poll::Ready(None)) => Poll::Ready(None),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Some(Err(Error::from_panic(panic.as_ref())))),
        }
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll_batch(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.batches = None;
        }
        polled
    }
}

fn deadline_exceeded() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "the query's time was up: the client's deadline, or the setting query-timeout",
    )
}
