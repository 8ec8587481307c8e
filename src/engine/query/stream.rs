//! A query that runs: its rows as a lazy stream.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Query;
use super::frugal::{Replanned, Replanning, Retry};
use super::gather::{Gather, Gathering};
use super::output::Output;
use crate::engine::Engine;
use crate::engine::run::{Activity, Lane, Permit, State};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;

impl Engine {
    /// Starts a query, whose end is the end of the activity. `deadline` holds for every batch up to the
    /// last. Batches are gathered where they come fast enough.
    pub async fn run(
        &self,
        query: Query,
        activity: Arc<Activity>,
        permit: Permit,
        deadline: Instant,
        gathering: Gathering,
    ) -> Result<QueryStream> {
        let stream = self.start(query, activity, permit, deadline, gathering).await?;
        Ok(QueryStream { is_all: true, ..stream })
    }

    /// Starts a query that is a part of an activity.
    pub(in crate::engine) async fn start(
        &self,
        query: Query,
        activity: Arc<Activity>,
        permit: Permit,
        deadline: Instant,
        gathering: Gathering,
    ) -> Result<QueryStream> {
        let Query { plans, context, output, again, .. } = query;
        activity.enter(State::Running);
        let mut plans = VecDeque::from(plans);
        let first = plans.pop_front();
        let task = Arc::clone(&context);
        // Operators start tasks as soon as they are executed: on the workers, not here.
        let execute = async move { Ok(first.map(|plan| execute_stream(plan, task)).transpose()?) };
        let lane = self.workers.lane();
        let begun = timeout_at(deadline, activity.unless_stopped(lane.run(execute))).await;
        let batches = begun.map_err(|_| deadline_exceeded())??;
        let batches = batches.map(|batches| Gather::new(batches, gathering));
        let stopped = Box::pin(activity.token().clone().cancelled_owned());
        let again = again.map(|again| Retry::new(self, again, deadline));
        let deadline = Box::pin(sleep_until(deadline));
        let is_all = false;
        Ok(QueryStream {
            batches,
            plans,
            context,
            output,
            gathering,
            deadline,
            stopped,
            activity,
            is_all,
            lane,
            again,
            replanning: None,
            turn: None,
            _permit: permit,
        })
    }
}

/// The rows of a running query. Dropping it stops the query and lets the next one in.
pub struct QueryStream {
    /// `None` after the end or an error.
    batches: Option<Gather>,
    /// What runs after them.
    plans: VecDeque<Arc<dyn ExecutionPlan>>,
    context: Arc<TaskContext>,
    output: Output,
    gathering: Gathering,
    deadline: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    activity: Arc<Activity>,
    /// Whether the end of the rows is the end of the activity.
    is_all: bool,
    lane: Lane,
    /// Until the first rows are given.
    again: Option<Retry>,
    replanning: Option<Replanning>,
    /// Of one that was planned again.
    turn: Option<OwnedSemaphorePermit>,
    _permit: Permit,
}

impl QueryStream {
    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        self.output.schema()
    }

    /// The runtime that the query runs on: it is to be polled there.
    pub fn runtime(&self) -> &Handle {
        self.lane.runtime()
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if self.batches.is_none() && self.replanning.is_none() {
                return Poll::Ready(None);
            }
            if self.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(deadline_exceeded())));
            }
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(self.activity.control().error())));
            }
            if let Some(replanning) = &mut self.replanning {
                let done = ready!(replanning.as_mut().poll(cx));
                self.replanning = None;
                let (replanned, retry) = done?;
                self.start_again(replanned, retry)?;
            }
            let Some(batches) = &mut self.batches else { return Poll::Ready(None) };
            // A panic in an operator must neither take down the connection nor look like the end.
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| match Failpoint::Batch.pass() {
                Ok(()) => batches.poll(cx),
                Err(error) => Poll::Ready(Some(Err(error.into()))),
            }));
            match polled {
                Ok(Poll::Ready(Some(Ok(batch)))) => {
                    self.again = None;
                    return Poll::Ready(Some(self.output.convert(&batch)));
                }
                Ok(Poll::Ready(Some(Err(error)))) => {
                    let Some(retry) = self.again.take().filter(|_| wants_memory(&error)) else {
                        return Poll::Ready(Some(Err(error.into())));
                    };
                    tracing::debug!(%error, "planned again for less memory");
                    // What it holds is for the next one.
                    self.batches = None;
                    drop(self.turn.take());
                    self.plans.clear();
                    self.replanning = Some(retry.replan());
                }
                Ok(Poll::Ready(None)) => self.start_next()?,
                Ok(Poll::Pending) => return Poll::Pending,
                Err(panic) => return Poll::Ready(Some(Err(Error::from_panic(panic.as_ref())))),
            }
        }
    }

    /// Starts the next plan, if there is one.
    fn start_next(&mut self) -> Result<()> {
        let next = self.plans.pop_front().map(|plan| execute_stream(plan, Arc::clone(&self.context)));
        self.batches = next.transpose()?.map(|batches| Gather::new(batches, self.gathering));
        Ok(())
    }

    fn start_again(&mut self, replanned: Replanned, retry: Option<Retry>) -> Result<()> {
        // What the rows are is known to who reads them, and stays.
        let Replanned { query: Query { plans, context, .. }, turn } = replanned;
        (self.plans, self.context) = (plans.into(), context);
        (self.again, self.turn) = (retry, turn);
        self.start_next()
    }
}

/// Whether an operator has failed for want of the memory that queries share.
fn wants_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll_batch(cx);
        match &polled {
            Poll::Ready(Some(Ok(batch))) => {
                self.activity.count(batch.num_rows(), batch.get_array_memory_size());
            }
            Poll::Ready(end) => {
                if self.is_all {
                    self.activity.end(end.as_ref().and_then(|failed| failed.as_ref().err()));
                }
                self.batches = None;
            }
            Poll::Pending => {}
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
