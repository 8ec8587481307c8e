//! Planning: from what a query is given as to plans that can be run.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::frugal::{Again, without_large_heaps};
use super::origins::{Origin, origins};
use super::output::Output;
use super::plan_cache::{Optimized, PlanCache};
use super::stored_columns::StoredColumns;
use super::{Prepared, Query};
use crate::engine::growth::{Sizes, by_size, rows_at_once};
use crate::engine::memory::{Bounds, shared_by};
use crate::engine::operators::{interruptible, rerunnable, rows_of_runs};
use crate::engine::run::Control;
use crate::engine::session::Scope;
use crate::engine::sql::{self, Listing, listing, with_sql_types};
use crate::engine::statement::{
    Bound, Source, SqlLimits, StatementKind, Wanted, gate, kind, parameters, parse,
};
use crate::engine::tables::QueryCatalog;
use crate::engine::write::changes_rows;
use crate::error::{Error, Result};
use crate::failpoint::Failpoint;

/// What planning needs of the engine, to be taken to a worker.
pub(in crate::engine) struct Planner {
    pub(super) limits: SqlLimits,
    pub(super) scope: Scope,
    pub(in crate::engine) state: Box<SessionState>,
    pub(super) datasets: QueryCatalog,
    pub(super) control: Control,
    pub(super) plans: Arc<PlanCache>,
    pub(super) sizes: Sizes,
    /// What the operators of its plans may reserve, where they are to need little memory.
    pub(in crate::engine) bounds: Option<Bounds>,
}

impl Planner {
    /// The datasets as the statement sees them.
    pub(in crate::engine) fn datasets(&self) -> &QueryCatalog {
        &self.datasets
    }

    pub(super) async fn plan(self, source: &Source, bound: Option<&Bound>) -> Result<Query> {
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
    pub(in crate::engine) async fn physical(&self, logical: Vec<LogicalPlan>) -> Result<Query> {
        self.executable(&self.all_optimized(&logical)?).await
    }

    fn all_optimized(&self, logical: &[LogicalPlan]) -> Result<Vec<Optimized>> {
        logical.iter().map(|logical| self.optimized(logical)).collect()
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

    /// Physical plans of logical ones whose tables can be read again: they can be planned once more, for less memory.
    pub(in crate::engine) async fn replannable(self, logical: Vec<LogicalPlan>) -> Result<Query> {
        let optimized = self.all_optimized(&logical)?;
        self.repeatable(optimized).await
    }

    /// A query that can be planned once more, for less memory.
    pub(in crate::engine) async fn repeatable(self, optimized: Vec<Optimized>) -> Result<Query> {
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

    pub(super) async fn prepare(self, source: &Source) -> Result<Prepared> {
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
    pub(in crate::engine) async fn logical(&self, statement: Statement) -> Result<LogicalPlan> {
        gate::check_tables(&self.state.resolve_table_references(&statement)?)?;
        let planned = sql::plan(&self.state, statement).await.and_then(with_sql_types);
        planned.map_err(|error| self.datasets.explain(error))
    }

    pub(super) fn reads_table(self, sql: &str, table: &str) -> Result<bool> {
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
