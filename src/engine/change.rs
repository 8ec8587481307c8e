//! Statements that make, rename or remove tables, views and schemas.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::{ResolvedTableReference, SchemaReference, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    CreateExternalTable, CreateMemoryTable, CreateView, DdlStatement, DropTable, LogicalPlan,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, Expr as SqlExpr,
    HiveDistributionStyle, Ident, ObjectName, RenameTable, RenameTableNameKind, Statement as SqlStatement,
};
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::admission::Permit;
use super::bound_rows::{BoundRows, over_rows};
use super::control::Control;
use super::environment::{Environment, TemporaryTables};
use super::gather::Gathering;
use super::keys::{Declared, KeyChange};
use super::modify::{self, ChangeSink, Changing};
use super::output::TypeProfile;
use super::parameters::{Bound, Wanted};
use super::query::{Planner, Query, QueryStream, deadline_exceeded};
use super::running::{Activity, State};
use super::session::Engine;
use super::sql::correct;
use super::statement::{check_no_parameters, parse};
use super::tables::{CATALOG, SnapshotTable};
use super::undrop::Undropped;
use crate::catalog::{
    Catalog, ChangeTurn, Dataset, DatasetRef, DropOptions, DroppedKind, IfMissing, PutMode, PutOptions,
    RowChange, SchemaName, Snapshot, TemporaryUpload, Undrop, Upload, View,
};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{BatchSink, DeltaLog, Operation, Storing, blocking, outcome};

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

impl BatchSink for TableSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Dataset(upload) => upload.write(batch),
            Self::Temporary { upload, .. } => upload.write(batch),
            Self::Change(sink) => sink.write(batch),
        }
    }
}

impl Engine {
    /// Runs a statement of the kind [`Change`](super::StatementKind::Change) to its end, for each row of
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
        let changed = self.change_parsed(&activity, (statement, values), environment, permit, deadline).await;
        activity.end(changed.as_ref().err());
        changed
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
        let inserted = async {
            let planned = self.planning(deadline, plan.boxed());
            let (query, table, replaces) = activity.unless_stopped(planned).await?;
            let schema = Arc::clone(query.schema());
            let names = Names { catalog: Arc::clone(self.catalog()), environment };
            let sink = blocking(move || names.insertion(&table, schema, replaces)).await?;
            self.run_into(&activity, query, sink, permit, deadline).await
        };
        let inserted = inserted.await;
        activity.end(inserted.as_ref().err());
        inserted
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
        let query = self.planning(deadline, async move { planner.physical(vec![input]).await }.boxed());
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
            Ok((planner.physical(rows.collect::<Result<_>>()?).await?, replaces))
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
            Ok((planner.physical(vec![query]).await?, shape, operation))
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

    /// Runs a query into a sink, publishes what came of it, and says how many rows that are.
    async fn run_into(
        &self,
        activity: &Arc<Activity>,
        query: Query,
        sink: TableSink,
        permit: Permit,
        deadline: Instant,
    ) -> Result<u64> {
        self.run_to(activity, query, sink, permit, deadline, TableSink::finish).await
    }

    /// Runs a query into a sink, to which `finish` is done at the end.
    pub(super) async fn run_to<S: BatchSink + Send + 'static, T: Send + 'static>(
        &self,
        activity: &Arc<Activity>,
        query: Query,
        sink: S,
        permit: Permit,
        deadline: Instant,
        finish: impl FnOnce(S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
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
        blocking(move || finish(sink)).await
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
pub(super) async fn turn_of(
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

pub(super) fn changes_rows(statement: &SqlStatement) -> bool {
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

/// What DataFusion does not plan, and what is to be planned.
enum Own {
    Rename { from: TableReference, to: DatasetRef },
    RenameView { from: TableReference, to: DatasetRef },
    Keys { table: TableReference, change: KeyChange },
    Truncate { table: TableReference },
    Undrop(Undropped),
    AddColumns { table: TableReference, columns: Vec<ColumnDef>, known: Known },
    SetNullable { table: TableReference, column: String, nullable: bool },
    Planned { statement: Statement, aside: Aside },
}

/// What happens to columns that are to be added and are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Fail,
    Keep,
}

/// What a statement says that its plan does not.
enum Aside {
    Nothing,
    Table(TableAside),
    /// The text of a view's query, and whether a view of its name may be there.
    View {
        sql: String,
        if_not_exists: bool,
    },
}

/// What `CREATE TABLE` says that its plan does not.
struct TableAside {
    temporary: bool,
    /// Whether there are columns, and no query for rows.
    columns_only: bool,
    /// The columns that it is partitioned by.
    partition_by: Vec<String>,
    /// The columns that are declared NOT NULL.
    not_null: Vec<String>,
    keys: Declared,
}

/// The table that a statement changes if it is there.
fn optional_table(statement: &Statement) -> Result<Option<TableReference>> {
    let Statement::Statement(statement) = statement else { return Ok(None) };
    match statement.as_ref() {
        SqlStatement::AlterTable(alter) if alter.if_exists => reference(&alter.name).map(Some),
        SqlStatement::Truncate(truncate) if truncate.if_exists => {
            truncate.table_names.first().map(|table| reference(&table.name)).transpose()
        }
        _ => Ok(None),
    }
}

fn take_own(statement: Statement, names: &Names) -> Result<Own> {
    let Statement::Statement(mut inner) = statement else {
        return Ok(Own::Planned { statement, aside: Aside::Nothing });
    };
    let mut aside = Aside::Nothing;
    match inner.as_mut() {
        SqlStatement::AlterTable(alter) => {
            let from = reference(&alter.name)?;
            if let Some((columns, known)) = added_columns(&alter.operations) {
                return Ok(Own::AddColumns { table: from, columns, known });
            }
            if let Some((column, nullable)) = nullability(&alter.operations) {
                return Ok(Own::SetNullable { table: from, column, nullable });
            }
            if let Some(change) = KeyChange::of(&alter.operations)? {
                return Ok(Own::Keys { table: from, change });
            }
            let [AlterTableOperation::RenameTable { table_name }] = alter.operations.as_slice() else {
                return Err(Error::unimplemented(
                    "of ALTER TABLE only RENAME TO, ADD COLUMN, ALTER COLUMN … DROP NOT NULL and SET NOT NULL, ADD \
                     CONSTRAINT … NOT ENFORCED and DROP CONSTRAINT are supported; store other columns anew with CREATE OR REPLACE TABLE … AS SELECT",
                ));
            };
            let (RenameTableNameKind::To(to) | RenameTableNameKind::As(to)) = table_name;
            let to = names.renamed(&from, to)?;
            Ok(Own::Rename { from, to })
        }
        SqlStatement::RenameTable(renamed) => renamed_view(renamed, names),
        SqlStatement::Truncate(truncate) => match truncate.table_names.as_slice() {
            [table] => Ok(Own::Truncate { table: reference(&table.name)? }),
            _ => Err(Error::unimplemented("TRUNCATE takes one table")),
        },
        SqlStatement::Call(call) => match Undropped::of(call) {
            Some(dropped) => Ok(Own::Undrop(dropped)),
            None => Err(Error::internal("a CALL that is none of ours")),
        },
        SqlStatement::CreateTable(create) => {
            let partition_by = take_partitioning(create)?;
            let temporary = std::mem::take(&mut create.temporary);
            let columns_only = create.query.is_none();
            if temporary && !partition_by.is_empty() {
                return Err(Error::unimplemented("a temporary table cannot be partitioned"));
            }
            let not_null = not_null(create);
            let keys = Declared::take_from(create)?;
            if temporary && !keys.is_empty() {
                return Err(Error::unimplemented("a temporary table has no keys"));
            }
            aside = Aside::Table(TableAside { temporary, columns_only, partition_by, not_null, keys });
            Ok(Own::Planned { statement: Statement::Statement(inner), aside })
        }
        SqlStatement::CreateView(create) if create.temporary => {
            Err(Error::unimplemented("temporary views are not supported; temporary tables are"))
        }
        SqlStatement::CreateView(create) => {
            let names: Vec<_> = create.columns.iter().map(|column| column.name.to_string()).collect();
            let sql = match names.as_slice() {
                [] => create.query.to_string(),
                names => format!("SELECT * FROM ({}) AS v ({})", create.query, names.join(", ")),
            };
            aside = Aside::View { sql, if_not_exists: std::mem::take(&mut create.if_not_exists) };
            correct(&mut inner)?;
            Ok(Own::Planned { statement: Statement::Statement(inner), aside })
        }
        _ => Ok(Own::Planned { statement: Statement::Statement(inner), aside }),
    }
}

/// `ALTER VIEW … RENAME TO`, as the parser has it.
fn renamed_view(renamed: &[RenameTable], names: &Names) -> Result<Own> {
    let [RenameTable { old_name, new_name }] = renamed else {
        return Err(Error::internal("ALTER VIEW of several views"));
    };
    let from = reference(old_name)?;
    let to = names.renamed(&from, new_name)?;
    Ok(Own::RenameView { from, to })
}

/// The columns that a statement adds, if that is all that it does, and in one way.
fn added_columns(operations: &[AlterTableOperation]) -> Option<(Vec<ColumnDef>, Known)> {
    let column = |operation: &AlterTableOperation| match operation {
        AlterTableOperation::AddColumn { column_def, column_position: None, if_not_exists, .. } => {
            Some((column_def.clone(), if *if_not_exists { Known::Keep } else { Known::Fail }))
        }
        _ => None,
    };
    let added: Option<Vec<_>> = operations.iter().map(column).collect();
    let (columns, known): (Vec<_>, Vec<_>) = added?.into_iter().unzip();
    let first = *known.first()?;
    known.iter().all(|known| *known == first).then_some((columns, first))
}

/// The column that a statement lets hold NULL, or forbids to, if that is all that it does.
fn nullability(operations: &[AlterTableOperation]) -> Option<(String, bool)> {
    match operations {
        [AlterTableOperation::AlterColumn { column_name, op }] => match op {
            AlterColumnOperation::DropNotNull => Some((fold(column_name), true)),
            AlterColumnOperation::SetNotNull => Some((fold(column_name), false)),
            _ => None,
        },
        _ => None,
    }
}

/// The columns that a table is to be partitioned by, taken out of the statement: DataFusion does not know
/// them. Those that come with a type are columns of the table's besides the others.
fn take_partitioning(create: &mut CreateTable) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let hive = std::mem::replace(&mut create.hive_distribution, HiveDistributionStyle::NONE);
    if let HiveDistributionStyle::PARTITIONED { columns } = hive {
        names.extend(columns.iter().map(|column| fold(&column.name)));
        create.columns.extend(columns);
    }
    if let Some(by) = create.partition_by.take() {
        let columns = match *by {
            SqlExpr::Tuple(columns) => columns,
            SqlExpr::Nested(column) => vec![*column],
            column => vec![column],
        };
        for column in columns {
            let SqlExpr::Identifier(ident) = &column else {
                return Err(Error::invalid(format!("a table is partitioned by columns, not by {column}")));
            };
            names.push(fold(ident));
        }
    }
    Ok(names)
}

/// The columns that a statement declares NOT NULL.
fn not_null(create: &CreateTable) -> Vec<String> {
    let is_not_null = |column: &&ColumnDef| {
        column.options.iter().any(|option| matches!(option.option, ColumnOption::NotNull))
    };
    create.columns.iter().filter(is_not_null).map(|column| fold(&column.name)).collect()
}

/// A name as the parser has it, folded to lower case where it is not quoted.
pub(super) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The name of a table as the parser has it, its parts folded like all names.
pub(super) fn reference(name: &ObjectName) -> Result<TableReference> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(fold)).collect();
    match parts.unwrap_or_default().as_slice() {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => Err(Error::invalid(format!("{name} is not the name of a table"))),
    }
}

/// Changes that move no rows.
fn change_names(ddl: DdlStatement, aside: Aside, names: &Names) -> Result<u64> {
    let catalog = &names.catalog;
    match ddl {
        DdlStatement::CreateExternalTable(table) => register(&table, names)?,
        DdlStatement::CreateView(view) => create_view(&view, aside, names)?,
        DdlStatement::CreateCatalogSchema(create) => {
            let schema = schema_name(&create.schema_name)?;
            if create.if_not_exists && catalog.has_schema(&schema)? {
                return Ok(0);
            }
            match catalog.create_schema(&schema) {
                Err(error) if create.if_not_exists && error.kind() == ErrorKind::AlreadyExists => {}
                created => created?,
            }
        }
        DdlStatement::DropCatalogSchema(drop) => {
            let schema = match &drop.name {
                SchemaReference::Bare { schema } => SchemaName::parse(schema)?,
                SchemaReference::Full { schema, catalog } if catalog.as_ref() == CATALOG => {
                    SchemaName::parse(schema)?
                }
                SchemaReference::Full { catalog, .. } => return Err(no_catalog(catalog)),
            };
            if drop.if_exists && !catalog.has_schema(&schema)? {
                return Ok(0);
            }
            match catalog.drop_schema(&schema, drop.cascade) {
                Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => {
                    // Somebody else dropped it meanwhile, or something in it.
                    if catalog.has_schema(&schema)? {
                        return Err(error);
                    }
                }
                dropped => dropped?,
            }
        }
        DdlStatement::DropTable(drop) => drop_table(&drop, names)?,
        DdlStatement::DropView(drop) => {
            let view = names.resolve(&drop.name)?;
            match catalog.drop_view(&view) {
                Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => {}
                dropped => dropped?,
            }
        }
        other => return Err(Error::unimplemented(format!("{} is not supported", other.name()))),
    }
    Ok(0)
}

fn register(table: &CreateExternalTable, names: &Names) -> Result<()> {
    if !table.file_type.eq_ignore_ascii_case("parquet") {
        return Err(Error::unimplemented(format!("only PARQUET can be registered, not {}", table.file_type)));
    }
    if table.temporary || table.unbounded || !table.options.is_empty() || !table.order_exprs.is_empty() {
        return Err(Error::unimplemented("CREATE EXTERNAL TABLE takes STORED AS PARQUET and LOCATION only"));
    }
    let [location] = table.locations.as_slice() else {
        return Err(Error::invalid("CREATE EXTERNAL TABLE takes one LOCATION"));
    };
    let name = names.resolve(&table.name)?;
    if table.if_not_exists && names.catalog.exists(&name)? {
        return Ok(());
    }
    match names.catalog.register_dataset(&name, location.trim_end_matches('/'), table.or_replace) {
        Err(error) if table.if_not_exists && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        registered => registered.map(drop),
    }
}

/// Whether a table was perhaps not made because of what is there.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::InvalidArgument)
}

fn create_view(view: &CreateView, aside: Aside, names: &Names) -> Result<()> {
    let Aside::View { sql, if_not_exists } = aside else {
        return Err(Error::internal("a view without its text"));
    };
    let stored = View { sql, schema: names.environment.scope.schema.clone() };
    match names.catalog.create_view(&names.resolve(&view.name)?, &stored, view.or_replace) {
        Err(error) if if_not_exists && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

fn drop_table(drop: &DropTable, names: &Names) -> Result<()> {
    if let Some(temporary) = names.temporary(&drop.name) {
        names.environment.temporary.remove(temporary);
        return Ok(());
    }
    let table = match names.find(&drop.name) {
        Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    match names.catalog.drop_dataset(&table, &DropOptions::default()) {
        Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => Ok(()),
        dropped => dropped.map(|_| ()),
    }
}

/// Brings back what was dropped.
fn undrop(names: &Names, dropped: Undropped) -> Result<u64> {
    let Undropped { kind, name } = dropped;
    let reference = reference(&name)?;
    let (schema, name) = match (kind, &reference) {
        (DroppedKind::Schema, TableReference::Bare { table }) => (SchemaName::parse(table)?, None),
        (DroppedKind::Schema, TableReference::Partial { schema, table }) if schema.as_ref() == CATALOG => {
            (SchemaName::parse(table)?, None)
        }
        (DroppedKind::Schema, _) => {
            return Err(Error::invalid(format!("{name} is not the name of a schema")));
        }
        _ => names.resolve(&reference).map(|dataset| (dataset.schema, Some(dataset.name)))?,
    };
    let wanted = Undrop { kind: Some(kind), schema, name, version: None, new_name: None };
    names.catalog.undrop(&wanted).map(|_| 0)
}

/// Renames a table; a temporary one hides the lasting one of its name from this too.
fn rename(names: &Names, from: &TableReference, to: &DatasetRef) -> Result<u64> {
    if let Some(temporary) = names.temporary(from) {
        names.environment.temporary.rename(temporary, to.name.as_str())?;
        return Ok(0);
    }
    names.catalog.rename_dataset(&names.find(from)?, to).map(|_| 0)
}

fn add_columns(
    names: &Names,
    table: &TableReference,
    mut columns: Vec<FieldRef>,
    known: Known,
) -> Result<u64> {
    if let Some(temporary) = names.temporary(table) {
        return Err(Error::unimplemented(format!("the temporary table {temporary} cannot get more columns")));
    }
    let table = names.find(table)?;
    if known == Known::Keep {
        let schema = names.catalog.describe(&table)?.schema;
        columns.retain(|column| schema.index_of(column.name()).is_err());
        if columns.is_empty() {
            return Ok(0);
        }
    }
    names.catalog.add_columns(&table, columns).map(|()| 0)
}

fn set_nullable(names: &Names, table: &TableReference, column: &str, nullable: bool) -> Result<u64> {
    if let Some(temporary) = names.temporary(table) {
        return Err(Error::unimplemented(format!(
            "the columns of the temporary table {temporary} cannot be changed; make it anew with CREATE OR REPLACE \
             TEMPORARY TABLE"
        )));
    }
    names.catalog.set_nullable(&names.find(table)?, column, nullable).map(|()| 0)
}

/// How often a table is emptied anew whose rows change meanwhile.
const TRUNCATIONS: usize = 100;

/// An empty table with the same columns takes the table's place.
fn truncate(names: &Names, table: &TableReference) -> Result<u64> {
    if let Some(name) = names.temporary(table) {
        let schema = names.environment.temporary.columns(name)?;
        names.sink(&names.resolve(table)?, schema, PutOptions::default(), true)?.finish()?;
        return Ok(0);
    }
    let table = names.find(table)?;
    let mut attempt = 1;
    loop {
        let described = names.catalog.describe(&table)?;
        let before = described.version();
        match empty(&names.catalog, &table, &described) {
            // Somebody else's change came between: these rows go too.
            Err(error)
                if error.kind() == ErrorKind::FailedPrecondition
                    && attempt < TRUNCATIONS
                    && names.catalog.describe(&table)?.version() != before =>
            {
                attempt += 1;
            }
            emptied => return emptied.map(|()| 0),
        }
    }
}

/// Puts no rows in the place of those of a dataset, if it still is what it was described as.
fn empty(catalog: &Arc<Catalog>, table: &DatasetRef, described: &Dataset) -> Result<()> {
    let if_version = Some(described.version().to_string());
    let options = PutOptions { if_version, if_missing: IfMissing::Fail, ..PutOptions::default() };
    Upload::begin(Arc::clone(catalog), table.clone(), described.lasting_schema(), options)?.commit().map(drop)
}

fn schema_name(text: &str) -> Result<SchemaName> {
    match text.split_once('.') {
        Some((CATALOG, schema)) => SchemaName::parse(schema),
        _ => SchemaName::parse(text),
    }
}

fn no_catalog(name: &str) -> Error {
    Error::not_found(format!("there is no catalog {name}; there is {CATALOG}"))
}

/// How a statement's names are looked up.
#[derive(Clone)]
pub(super) struct Names {
    catalog: Arc<Catalog>,
    environment: Environment,
}

impl Names {
    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The dataset that a name means, whether or not it is there.
    pub(super) fn resolve(&self, reference: &TableReference) -> Result<DatasetRef> {
        let ResolvedTableReference { catalog, schema, table } =
            reference.clone().resolve(CATALOG, self.environment.scope.schema.as_str());
        if catalog.as_ref() != CATALOG {
            return Err(no_catalog(&catalog));
        }
        DatasetRef::parse(&schema, &table)
    }

    /// The new name of a table or view. As in other databases, one without a schema stays in the old one's.
    fn renamed(&self, from: &TableReference, to: &ObjectName) -> Result<DatasetRef> {
        let schema = self.resolve(from)?.schema;
        match reference(to)? {
            TableReference::Bare { table } => Ok(DatasetRef { schema, ..DatasetRef::parse("", &table)? }),
            full => self.resolve(&full),
        }
    }

    /// The dataset that a name means and that is there: the very name, or the only one that differs in
    /// case.
    pub(super) fn find(&self, reference: &TableReference) -> Result<DatasetRef> {
        let dataset = self.resolve(reference)?;
        if self.catalog.exists(&dataset)? {
            return Ok(dataset);
        }
        if self.catalog.view(&dataset)?.is_some() {
            return Err(Error::invalid(format!("{dataset} is a view; use the statement for views")));
        }
        if self.catalog.has_schema(&dataset.schema)?
            && let Some(other) = self.catalog.find_ignoring_case(&dataset)?
        {
            return Ok(other);
        }
        Err(self.catalog.no_such_dataset(&dataset))
    }

    /// Whether a table goes by this name.
    fn is_there(&self, reference: &TableReference) -> Result<bool> {
        if self.temporary(reference).is_some() {
            return Ok(true);
        }
        match self.find(reference) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The session's temporary table that a name means: one without a schema means it first.
    pub(super) fn temporary<'a>(&self, reference: &'a TableReference) -> Option<&'a str> {
        match reference {
            TableReference::Bare { table } if self.environment.temporary.contains(table) => Some(table),
            _ => None,
        }
    }

    /// Where the rows of an INSERT go.
    fn insertion(&self, table: &TableReference, schema: SchemaRef, replaces: bool) -> Result<TableSink> {
        let mode = if replaces { PutMode::Replace } else { PutMode::Append };
        let options =
            PutOptions { mode, if_missing: IfMissing::Fail, as_delta: true, ..PutOptions::default() };
        match self.temporary(table) {
            Some(_) => self.sink(&self.resolve(table)?, schema, options, true),
            None => self.sink(&self.find(table)?, schema, options, false),
        }
    }

    fn exists(&self, dataset: &DatasetRef, temporary: bool) -> Result<bool> {
        if temporary {
            Ok(self.environment.temporary.contains(dataset.name.as_str()))
        } else {
            self.catalog.exists(dataset)
        }
    }

    fn sink(
        &self,
        name: &DatasetRef,
        schema: SchemaRef,
        options: PutOptions,
        temporary: bool,
    ) -> Result<TableSink> {
        let catalog = Arc::clone(&self.catalog);
        if temporary {
            return TableSink::temporary(catalog, &self.environment, name, schema, options.mode);
        }
        Ok(TableSink::Dataset(Upload::begin(catalog, name.clone(), schema, options)?))
    }
}
