//! Where the columns of a result come from, for drivers that ask (JDBC's `getTableName`).

use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The column of a table that a column of a result is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The table's schema; empty where the statement names a table of its own.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Its column.
    pub column: String,
}

/// For each column of a plan's result what it is of which table, where it is no more than that.
pub(in crate::engine) fn origins(plan: &LogicalPlan) -> Vec<Option<Origin>> {
    (0..plan.schema().fields().len()).map(|place| origin(plan, place)).collect()
}

fn origin(plan: &LogicalPlan, place: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::Projection(projection) => of_expression(projection.expr.get(place)?, &projection.input),
        LogicalPlan::Aggregate(aggregate) => {
            of_expression(aggregate.group_expr.get(place)?, &aggregate.input)
        }
        LogicalPlan::Window(window) => {
            (place < window.input.schema().fields().len()).then(|| origin(&window.input, place)).flatten()
        }
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, place),
        LogicalPlan::Filter(filter) => origin(&filter.input, place),
        LogicalPlan::Sort(sort) => origin(&sort.input, place),
        LogicalPlan::Limit(limit) => origin(&limit.input, place),
        LogicalPlan::TableScan(scan) => {
            let schema = scan.projected_schema.as_ref();
            let column = schema.fields().get(place)?.name().clone();
            Some(Origin {
                schema: schema_of(&scan.table_name),
                table: scan.table_name.table().to_owned(),
                column,
            })
        }
        // In which input a column is, its name tells.
        LogicalPlan::Join(join) => {
            let column = Column::from(plan.schema().qualified_field(place));
            let inputs = [&join.left, &join.right].into_iter();
            let mut found = inputs.filter_map(|input| Some((input, place_of(input.schema(), &column)?)));
            let (input, place) = found.next()?;
            found.next().is_none().then(|| origin(input, place)).flatten()
        }
        _ => None,
    }
}

fn of_expression(expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    match expr {
        Expr::Column(column) => origin(input, place_of(input.schema(), column)?),
        Expr::Alias(alias) => of_expression(&alias.expr, input),
        _ => None,
    }
}

fn place_of(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

fn schema_of(table: &TableReference) -> String {
    table.schema().unwrap_or_default().to_owned()
}
