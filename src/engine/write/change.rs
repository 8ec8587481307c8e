//! Running statements that change something, to their end.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ColumnDef, Statement as SqlStatement};
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::bound_rows::{BoundRows, over_rows};
use super::ddl::{
    Aside, Own, TableAside, add_columns, change_names, is_refusal, optional_table, rename, set_nullable,
    take_own, truncate, undrop,
};
use super::modify::{self, ChangeSink, Changing};
use super::names::Names;
use super::sink::{Publish, TableSink};
use crate::catalog::{ChangeTurn, DatasetRef, PutMode, PutOptions, RowChange};
use crate::engine::Engine;
use crate::engine::query::{Gathering, Planner, Query, QueryStream, TypeProfile, deadline_exceeded};
use crate::engine::run::{Activity, Control, Permit, State};
use crate::engine::session::Environment;
use crate::engine::statement::{Bound, Wanted, check_no_parameters, parse};
use crate::engine::tables::SnapshotTable;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{BatchSink, DeltaLog, Operation, Storing, blocking, outcome};

impl Engine {
    /// Runs a statement of the kind [`Change`](crate::engine::StatementKind::Change) to its end, for each row of
    /// `bound`, and says how many rows it stored or changed.
    pub async fn change(
        &self,
        activity: Arc<Activity>,
        sql: &str,
        bound: Option<Bound>,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<u64> {
        let permit = self.admit(&activity, deadline).await?;
        activity.enter(State::Planning);
        let limits = self.sql;
        let statement = {
            let sql = sql.to_owned();
            self.planning(deadline, async move { parse(&sql, &limits) }.boxed()).await?
        };
        let values = bound.filter(|bound| bound.rows() > 0);
        let change = self.change_parsed(&activity, (statement, values), environment, permit, deadline);
        activity.ends_with(change).await
    }

    /// Runs an INSERT of VALUES for all of `rows` as they come, and says how many it stored: all of them, in one
    /// version of the table, or none.
    pub async fn insert_rows(
        &self,
        activity: Arc<Activity>,
        sql: &str,
        rows: BoundRows,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<u64> {
        let permit = self.admit(&activity, deadline).await?;
        activity.enter(State::Planning);
        let mut environment = environment.clone();
        environment.scope.types = TypeProfile::Native;
        let planner = self.planner(&environment, activity.control().clone())?;
        let (text, limits) = (sql.to_owned(), self.sql);
        let plan = async move {
            let statement = parse(&text, &limits)?;
            let Statement::Statement(inner) = &statement else {
                return Err(Error::internal("an INSERT that is parsed as something else"));
            };
            let table = modify::target(inner)?;
            let (values, replaces) = modify::insertion(planner.logical(statement).await?)?;
            let query = planner.physical(vec![over_rows(values, rows)?]).await?;
            Ok((query, table, replaces))
        };
        let insert = async {
            let planned = self.planning(deadline, plan.boxed());
            let (query, table, replaces) = activity.unless_stopped(planned).await?;
            let schema = Arc::clone(query.schema());
            let names = Names { catalog: Arc::clone(self.catalog()), environment };
            let sink = blocking(move || names.insertion(&table, schema, replaces)).await?;
            self.run_into(&activity, query, sink, permit, deadline).await
        };
        activity.ends_with(insert).await
    }

    async fn change_parsed(
        &self,
        activity: &Arc<Activity>,
        (statement, bound): (Statement, Option<Bound>),
        environment: &Environment,
        permit: Permit,
        deadline: Instant,
    ) -> Result<u64> {
        let names = Names { catalog: Arc::clone(self.catalog()), environment: environment.clone() };
        if let Statement::Statement(inner) = &statement
            && changes_rows(inner)
        {
            let table = modify::target(inner)?;
            let statement = match modify::as_merge(inner)? {
                Some(sql) => parse(&sql, &self.sql)?,
                None => statement,
            };
            let change = Modification { statement, bound, table, names, permit };
            return self.modify(activity, change, environment, deadline).await;
        }
        check_no_parameters(&statement, bound.as_ref())?;
        let Some(table) = optional_table(&statement)? else {
            return self.change_named(activity, (statement, names), environment, permit, deadline).await;
        };
        let is_there = || {
            let (names, table) = (names.clone(), table.clone());
            blocking(move || names.is_there(&table))
        };
        if !is_there().await? {
            return Ok(0);
        }
        let named = (statement, names.clone());
        let changed = self.change_named(activity, named, environment, permit, deadline).await;
        match changed {
            // Somebody dropped it meanwhile.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::FailedPrecondition)
                    && !is_there().await? =>
            {
                Ok(0)
            }
            changed => changed,
        }
    }

    /// Makes, changes or removes what a statement names, once its table is known to be there if it has to be.
    async fn change_named(
        &self,
        activity: &Arc<Activity>,
        (statement, names): (Statement, Names),
        environment: &Environment,
        permit: Permit,
        deadline: Instant,
    ) -> Result<u64> {
        let (statement, aside) = match take_own(statement, &names)? {
            Own::AddColumns { table, columns, known } => {
                let columns = self.columns(columns, environment, deadline).await?;
                return blocking(move || add_columns(&names, &table, columns, known)).await;
            }
            Own::Rename { from, to } => {
                return blocking(move || rename(&names, &from, &to)).await;
            }
            Own::SetNullable { table, column, nullable } => {
                return blocking(move || set_nullable(&names, &table, &column, nullable)).await;
            }
            Own::Keys { table, change } => return blocking(move || change.make(&names, &table)).await,
            Own::RenameView { from, to } => {
                return blocking(move || names.catalog.rename_view(&names.resolve(&from)?, &to).map(|()| 0))
                    .await;
            }
            Own::Truncate { table } => return blocking(move || truncate(&names, &table)).await,
            Own::Undrop(dropped) => return blocking(move || undrop(&names, dropped)).await,
            Own::Planned { statement, aside } => (statement, aside),
        };
        let mut environment = environment.clone();
        // What is stored has the types that the query gives it.
        environment.scope.types = TypeProfile::Native;
        let planner = self.planner(&environment, activity.control().clone())?;
        let plan = async move {
            match planner.logical(statement).await? {
                LogicalPlan::Ddl(ddl) => Ok((Box::new(ddl), planner)),
                other => Err(Error::unimplemented(format!("{} is not supported", other.display()))),
            }
        };
        let ddl = self.planning(deadline, plan.boxed());
        let (ddl, planner) = activity.unless_stopped(ddl).await?;
        match *ddl {
            DdlStatement::CreateMemoryTable(table) => {
                let Aside::Table(table_aside) = aside else {
                    return Err(Error::internal("a table without what its statement says of it"));
                };
                let plan = TablePlan { table, aside: table_aside, planner, permit };
                self.create_table(activity, plan, names, deadline).await
            }
            other => blocking(move || change_names(other, aside, &names)).await,
        }
    }

    async fn create_table(
        &self,
        activity: &Arc<Activity>,
        plan: TablePlan,
        names: Names,
        deadline: Instant,
    ) -> Result<u64> {
        let TablePlan { table, aside, planner, permit } = plan;
        let TableAside { temporary, columns_only, partition_by, not_null, keys } = aside;
        if !table.constraints.is_empty() || !table.column_defaults.is_empty() {
            return Err(Error::unimplemented(
                "UNIQUE and default values of columns are not supported; NOT NULL is, and keys that are NOT ENFORCED",
            ));
        }
        let name = names.resolve(&table.name)?;
        let exists = || {
            let (names, name) = (names.clone(), name.clone());
            blocking(move || names.exists(&name, temporary))
        };
        if table.if_not_exists && exists().await? {
            return Ok(0);
        }
        let input = Arc::unwrap_or_clone(table.input);
        let query = self.planning(deadline, async move { planner.replannable(vec![input]).await }.boxed());
        let mut query = activity.unless_stopped(query).await?;
        if !columns_only {
            query = query.nullable_but(&not_null);
        }
        let mut schema = Arc::clone(query.schema());
        if !keys.is_empty() {
            let (names, name) = (names.clone(), name.clone());
            schema = blocking(move || keys.noted_in(&schema, &name, &names)).await?;
        }
        let mode = if table.or_replace { PutMode::Replace } else { PutMode::Create };
        let options = PutOptions { mode, partition_by, as_delta: columns_only, ..PutOptions::default() };
        let made = async {
            let (names, name) = (names.clone(), name.clone());
            let sink = blocking(move || names.sink(&name, schema, options, temporary)).await?;
            self.run_into(activity, query, sink, permit, deadline).await
        };
        match made.await {
            // Somebody else made it meanwhile, and may have dropped it again.
            Err(error) if table.if_not_exists && error.kind() == ErrorKind::AlreadyExists => Ok(0),
            Err(error) if table.if_not_exists && is_refusal(&error) && exists().await? => Ok(0),
            made => made,
        }
    }

    /// Adds rows to a table, or changes those that are there.
    async fn modify(
        &self,
        activity: &Arc<Activity>,
        change: Modification,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<u64> {
        let mut environment = environment.clone();
        // What is stored has the types that the statement gives it.
        environment.scope.types = TypeProfile::Native;
        let is_insert = matches!(&change.statement, Statement::Statement(inner) if matches!(**inner, SqlStatement::Insert(_)));
        if is_insert {
            return self.insert(activity, change, &environment, deadline).await;
        }
        let Modification { statement, bound, table, names, permit } = change;
        if let Some(temporary) = names.temporary(&table) {
            return Err(Error::unimplemented(format!(
                "the rows of the temporary table {temporary} cannot be changed; make it anew with CREATE OR REPLACE \
                 TEMPORARY TABLE"
            )));
        }
        let runs = bound.as_ref().map_or(1, Bound::rows);
        let (mut permit, mut changed) = (Some(permit), 0);
        for row in 0..runs {
            let permit = match permit.take() {
                Some(first) => first,
                None => self.admit(activity, deadline).await?,
            };
            let values = bound.clone().map(|bound| (bound, row));
            let one = Change { statement: statement.clone(), values, table: &table, names: &names, permit };
            changed += self.change_rows(activity, one, &environment, deadline).await?;
        }
        Ok(changed)
    }

    /// Adds the rows of a query to a table, with all rows of parameters in one go.
    async fn insert(
        &self,
        activity: &Arc<Activity>,
        change: Modification,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<u64> {
        let Modification { statement, bound, table, names, permit } = change;
        let planner = self.planner(environment, activity.control().clone())?;
        let plan = async move {
            let (rows, replaces) = modify::insertion(planner.logical(statement).await?)?;
            let runs = bound.as_ref().map_or(1, Bound::rows);
            let rows = (0..runs).map(|row| with_values(&rows, bound.as_ref(), row));
            Ok((planner.replannable(rows.collect::<Result<_>>()?).await?, replaces))
        };
        let (query, replaces) = activity.unless_stopped(self.planning(deadline, plan.boxed())).await?;
        let schema = Arc::clone(query.schema());
        let sink = blocking(move || names.insertion(&table, schema, replaces)).await?;
        self.run_into(activity, query, sink, permit, deadline).await
    }

    /// Changes rows of a table once.
    async fn change_rows(
        &self,
        activity: &Arc<Activity>,
        change: Change<'_>,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<u64> {
        let Change { statement, values, table, names, permit } = change;
        // Before the dataset is touched: a statement that is wrong changes nothing about it.
        let (planner, checked) = (self.planner(environment, activity.control().clone())?, statement.clone());
        let check = async move { planner.logical(checked).await.map(|_| ()) };
        activity.unless_stopped(self.planning(deadline, check.boxed())).await?;
        let (dataset, name) = (names.find(table)?, names.resolve(table)?);
        let catalog = Arc::clone(&names.catalog);
        let log = {
            let (catalog, dataset) = (Arc::clone(&catalog), dataset.clone());
            blocking(move || catalog.changeable(&dataset)).await?
        };
        let turn = turn_of(dataset, log, activity, deadline).await?;
        let mut rows = {
            let catalog = Arc::clone(&catalog);
            blocking(move || RowChange::begin(catalog, turn, Operation::Update(None))).await?
        };
        let planner = self.planner(environment, activity.control().clone())?;
        let snapshot = Arc::clone(rows.snapshot());
        let plan = async move {
            planner.datasets().fix(name, Arc::clone(&snapshot));
            let located = provider_as_source(Arc::new(SnapshotTable::located(&catalog, snapshot)));
            let Changing { query, shape, operation } =
                Changing::of(planner.logical(statement).await?, &located)?;
            let (bound, row) = values.map_or((None, 0), |(bound, row)| (Some(bound), row));
            let query = with_values(&query, bound.as_ref(), row)?;
            Ok((planner.replannable(vec![query]).await?, shape, operation))
        };
        let planned = self.planning(deadline, plan.boxed());
        let (query, shape, operation) = activity.unless_stopped(planned).await?;
        rows.describe(operation);
        let sink = TableSink::Change(Box::new(ChangeSink::new(rows, shape)));
        self.run_into(activity, query, sink, permit, deadline).await
    }

    /// The columns that definitions in SQL give.
    async fn columns(
        &self,
        definitions: Vec<ColumnDef>,
        environment: &Environment,
        deadline: Instant,
    ) -> Result<Vec<FieldRef>> {
        let texts: Vec<_> = definitions.iter().map(ToString::to_string).collect();
        let sql = format!("CREATE TABLE columns ({})", texts.join(", "));
        let (planner, limits) = (self.planner(environment, Control::default())?, self.sql);
        let plan = async move { planner.logical(parse(&sql, &limits)?).await };
        match self.planning(deadline, plan.boxed()).await? {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table))
                if table.constraints.is_empty() && table.column_defaults.is_empty() =>
            {
                Ok(table.input.schema().fields().iter().cloned().collect())
            }
            _ => Err(Error::unimplemented(
                "UNIQUE and default values of columns are not supported; NOT NULL is",
            )),
        }
    }

    /// Runs a query into a sink, and publishes what came of it.
    pub(super) async fn run_into<S: Publish>(
        &self,
        activity: &Arc<Activity>,
        query: Query,
        sink: S,
        permit: Permit,
        deadline: Instant,
    ) -> Result<S::Published> {
        // With the request, and with its time, go the task that stores and, since an operator may be in a computation
        // that does not return, the query itself.
        let guard = query.cancel_guard();
        let rows = self.start(query, Arc::clone(activity), permit, deadline, Gathering::NONE).await?;
        let mut storing = AbortOnDropHandle::new(store(rows, sink));
        let (sink, _rows) = tokio::select! {
            biased;
            stored = &mut storing => outcome(stored)?,
            error = activity.control().stopped() => return Err(error),
            () = sleep_until(deadline) => return Err(deadline_exceeded()),
        };
        // The statement may have more to run.
        guard.disarm();
        // From here on nothing stops it, and what was published is never said to have failed.
        blocking(move || sink.publish()).await
    }
}

/// Stores the rows of a query on the threads that it runs on. The query keeps its place until its rows are dropped.
fn store<S: BatchSink + Send + 'static>(
    mut rows: QueryStream,
    sink: S,
) -> JoinHandle<Result<(S, QueryStream)>> {
    rows.runtime().clone().spawn(async move {
        let mut storing = Storing::new(sink);
        while let Some(batch) = rows.next().await.transpose()? {
            storing = storing.write(batch).await?;
        }
        Ok((storing.finish().await?, rows))
    })
}

/// Waits for the turn to change a table, as long as the statement may.
pub(in crate::engine) async fn turn_of(
    dataset: DatasetRef,
    log: Arc<DeltaLog>,
    activity: &Activity,
    deadline: Instant,
) -> Result<ChangeTurn> {
    let turn = activity.unless_stopped(async { Ok(ChangeTurn::wait(dataset, log).await) });
    timeout_at(deadline, turn).await.map_err(|_| deadline_exceeded())?
}

/// A statement that changes rows, and what it takes to run it.
struct Modification {
    statement: Statement,
    bound: Option<Bound>,
    table: TableReference,
    names: Names,
    permit: Permit,
}

/// One run of a statement that changes rows that are there.
struct Change<'a> {
    statement: Statement,
    /// Values of its parameters: a row of those that were bound.
    values: Option<(Bound, usize)>,
    table: &'a TableReference,
    names: &'a Names,
    permit: Permit,
}

/// A plan with the values of a bound row in the place of its parameters.
fn with_values(plan: &LogicalPlan, bound: Option<&Bound>, row: usize) -> Result<LogicalPlan> {
    let wanted = Wanted::of(plan)?;
    match bound {
        Some(bound) => Ok(plan.clone().with_param_values(wanted.values(bound, row)?)?),
        None if wanted.is_empty() => Ok(plan.clone()),
        None => Err(Error::invalid(
            "the SQL has parameters without values; prepare it, bind their values, then run it",
        )),
    }
}

pub(in crate::engine) fn changes_rows(statement: &SqlStatement) -> bool {
    use SqlStatement::{Delete, Insert, Merge, Update};
    matches!(statement, Insert(_) | Update(_) | Delete(_) | Merge(_))
}

/// A table that is to be made, and what it takes to make it.
struct TablePlan {
    table: CreateMemoryTable,
    aside: TableAside,
    planner: Planner,
    permit: Permit,
}
