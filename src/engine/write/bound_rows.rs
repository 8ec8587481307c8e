//! INSERTs of any number of bound rows: one query over the client's stream, instead of one for each row.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Values, cast};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Insert, Query, SetExpr, Statement as SqlStatement, Values as SqlValues, Visit, Visitor,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::engine::Engine;
use crate::engine::statement::{Wanted, columns_for, is_text, parse};
use crate::engine::tables::InputTable;
use crate::error::{Error, Result};

/// The name of the stream in the plan.
const TABLE: &str = "__airstrip_bound";

/// Rows of parameters that a client streams.
pub struct BoundRows {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl BoundRows {
    /// The rows of `batches`, one column for each parameter.
    pub fn new(schema: SchemaRef, batches: BoxStream<'static, Result<RecordBatch>>) -> Self {
        Self { schema, batches }
    }

    /// Whether rows of such a schema can be streamed: those of unions take a look at all of them.
    pub fn can_be(schema: &Schema) -> bool {
        let is_union = |field: &Arc<Field>| matches!(field.data_type(), DataType::Union(..));
        !schema.fields().is_empty() && !schema.fields().iter().any(is_union)
    }

    /// The rows as a table whose columns are called by their places: clients name them as they like.
    fn table(self) -> Result<Arc<dyn TableProvider>> {
        let fields = self.schema.fields().iter().enumerate();
        let fields =
            fields.map(|(place, field)| Field::new(place.to_string(), field.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let named = Arc::clone(&schema);
        let named = move |batch: RecordBatch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&named), batch.columns().to_vec(), &options)
                .map_err(|error| Error::invalid(format!("the bound rows are not what they claim: {error}")))
        };
        InputTable::table(schema, self.batches.map(move |batch| batch.and_then(&named)).boxed())
    }
}

impl Engine {
    /// Whether `sql` is an INSERT of one row of VALUES with parameters, and nothing else that could use them.
    pub async fn inserts_values(&self, sql: &str) -> Result<bool> {
        let (sql, limits) = (sql.to_owned(), self.sql);
        self.workers.run(async move { Ok(inserts_values(&parse(&sql, &limits)?)) }).await
    }
}

fn inserts_values(statement: &Statement) -> bool {
    let Statement::Statement(statement) = statement else { return false };
    let SqlStatement::Insert(Insert { source: Some(query), .. }) = statement.as_ref() else { return false };
    let Query { with: None, order_by: None, limit_clause: None, fetch: None, body, .. } = query.as_ref()
    else {
        return false;
    };
    match body.as_ref() {
        SetExpr::Values(values @ SqlValues { rows, .. }) if rows.len() == 1 => {
            values.visit(&mut NoQuery).is_continue()
        }
        _ => false,
    }
}

/// Stops at a query.
struct NoQuery;

impl Visitor for NoQuery {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// The plan of an INSERT with all of `rows` in the place of its one row of VALUES.
pub(in crate::engine) fn over_rows(plan: LogicalPlan, rows: BoundRows) -> Result<LogicalPlan> {
    let wanted = Wanted::of(&plan)?;
    let columns = columns_for(&rows.schema, wanted.parameters())?;
    let values: Vec<(String, Expr)> = wanted
        .parameters()
        .iter()
        .zip(columns)
        .map(|((name, wanted), column)| {
            let value = Expr::Column(Column::new(Some(TABLE), column.to_string()));
            // A text is read as the type that the statement asks for, as it is of a single row.
            let is_read = is_text(rows.schema.field(column).data_type());
            let value = match wanted {
                Some(wanted) if is_read && !is_text(wanted) => cast(value, wanted.clone()),
                _ => value,
            };
            (format!("${name}"), value)
        })
        .collect();
    let source = provider_as_source(rows.table()?);
    let plan = plan.transform_down(|node| {
        let LogicalPlan::Values(Values { schema, values: row }) = &node else {
            return Ok(Transformed::no(node));
        };
        let [row] = row.as_slice() else { return Ok(Transformed::no(node)) };
        let scan = LogicalPlanBuilder::scan(TABLE, Arc::clone(&source), None)?;
        let cells = row.iter().zip(schema.fields()).map(|(cell, field)| {
            let cell = cell.clone().transform_up(|part| match &part {
                Expr::Placeholder(parameter) => {
                    let value = values.iter().find(|(name, _)| *name == parameter.id);
                    Ok(value
                        .map_or(Transformed::no(part.clone()), |(_, value)| Transformed::yes(value.clone())))
                }
                _ => Ok(Transformed::no(part)),
            });
            Ok(cast(cell.data()?, field.data_type().clone()).alias(field.name()))
        });
        let cells = cells.collect::<Result<Vec<_>, datafusion::common::DataFusionError>>()?;
        Ok(Transformed::yes(scan.project(cells)?.build()?))
    });
    Ok(plan.data()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::statement::SqlLimits;

    #[test]
    fn only_one_row_of_plain_values_is_streamed_into() {
        let limits = SqlLimits { bytes: 1 << 20, depth: 100, tables: 500, expressions: 10_000 };
        let inserts = |sql: &str| inserts_values(&parse(sql, &limits).unwrap());
        assert!(inserts("insert into t values (?, ?)"));
        assert!(inserts("insert into t (a, b) values ($1 + 1, cast($2 as date))"));
        for sql in [
            "insert into t values (?, ?), (?, ?)",
            "insert into t values (?, (select max(a) from t where a < ?))",
            "insert into t select a, ? from t",
            "insert into t with x as (select 1) values (?, ?)",
            "insert into t values (?, ?) limit 1",
            "update t set a = ?",
            "delete from t where a = ?",
            "select ?",
        ] {
            assert!(!inserts(sql), "{sql}");
        }
    }
}
