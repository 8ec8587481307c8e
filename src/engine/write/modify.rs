//! Statements that change rows: INSERT, UPDATE, DELETE and MERGE.
//!
//! A statement that changes rows that are there is a query for two things: where those rows lie, and what
//! takes their place. The catalog makes a new version of the table from the answer.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Int32Type, Int64Type, UInt32Type};
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, MergeIntoAction, MergeIntoClause,
    MergeIntoClauseKind, MergeIntoOp, TableSource, Values, WriteOp, cast, ident, lit, when,
};
use datafusion::logical_expr::{JoinType, Projection};
use datafusion::sql::sqlparser::ast::{
    FromTable, Statement as SqlStatement, TableFactor, TableObject, TableWithJoins, UpdateTableFromKind,
};

use super::ddl::reference;
use crate::catalog::RowChange;
use crate::engine::tables::{FILE_COLUMN, ROW_COLUMN};
use crate::error::{Error, Result};
use crate::storage::{BatchSink, Operation};

/// Marks the rows of a MERGE's source, to tell them from rows without a match.
const SOURCE: &str = "__airstrip_source";
/// The clause that a row of a MERGE falls under.
const CLAUSE: &str = "__airstrip_clause";

type DfResult<T> = std::result::Result<T, datafusion::common::DataFusionError>;

/// The table whose rows a statement changes.
pub(in crate::engine) fn target(statement: &SqlStatement) -> Result<TableReference> {
    let of_factor = |table: &TableFactor| match table {
        TableFactor::Table { name, args: None, .. } => reference(name),
        other => Err(Error::invalid(format!("{other} is not the name of a table"))),
    };
    let of_table = |table: &TableWithJoins| match table.joins.as_slice() {
        [] => of_factor(&table.relation),
        _ => Err(Error::unimplemented("joined tables cannot be changed; use MERGE, or UPDATE … FROM")),
    };
    match statement {
        SqlStatement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => reference(name),
            other => Err(Error::invalid(format!("{other} is not the name of a table"))),
        },
        SqlStatement::Update(update) => of_table(&update.table),
        SqlStatement::Delete(delete) => {
            let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
            match tables.as_slice() {
                [table] if delete.using.is_none() && delete.tables.is_empty() => of_table(table),
                _ => Err(Error::unimplemented("DELETE takes one table; use a subquery, or MERGE")),
            }
        }
        SqlStatement::Merge(merge) => of_factor(&merge.table),
        other => Err(Error::internal(format!("{other} changes no rows"))),
    }
}

/// `UPDATE … FROM` as the MERGE that does the same, which is what DataFusion plans; the statement itself where
/// it is no such one.
pub(in crate::engine) fn as_merge(statement: &SqlStatement) -> Result<Option<String>> {
    let SqlStatement::Update(update) = statement else { return Ok(None) };
    let Some(UpdateTableFromKind::BeforeSet(sources) | UpdateTableFromKind::AfterSet(sources)) = &update.from
    else {
        return Ok(None);
    };
    let [source] = sources.as_slice() else {
        return Err(Error::unimplemented(
            "UPDATE … FROM takes one table; join in a subquery: FROM (SELECT …) AS s",
        ));
    };
    if !source.joins.is_empty() {
        return Err(Error::unimplemented(
            "UPDATE … FROM takes one table; join in a subquery: FROM (SELECT …) AS s",
        ));
    }
    let assignments: Vec<_> = update.assignments.iter().map(ToString::to_string).collect();
    let condition = update.selection.as_ref().map_or_else(|| "true".to_owned(), ToString::to_string);
    Ok(Some(format!(
        "MERGE INTO {} USING {} ON {condition} WHEN MATCHED THEN UPDATE SET {}",
        update.table,
        source.relation,
        assignments.join(", ")
    )))
}

/// What an INSERT does: the rows that it adds, and whether they take the place of all that are there.
pub(in crate::engine) fn insertion(plan: LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let LogicalPlan::Dml(DmlStatement { op: WriteOp::Insert(how), input, .. }) = plan else {
        return Err(Error::internal("an INSERT that is planned as something else"));
    };
    let replaces = match how {
        InsertOp::Append => false,
        InsertOp::Overwrite => true,
        InsertOp::Replace => {
            return Err(Error::unimplemented("REPLACE INTO is not supported; use MERGE"));
        }
    };
    Ok((with_nullable_values(Arc::unwrap_or_clone(input))?, replaces))
}

/// The same rows with VALUES that may be NULL. DataFusion has them NOT NULL where their columns are, and then
/// fails in names that nobody gave; who stores the rows names the column.
fn with_nullable_values(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Projection(projection) => {
            let input = with_nullable_values(Arc::unwrap_or_clone(projection.input))?;
            LogicalPlan::Projection(Projection::try_new(projection.expr, Arc::new(input))?)
        }
        LogicalPlan::Values(values) => {
            let fields = values.schema.iter().map(|(qualifier, field)| {
                (qualifier.cloned(), Arc::new(Field::clone(field).with_nullable(true)))
            });
            let schema = DFSchema::new_with_metadata(fields.collect(), values.schema.metadata().clone())?;
            LogicalPlan::Values(Values { schema: Arc::new(schema), ..values })
        }
        other => other,
    })
}

/// The query whose rows tell how a table changes.
pub(in crate::engine) struct Changing {
    /// Gives the table's columns (none for DELETE), [`FILE_COLUMN`], [`ROW_COLUMN`] and, for MERGE, a
    /// column that tells whether the row comes (1), goes (2) or both (0).
    pub(in crate::engine) query: LogicalPlan,
    pub(in crate::engine) shape: Shape,
    pub(in crate::engine) operation: Operation,
}

/// What the rows of a changing query mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Shape {
    Delete,
    Update,
    Merge,
}

/// What a row of a MERGE does.
const REPLACE: i32 = 0;
const INSERT: i32 = 1;
const REMOVE: i32 = 2;

impl Changing {
    /// Reads the plan of a statement; `table` gives the rows of its target with where they lie.
    pub(in crate::engine) fn of(plan: LogicalPlan, table: &Arc<dyn TableSource>) -> Result<Self> {
        let LogicalPlan::Dml(dml) = plan else {
            return Err(Error::internal("a change of rows that is planned as something else"));
        };
        match &dml.op {
            WriteOp::Delete => {
                let operation = Operation::Delete(predicate(&dml.input));
                let input = relocate(&dml.input, table)?;
                let places = places(&input)?;
                let query = LogicalPlanBuilder::from(input).project(places)?.build()?;
                Ok(Self { query, shape: Shape::Delete, operation })
            }
            WriteOp::Update => {
                let LogicalPlan::Projection(values) = dml.input.as_ref() else {
                    return Err(Error::internal("an UPDATE without values"));
                };
                let operation = Operation::Update(predicate(&values.input));
                let input = relocate(&values.input, table)?;
                let columns: Vec<Expr> = values.expr.iter().cloned().chain(places(&input)?).collect();
                let query = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?);
                Ok(Self { query, shape: Shape::Update, operation })
            }
            WriteOp::MergeInto(merge) => {
                let operation = Operation::Merge(Some(merge.on.to_string()));
                Ok(Self { query: merge_query(&dml, merge, table)?, shape: Shape::Merge, operation })
            }
            other => Err(Error::unimplemented(format!("{other} is not supported"))),
        }
    }
}

/// The condition of a statement, for the table's history.
fn predicate(input: &LogicalPlan) -> Option<String> {
    match input {
        LogicalPlan::Filter(filter) => Some(filter.predicate.to_string()),
        _ => None,
    }
}

/// The same plan over `table`, in the place of the first table that it reads: the one that is changed.
fn relocate(plan: &LogicalPlan, table: &Arc<dyn TableSource>) -> DfResult<LogicalPlan> {
    if let LogicalPlan::TableScan(scan) = plan {
        return LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::clone(table), None)?.build();
    }
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let first = inputs.first_mut();
    let first = first.ok_or_else(|| datafusion::common::plan_datafusion_err!("a change without a table"))?;
    *first = relocate(first, table)?;
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// The columns that tell where a row lies.
fn places(input: &LogicalPlan) -> DfResult<Vec<Expr>> {
    [FILE_COLUMN, ROW_COLUMN].iter().map(|name| column_of(input, name)).collect()
}

fn column_of(input: &LogicalPlan, name: &str) -> DfResult<Expr> {
    let found = input.schema().iter().find(|(_, field)| field.name() == name);
    let found = found.map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name())));
    found.ok_or_else(|| datafusion::common::plan_datafusion_err!("a change that lost the column {name}"))
}

/// The rows of a MERGE: target and source joined, each row with what its first clause that applies makes
/// of it.
fn merge_query(dml: &DmlStatement, merge: &MergeIntoOp, table: &Arc<dyn TableSource>) -> Result<LogicalPlan> {
    let target = LogicalPlanBuilder::scan(dml.table_name.clone(), Arc::clone(table), None)?.build()?;
    let source = LogicalPlanBuilder::from(dml.input.as_ref().clone());
    let columns = source.schema().columns().into_iter().map(Expr::Column);
    let source = source.clone().project(columns.chain([lit(true).alias(SOURCE)]))?.build()?;
    let joined = LogicalPlanBuilder::from(target)
        .join_on(source, join_type(&merge.clauses), [merge.on.clone()])?
        .build()?;

    let (file, own) = (column_of(&joined, FILE_COLUMN)?, column_of(&joined, SOURCE)?);
    let applies = |clause: &MergeIntoClause| {
        let state = match clause.kind {
            MergeIntoClauseKind::Matched => file.clone().is_not_null().and(own.clone().is_not_null()),
            MergeIntoClauseKind::NotMatched | MergeIntoClauseKind::NotMatchedByTarget => {
                file.clone().is_null().and(own.clone().is_not_null())
            }
            MergeIntoClauseKind::NotMatchedBySource => file.clone().is_not_null().and(own.clone().is_null()),
        };
        match &clause.predicate {
            Some(predicate) => state.and(predicate.clone()),
            None => state,
        }
    };
    let number = |index: usize| lit(i32::try_from(index).unwrap_or(i32::MAX));
    let clauses = merge.clauses.iter().enumerate();
    let which =
        case(clauses.map(|(index, clause)| (applies(clause), number(index))), ScalarValue::Int32(None))?;
    let all = joined.schema().columns().into_iter().map(Expr::Column);
    let marked = LogicalPlanBuilder::from(joined.clone()).project(all.chain([which.alias(CLAUSE)]))?;
    let chosen = marked.filter(ident(CLAUSE).is_not_null())?;

    let mut outputs = Vec::new();
    for field in dml.target.schema().fields() {
        let values = merge.clauses.iter().enumerate().filter_map(|(index, clause)| {
            let value = value_of(clause, dml, field.name())?;
            Some((ident(CLAUSE).eq(number(index)), cast(value, field.data_type().clone())))
        });
        let nothing = ScalarValue::try_from(field.data_type())?;
        outputs.push(case(values, nothing)?.alias(field.name()));
    }
    outputs.extend([file, column_of(&joined, ROW_COLUMN)?]);
    let actions = merge.clauses.iter().enumerate().map(|(index, clause)| {
        let action = match clause.action {
            MergeIntoAction::Update(_) => REPLACE,
            MergeIntoAction::Insert { .. } => INSERT,
            MergeIntoAction::Delete => REMOVE,
        };
        (ident(CLAUSE).eq(number(index)), lit(action))
    });
    outputs.push(case(actions, ScalarValue::Int32(None))?.alias("__airstrip_action"));
    Ok(chosen.project(outputs)?.build()?)
}

/// Which rows without a match the clauses need.
fn join_type(clauses: &[MergeIntoClause]) -> JoinType {
    let any = |kinds: &[MergeIntoClauseKind]| clauses.iter().any(|clause| kinds.contains(&clause.kind));
    let of_source = any(&[MergeIntoClauseKind::NotMatched, MergeIntoClauseKind::NotMatchedByTarget]);
    let of_target = any(&[MergeIntoClauseKind::NotMatchedBySource]);
    match (of_target, of_source) {
        (true, true) => JoinType::Full,
        (true, false) => JoinType::Left,
        (false, true) => JoinType::Right,
        (false, false) => JoinType::Inner,
    }
}

/// What a clause makes of a column; `None` is NULL.
fn value_of(clause: &MergeIntoClause, dml: &DmlStatement, column: &str) -> Option<Expr> {
    match &clause.action {
        MergeIntoAction::Update(assignments) => {
            let assigned = assignments.iter().find(|(name, _)| name == column);
            let own = || Expr::Column(Column::new(Some(dml.table_name.clone()), column));
            Some(assigned.map_or_else(own, |(_, value)| value.clone()))
        }
        MergeIntoAction::Insert { columns, values } if columns.is_empty() => {
            values.get(dml.target.schema().index_of(column).ok()?).cloned()
        }
        MergeIntoAction::Insert { columns, values } => {
            values.get(columns.iter().position(|name| name == column)?).cloned()
        }
        MergeIntoAction::Delete => None,
    }
}

/// The value of the first condition that holds, else `otherwise`.
fn case(branches: impl Iterator<Item = (Expr, Expr)>, otherwise: ScalarValue) -> DfResult<Expr> {
    let mut branches = branches;
    let Some((condition, value)) = branches.next() else { return Ok(Expr::Literal(otherwise, None)) };
    let first = when(condition, value);
    let mut built = branches.fold(first, |mut built, (condition, value)| built.when(condition, value));
    built.otherwise(Expr::Literal(otherwise, None))
}

/// Takes the rows of a changing query.
pub struct ChangeSink {
    change: RowChange,
    shape: Shape,
    count: u64,
}

impl ChangeSink {
    pub(in crate::engine) fn new(change: RowChange, shape: Shape) -> Self {
        Self { change, shape, count: 0 }
    }

    /// Publishes the change, and says how many rows it was. Blocks.
    pub(in crate::engine) fn finish(self) -> Result<u64> {
        self.change.commit()?;
        Ok(self.count)
    }

    fn remove(&mut self, batch: &RecordBatch, at: usize) -> Result<()> {
        let files = batch.column(at).as_primitive_opt::<UInt32Type>();
        let rows = batch.column(at + 1).as_primitive_opt::<Int64Type>();
        match files.zip(rows) {
            Some((files, rows)) => self.change.remove(files, rows),
            None => Err(Error::internal("rows without their places")),
        }
    }

    fn merge(&mut self, batch: &RecordBatch, columns: usize) -> Result<()> {
        let picked = |wanted: fn(i32) -> bool| {
            let actions = batch.column(columns + 2).as_primitive_opt::<Int32Type>();
            let actions = actions.ok_or_else(|| Error::internal("rows without an action"))?;
            let mask: arrow::array::BooleanArray =
                actions.iter().map(|action| Some(action.is_some_and(wanted))).collect();
            arrow::compute::filter_record_batch(batch, &mask)
                .map_err(|error| Error::internal(format!("picking rows of a MERGE: {error}")))
        };
        self.remove(&picked(|action| action != INSERT)?, columns)?;
        self.insert(&picked(|action| action != REMOVE)?, columns)
    }

    fn insert(&mut self, batch: &RecordBatch, columns: usize) -> Result<()> {
        let places: Vec<usize> = (0..columns).collect();
        let rows = batch
            .project(&places)
            .map_err(|error| Error::internal(format!("the columns of changed rows: {error}")))?;
        self.change.insert(&rows)
    }
}

impl BatchSink for ChangeSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.count += batch.num_rows() as u64;
        let columns = self.change.snapshot().dataset.schema.fields().len();
        match self.shape {
            Shape::Delete => self.remove(batch, 0),
            Shape::Update => {
                self.remove(batch, columns)?;
                self.insert(batch, columns)
            }
            Shape::Merge => self.merge(batch, columns),
        }
    }
}
