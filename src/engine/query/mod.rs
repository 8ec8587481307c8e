//! A query: planned on snapshots, its plan kept for the next time, then run as a lazy stream.

mod frugal;
mod gather;
mod origins;
mod output;
mod plan_cache;
mod planner;
mod planning;
mod stored_columns;
mod stream;
#[cfg(feature = "substrait")]
mod substrait;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use self::frugal::Again;
use self::output::digest;
use self::stored_columns::StoredColumns;
use crate::catalog::RawScan;
use crate::engine::Engine;
use crate::engine::run::{Activity, Control, Permit, State};
use crate::engine::session::Environment;
use crate::engine::statement::{Bound, Source, StatementKind};
use crate::error::{ErrorKind, Result};

pub use gather::Gathering;
pub use origins::Origin;
pub(in crate::engine) use output::Output;
pub use output::TypeProfile;
pub(in crate::engine) use plan_cache::PlanCache;
pub(in crate::engine) use planner::Planner;
pub(in crate::engine) use planning::{Planning, check};
pub use stream::{QueryStream, deadline_exceeded};

/// How often a statement is planned whose files change meanwhile.
const ATTEMPTS: usize = 5;

/// A query that was planned on snapshots of its datasets and waits to run.
pub struct Query {
    /// One for each row of bound parameters: their results follow each other.
    plans: Vec<Arc<dyn ExecutionPlan>>,
    context: Arc<TaskContext>,
    output: Output,
    origins: Arc<[Option<Origin>]>,
    /// What it comes to, where that is no computation.
    stored: Option<StoredColumns>,
    control: Control,
    /// For want of memory.
    pub(in crate::engine) again: Option<Box<Again>>,
}

/// What a prepared statement asks for and gives.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Query, change or setting.
    pub kind: StatementKind,
    /// The parameters: named `$1`, `$2`, …, nullable.
    pub parameters: SchemaRef,
    /// The schema of the rows, for a query. With parameters it can still change with their types.
    pub result: Option<SchemaRef>,
    /// What the columns of the rows are of tables.
    pub origins: Arc<[Option<Origin>]>,
}

impl Engine {
    /// Plans `source`, which must be one read-only statement, for each row of `bound`.
    pub async fn plan(
        &self,
        source: &Source,
        environment: &Environment,
        bound: Option<Bound>,
        deadline: Instant,
    ) -> Result<Query> {
        self.plan_with(Control::default(), source, environment, bound, deadline).await
    }

    /// The same for a statement that can be stopped from outside.
    pub async fn plan_for(
        &self,
        activity: &Activity,
        source: &Source,
        environment: &Environment,
        bound: Option<Bound>,
        deadline: Instant,
    ) -> Result<Query> {
        activity.enter(State::Planning);
        let control = activity.control().clone();
        activity.unless_stopped(self.plan_with(control, source, environment, bound, deadline)).await
    }

    async fn plan_with(
        &self,
        control: Control,
        source: &Source,
        environment: &Environment,
        bound: Option<Bound>,
        deadline: Instant,
    ) -> Result<Query> {
        let mut attempt = 1;
        loop {
            let planner = self.planner(environment, control.clone())?;
            let (source, bound) = (source.clone(), bound.clone());
            let plan = async move { planner.plan(&source, bound.as_ref()).await };
            match self.planning(deadline, plan.boxed()).await {
                // Files were replaced between the look at them and their opening.
                Err(error) if error.kind() == ErrorKind::Aborted && attempt < ATTEMPTS => attempt += 1,
                planned => return planned,
            }
        }
    }

    /// Finds out what `source` asks for and gives, without running it.
    pub async fn prepare(
        &self,
        source: &Source,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<Prepared> {
        let planner = self.planner(environment, Control::default())?;
        let source = source.clone();
        self.planning(deadline, async move { planner.prepare(&source).await }.boxed()).await
    }

    /// Whether `sql` reads a table called `table` without naming its schema.
    pub async fn reads_table(&self, sql: &str, table: &'static str) -> Result<bool> {
        let planner = self.planner(&Environment::default(), Control::default())?;
        let sql = sql.to_owned();
        self.workers.run(async move { planner.reads_table(&sql, table) }).await
    }

    /// Waits for the turn of a query. To be done before it is planned: planning opens its files.
    pub async fn admit(&self, activity: &Activity, deadline: Instant) -> Result<Permit> {
        let admitted = activity.unless_stopped(async {
            self.watchdog.admit().await?;
            self.admission.enter().await
        });
        timeout_at(deadline, admitted).await.map_err(|_| deadline_exceeded())?
    }

    pub(in crate::engine) fn planner(&self, environment: &Environment, control: Control) -> Result<Planner> {
        let (state, datasets) = self.session(environment)?;
        let (limits, scope, state) = (self.sql, environment.scope.clone(), Box::new(state));
        let (plans, sizes) = (Arc::clone(&self.plans), self.sizes);
        let bounds = None;
        Ok(Planner { limits, scope, state, datasets, control, plans, sizes, bounds })
    }

    /// Does the work of planning, in its turn.
    pub(in crate::engine) async fn planning<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        self.planning.run(deadline, work).await
    }
}

impl Query {
    /// The query with columns that may be NULL where those of `shown` may: what clients were told before
    /// the parameters had values holds for all values.
    fn nullable_as(self, shown: &LogicalPlan) -> Self {
        Self { output: self.output.nullable_as(shown.schema().as_arrow()), ..self }
    }

    /// The query with columns that may be NULL, but for those of the names `kept`: what its rows happen to be is no
    /// rule for a table that is made of them.
    pub(in crate::engine) fn nullable_but(self, kept: &[String]) -> Self {
        Self { output: self.output.nullable_but(kept), ..self }
    }

    /// The result as a scan that needs no engine, where it is no more than columns as they are stored. `schema` is the
    /// result's, with metadata or without.
    pub fn raw_scan(&self, schema: &SchemaRef) -> Option<RawScan> {
        let StoredColumns { snapshot, columns, limit } = self.stored.clone()?;
        Some(RawScan::of_columns(snapshot, columns, limit, Arc::clone(schema)))
    }

    /// What the columns of the result are of tables.
    pub fn origins(&self) -> &[Option<Origin>] {
        &self.origins
    }

    /// Cancels the query when it is dropped, also where the stream's own drop has to wait for a poll
    /// to return.
    pub fn cancel_guard(&self) -> DropGuard {
        self.control.token().clone().drop_guard()
    }

    /// The schema that the result has on every surface.
    pub fn schema(&self) -> &SchemaRef {
        self.output.schema()
    }

    /// A digest of the result's schema.
    pub fn schema_digest(&self) -> Vec<u8> {
        digest(self.output.schema())
    }

    /// The number of rows, where it is known exactly before the query runs.
    pub fn exact_rows(&self) -> Option<u64> {
        match &self.stored {
            Some(stored) => Some(stored.rows()),
            None => self.plans.iter().map(exact_rows).sum(),
        }
    }
}

/// The rows of a plan, where its statistics are exact. Those of scans and of what is above them leave the limits of
/// scans out, so that a plan that has a limit anywhere tells nothing.
fn exact_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let limited = plan.exists(|node| Ok(node.fetch().is_some() || node.is::<GlobalLimitExec>())).ok()?;
    if limited {
        return None;
    }
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    match statistics.ok()?.num_rows {
        Precision::Exact(rows) => Some(rows as u64),
        _ => None,
    }
}
