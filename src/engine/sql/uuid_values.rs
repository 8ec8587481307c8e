//! Texts that INSERT and UPDATE give to columns of UUIDs.
//!
//! DataFusion 55.2 refuses them while it plans, before `UuidCasts` could tell what they are (apache/datafusion#12644).
//! Where it has refused, the texts get the cast that somebody could have written.

use std::collections::HashSet;

use arrow::datatypes::Schema;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, CastKind, DataType, Expr, Insert, ObjectName, Query, SelectItem, SetExpr, Statement,
    TableFactor, TableObject, Update,
};

use super::super::write::{fold, reference};
use crate::storage::UUID;

/// Whether an error is that of a value for a column of UUIDs.
pub(super) fn is_about(error: &DataFusionError) -> bool {
    error.to_string().contains("FixedSizeBinary(16)")
}

/// Casts what `statement` gives to columns of UUIDs, and says whether there is such.
pub(super) async fn cast(statement: &mut Statement, state: &SessionState) -> Result<bool> {
    let table = match statement {
        Statement::Insert(Insert { table: TableObject::TableName(name), .. }) => name.clone(),
        Statement::Update(Update { table, .. }) => match &table.relation {
            TableFactor::Table { name, .. } => name.clone(),
            _ => return Ok(false),
        },
        _ => return Ok(false),
    };
    let Ok(table) = reference(&table) else { return Ok(false) };
    let schema = state.schema_for_ref(table.clone())?;
    let Some(table) = schema.table(table.table()).await? else { return Ok(false) };
    let columns = table.schema();
    match statement {
        Statement::Insert(insert) => Ok(cast_inserted(insert, &columns)),
        Statement::Update(update) => Ok(cast_assigned(update, &columns)),
        _ => Ok(false),
    }
}

fn is_uuid(columns: &Schema, name: &str) -> bool {
    columns.field_with_name(name).is_ok_and(|field| field.extension_type_name() == Some(UUID))
}

fn column(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(fold)
}

fn cast_assigned(update: &mut Update, columns: &Schema) -> bool {
    let mut found = false;
    for assignment in &mut update.assignments {
        if let AssignmentTarget::ColumnName(name) = &assignment.target
            && column(name).is_some_and(|name| is_uuid(columns, &name))
        {
            cast_one(&mut assignment.value);
            found = true;
        }
    }
    found
}

fn cast_inserted(insert: &mut Insert, columns: &Schema) -> bool {
    let names: Vec<String> = if insert.columns.is_empty() {
        columns.fields().iter().map(|field| field.name().clone()).collect()
    } else {
        insert.columns.iter().map(|name| column(name).unwrap_or_default()).collect()
    };
    let names = names.iter().enumerate().filter(|(_, name)| is_uuid(columns, name));
    let places: HashSet<usize> = names.map(|(place, _)| place).collect();
    match &mut insert.source {
        Some(source) if !places.is_empty() => cast_rows(source, &places),
        _ => false,
    }
}

/// Casts the columns at `places` of rows that are listed, or of a SELECT that names its columns.
fn cast_rows(source: &mut Query, places: &HashSet<usize>) -> bool {
    match source.body.as_mut() {
        SetExpr::Values(values) => {
            let given = values.rows.iter_mut().flat_map(|row| row.iter_mut().enumerate());
            given.filter(|(place, _)| places.contains(place)).for_each(|(_, value)| cast_one(value));
            true
        }
        SetExpr::Select(select) => {
            let named = |item: &SelectItem| {
                matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
            };
            if !select.projection.iter().all(named) {
                return false;
            }
            for (place, item) in select.projection.iter_mut().enumerate() {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                    && places.contains(&place)
                {
                    cast_one(expr);
                }
            }
            true
        }
        _ => false,
    }
}

fn cast_one(expr: &mut Expr) {
    let value = std::mem::replace(expr, Expr::value(datafusion::sql::sqlparser::ast::Value::Null));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type: DataType::Uuid,
        array: false,
        format: None,
    };
}
