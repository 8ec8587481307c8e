//! One query: planned, then run as a lazy stream.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::{DropGuard, WaitForCancellationFutureOwned};

use super::admission::Permit;
use super::change::changes_rows;
use super::columns::StoredColumns;
use super::control::Control;
use super::environment::Environment;
use super::frugal::{Again, Replanned, Replanning, Retry, without_large_heaps};
use super::gate;
use super::gather::{Gather, Gathering};
use super::growth::{Sizes, by_size, rows_at_once};
use super::interrupt::interruptible;
use super::limits::SqlLimits;
use super::memory::{Bounds, shared_by};
use super::origins::{Origin, origins};
use super::output::{Output, digest};
use super::parameters::{Bound, Wanted};
use super::plan_cache::{Optimized, PlanCache};
use super::rerun::rerunnable;
use super::running::{Activity, State};
use super::scope::Scope;
use super::session::Engine;
use super::sort_key::rows_of_runs;
use super::source::Source;
use super::sql::{self, Listing, listing, with_sql_types};
use super::statement::{StatementKind, kind, parameters, parse};
use super::tables::QueryCatalog;
use super::workers::Lane;
use crate::catalog::RawScan;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;

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
    pub(super) again: Option<Box<Again>>,
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
    pub(super) async fn start(
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

    pub(super) fn planner(&self, environment: &Environment, control: Control) -> Result<Planner> {
        let (state, datasets) = self.session(environment)?;
        let (limits, scope, state) = (self.sql, environment.scope.clone(), Box::new(state));
        let (plans, sizes) = (Arc::clone(&self.plans), self.sizes);
        let bounds = None;
        Ok(Planner { limits, scope, state, datasets, control, plans, sizes, bounds })
    }

    /// Does the work of planning, in its turn.
    pub(super) async fn planning<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        self.planning.run(deadline, work).await
    }
}

/// What planning needs of the engine, to be taken to a worker.
pub(super) struct Planner {
    limits: SqlLimits,
    scope: Scope,
    pub(super) state: Box<SessionState>,
    datasets: QueryCatalog,
    control: Control,
    plans: Arc<PlanCache>,
    sizes: Sizes,
    /// What the operators of its plans may reserve, where they are to need little memory.
    pub(super) bounds: Option<Bounds>,
}

impl Planner {
    /// The datasets as the statement sees them.
    pub(super) fn datasets(&self) -> &QueryCatalog {
        &self.datasets
    }

    async fn plan(self, source: &Source, bound: Option<&Bound>) -> Result<Query> {
        let text = match source {
            Source::Sql(sql) if bound.is_none() => Some(sql.as_str()),
            _ => None,
        };
        if let Some(sql) = text
            && let Some(known) = self.plans.find(sql, &self.scope, &self.datasets).await?
        {
            return self.repeatable(vec![known]).await;
        }
        let logical = match source {
            Source::Sql(sql) => self.logical(self.parse_query(sql)?).await?,
            Source::Substrait(plan) => self.substrait(plan).await?,
        };
        let wanted = Wanted::of(&logical)?;
        let Some(bound) = bound else {
            if wanted.is_empty() {
                let optimized = self.optimized(&logical)?;
                if let Some(sql) = text {
                    self.plans.offer(sql, &self.scope, &self.datasets, &logical, &optimized)?;
                }
                return self.repeatable(vec![optimized]).await;
            }
            return Err(Error::invalid(
                "the SQL has parameters without values; prepare it, bind their values, then run it",
            ));
        };
        let shown = Self::shown(&logical, &wanted)?;
        let with_values = |row| Ok(logical.clone().with_param_values(wanted.values(bound, row)?)?);
        let mut bound = (0..bound.rows()).map(with_values).collect::<Result<Vec<_>>>()?;
        if bound.is_empty() {
            // No row, no run: the result has the schema and nothing in it.
            bound.push(LogicalPlanBuilder::from(shown.clone()).limit(0, Some(0))?.build()?);
        }
        Ok(self.physical(bound).await?.nullable_as(&shown))
    }

    /// Physical plans of logical ones, which must have one schema.
    pub(super) async fn physical(&self, logical: Vec<LogicalPlan>) -> Result<Query> {
        let optimized = logical.iter().map(|logical| self.optimized(logical)).collect::<Result<Vec<_>>>()?;
        self.executable(&optimized).await
    }

    fn optimized(&self, logical: &LogicalPlan) -> Result<Optimized> {
        gate::check_plan(logical, &self.limits)?;
        let schema = Arc::new(logical.schema().as_arrow().clone());
        let origins = self.named_origins(logical);
        Ok(Optimized { schema, origins, plan: self.state.optimize(logical)? })
    }

    /// Where the columns of a plan come from. Tables without a schema are of the session's.
    fn named_origins(&self, logical: &LogicalPlan) -> Arc<[Option<Origin>]> {
        let own = self.scope.schema.as_str();
        let named = |origin: Origin| match origin.schema.as_str() {
            "" => Origin { schema: own.to_owned(), ..origin },
            _ => origin,
        };
        origins(logical).into_iter().map(|origin| origin.map(named)).collect()
    }

    /// A query that can be planned once more, for less memory.
    pub(super) async fn repeatable(self, optimized: Vec<Optimized>) -> Result<Query> {
        let query = self.executable(&optimized).await?;
        Ok(Query { again: Some(Box::new(Again { planner: self, optimized })), ..query })
    }

    async fn executable(&self, optimized: &[Optimized]) -> Result<Query> {
        Failpoint::Plan.pass()?;
        let mut plans = Vec::with_capacity(optimized.len());
        let mut output: Option<Output> = None;
        let (mut stored, mut origins) = (None, Arc::default());
        for Optimized { schema, origins: of_this, plan } in optimized {
            origins = Arc::clone(of_this);
            stored = StoredColumns::of(plan);
            let plan = self.state.query_planner().create_physical_plan(plan, self.state.as_ref()).await?;
            let plan = if self.bounds.is_some() { without_large_heaps(plan)? } else { plan };
            let plan = interruptible(plan, &self.control)?;
            let this = Output::new(schema, &plan.schema(), self.scope.types);
            output = Some(match output {
                Some(others) => others.with(&this)?,
                None => this,
            });
            plans.push(plan);
        }
        let output = output.ok_or_else(|| Error::internal("a query without a plan"))?;
        // Several runs are no single scan.
        let stored = stored.filter(|_| plans.len() == 1);
        let context = self.context(&plans)?;
        let sized = |plan| rerunnable(by_size(plan, self.sizes, &self.control)?);
        let plans = plans.into_iter().map(sized).collect::<Result<_, _>>()?;
        let (control, again) = (self.control.clone(), None);
        Ok(Query { plans, context, output, origins, stored, control, again })
    }

    /// What the plans run in.
    fn context(&self, plans: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<TaskContext>> {
        let context = TaskContext::from(self.state.as_ref());
        let context = context.with_runtime(shared_by(self.state.runtime_env(), &self.control, self.bounds)?);
        Ok(Arc::new(match self.rows_of_batches(plans) {
            Some(rows) => context.with_session_config(self.state.config().clone().with_batch_size(rows)),
            None => context,
        }))
    }

    /// The rows of the batches that plans work on, where they are to be others than the session says.
    fn rows_of_batches(&self, plans: &[Arc<dyn ExecutionPlan>]) -> Option<usize> {
        let options = self.state.config_options();
        if let [plan] = plans
            && let Some(rows) = rows_of_runs(plan, options)
        {
            return Some(rows);
        }
        let most = options.execution.batch_size.get();
        plans.iter().filter_map(|plan| rows_at_once(plan, self.sizes.batch, most)).min()
    }

    async fn prepare(self, source: &Source) -> Result<Prepared> {
        let logical = match source {
            Source::Sql(sql) => {
                let statement = parse(sql, &self.limits)?;
                let kind = kind(&statement)?;
                if kind != StatementKind::Query {
                    if let Some(parameters) = self.changed_parameters(&statement).await? {
                        return Ok(Prepared { kind, parameters, result: None, origins: Arc::default() });
                    }
                    let fields = parameters(&statement).into_iter();
                    let fields = fields.map(|name| Field::new(name, DataType::Utf8, true));
                    let parameters = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                    return Ok(Prepared { kind, parameters, result: None, origins: Arc::default() });
                }
                self.logical(self.own_statement(statement)?).await?
            }
            Source::Substrait(plan) => self.substrait(plan).await?,
        };
        let wanted = Wanted::of(&logical)?;
        let parameters = Arc::new(wanted.schema());
        let query = if wanted.is_empty() {
            self.physical(vec![logical]).await?
        } else {
            // A parameter that nothing gives a type is a text, unless the statement cannot be one then
            // (`? + ?`).
            match self.with_nulls(&logical, &wanted, &DataType::Utf8).await {
                Ok(query) => query,
                Err(_) => self.with_nulls(&logical, &wanted, &DataType::Null).await?,
            }
        };
        let result = Some(Arc::clone(query.output.schema()));
        Ok(Prepared { kind: StatementKind::Query, parameters, result, origins: query.origins })
    }

    /// The parameters of a statement that changes rows, with the types that its table gives them; `None` for
    /// other statements, and for MERGE, whose plan does not show them.
    async fn changed_parameters(&self, statement: &Statement) -> Result<Option<SchemaRef>> {
        let Statement::Statement(inner) = statement else { return Ok(None) };
        if !changes_rows(inner) || parameters(statement).is_empty() {
            return Ok(None);
        }
        match self.logical(statement.clone()).await? {
            LogicalPlan::Dml(dml) if !matches!(dml.op, WriteOp::MergeInto(_)) => {
                Ok(Some(Arc::new(Wanted::of(&dml.input)?.schema())))
            }
            _ => Ok(None),
        }
    }

    /// The plan before its parameters have values.
    fn shown(plan: &LogicalPlan, wanted: &Wanted) -> Result<LogicalPlan> {
        let with = |untyped| Ok(plan.clone().with_param_values(wanted.nulls(untyped)?)?);
        with(&DataType::Utf8).or_else(|_: Error| with(&DataType::Null))
    }

    async fn with_nulls(&self, plan: &LogicalPlan, wanted: &Wanted, untyped: &DataType) -> Result<Query> {
        let plan = plan.clone().with_param_values(wanted.nulls(untyped)?)?;
        self.physical(vec![plan]).await
    }

    #[cfg(feature = "substrait")]
    async fn substrait(&self, plan: &Bytes) -> Result<LogicalPlan> {
        let planned = super::substrait::substrait(plan, &self.state, &self.limits).await;
        planned.map_err(|error| self.datasets.first_missing().unwrap_or(error))
    }

    #[cfg(not(feature = "substrait"))]
    #[allow(clippy::unused_async)]
    async fn substrait(&self, _: &Bytes) -> Result<LogicalPlan> {
        Err(Error::unimplemented(
            "this server was built without Substrait (the cargo feature `substrait`); send the query as SQL",
        ))
    }

    fn parse_query(&self, sql: &str) -> Result<Statement> {
        let statement = parse(sql, &self.limits)?;
        gate::check_query(&statement)?;
        self.own_statement(statement)
    }

    /// `SHOW …`, which DataFusion does not know, as the query that it is.
    fn own_statement(&self, statement: Statement) -> Result<Statement> {
        if let Statement::Statement(inner) = &statement
            && let Some(Listing { sql, schema }) = listing(inner)?
        {
            if let Some(schema) = schema {
                self.datasets.check_schema(&schema)?;
            }
            return parse(&sql, &self.limits);
        }
        own_options(statement, &self.scope, &self.limits)
    }

    /// The plan of a statement before it is optimised.
    pub(super) async fn logical(&self, statement: Statement) -> Result<LogicalPlan> {
        gate::check_tables(&self.state.resolve_table_references(&statement)?)?;
        sql::plan(&self.state, statement).await.and_then(with_sql_types).map_err(|error| {
            self.datasets.explain_missing(&error.to_string()).unwrap_or_else(|| error.into())
        })
    }

    fn reads_table(self, sql: &str, table: &str) -> Result<bool> {
        let references = self.state.resolve_table_references(&self.parse_query(sql)?)?;
        Ok(references.iter().any(|reference| reference.table() == table))
    }
}

/// `SHOW schema` and the like, which DataFusion does not know, as a query.
fn own_options(statement: Statement, scope: &Scope, limits: &SqlLimits) -> Result<Statement> {
    let Statement::Statement(inner) = &statement else { return Ok(statement) };
    let SqlStatement::ShowVariable { variable } = inner.as_ref() else { return Ok(statement) };
    let [name] = variable.as_slice() else { return Ok(statement) };
    let name = name.value.to_lowercase();
    let Some(value) = scope.own(&name) else { return Ok(statement) };
    parse(&format!("SELECT '{name}' AS name, '{}' AS value", value.replace('\'', "''")), limits)
}

impl Query {
    /// The query with columns that may be NULL where those of `shown` may: what clients were told before
    /// the parameters had values holds for all values.
    fn nullable_as(self, shown: &LogicalPlan) -> Self {
        Self { output: self.output.nullable_as(shown.schema().as_arrow()), ..self }
    }

    /// The query with columns that may be NULL, but for those of the names `kept`: what its rows happen to be is no
    /// rule for a table that is made of them.
    pub(super) fn nullable_but(self, kept: &[String]) -> Self {
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
                Err(error) => Poll::Ready(Some(Err(DataFusionError::External(Box::new(error))))),
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
        let Replanned { query: Query { plans, context, output, .. }, turn } = replanned;
        (self.plans, self.context, self.output) = (plans.into(), context, output);
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
