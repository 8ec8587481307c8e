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
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::admission::Permit;
use super::gate;
use super::interrupt::interruptible;
use super::limits::SqlLimits;
use super::output::{Output, TypeProfile, digest};
use super::session::Engine;
use crate::catalog::QueryCatalog;
use crate::error::{Error, ErrorKind, Result};

/// A query that was planned on snapshots of its datasets and waits to run.
pub struct Query {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    output: Output,
    cancel: CancellationToken,
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
        let planner = Planner { limits: self.sql, session: self.session(extra) };
        let sql = sql.to_owned();
        let planning = async {
            let _turn = self.planning.acquire().await;
            self.workers.run(async move { planner.plan(&sql, profile).await }).await
        };
        timeout_at(deadline, planning).await.map_err(|_| deadline_exceeded())?
    }

    /// Whether `sql` reads a table called `table` of the default schema.
    pub async fn reads_table(&self, sql: &str, table: &'static str) -> Result<bool> {
        let planner = Planner { limits: self.sql, session: self.session(HashMap::new()) };
        let sql = sql.to_owned();
        self.workers.run(async move { planner.reads_table(&sql, table) }).await
    }

    /// Waits for the turn of a query. To be done before it is planned: planning opens its files.
    pub async fn admit(&self, deadline: Instant) -> Result<Permit> {
        timeout_at(deadline, self.admission.enter()).await.map_err(|_| deadline_exceeded())?
    }

    /// Starts a query. `deadline` holds for every batch up to the last.
    pub async fn run(&self, query: Query, permit: Permit, deadline: Instant) -> Result<QueryStream> {
        let Query { plan, context, output, .. } = query;
        // Operators start tasks as soon as they are executed: on the workers, not here.
        let batches = self.workers.run(async move { Ok(execute_stream(plan, context)?) }).await?;
        Ok(QueryStream {
            batches: Some(batches),
            output,
            deadline: Box::pin(sleep_until(deadline)),
            _permit: permit,
        })
    }
}

/// What planning needs of the engine, to be taken to a worker.
struct Planner {
    limits: SqlLimits,
    session: (SessionState, QueryCatalog),
}

impl Planner {
    async fn plan(self, sql: &str, profile: TypeProfile) -> Result<Query> {
        let statement = gate::parse(sql, &self.limits)?;
        let (state, datasets) = self.session;
        gate::check_tables(&state.resolve_table_references(&statement)?)?;
        let logical = state.statement_to_plan(statement).await;
        let logical = logical
            .map_err(|error| datasets.explain_missing(&error.to_string()).unwrap_or_else(|| error.into()))?;
        gate::check_plan(&logical, &self.limits)?;
        let cancel = CancellationToken::new();
        let plan = interruptible(state.create_physical_plan(&logical).await?, &cancel)?;
        let output = Output::new(logical.schema().as_arrow(), &plan.schema(), profile);
        Ok(Query { plan, context: state.task_ctx(), output, cancel })
    }

    fn reads_table(self, sql: &str, table: &str) -> Result<bool> {
        let statement = gate::parse(sql, &self.limits)?;
        let references = self.session.0.resolve_table_references(&statement)?;
        Ok(references.iter().any(|reference| reference.table() == table))
    }
}

impl Query {
    /// Cancels the query when it is dropped, also where the stream's own drop has to wait for a poll
    /// to return.
    pub fn cancel_guard(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

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
    _permit: Permit,
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

/// The error of a query whose time is up, wherever that is noticed first.
pub fn deadline_exceeded() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "the query's time was up: the client's deadline, or the setting query-timeout",
    )
}
