//! `SHOW …` and `DESCRIBE`, as queries of `information_schema`.

use arrow::datatypes::FieldRef;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    ObjectName, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn, ShowStatementInParentType,
    ShowStatementOptions, Statement,
};

use super::super::write::reference;
use super::clauses::refuse;
use crate::engine::tables::CATALOG;
use crate::error::{Error, Result};
use crate::storage::sql_type;

/// The query that a SHOW statement stands for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) struct Listing {
    pub(in crate::engine) sql: String,
    /// The schema that it is about, which must be there.
    pub(in crate::engine) schema: Option<String>,
}

/// What is listed: the columns and the table, the one that LIKE is about, and conditions besides.
struct Listed {
    query: &'static str,
    name: &'static str,
    order: &'static str,
    conditions: Vec<String>,
}

/// The query of `statement`; `None` where it is none that lists things, or DataFusion plans it itself.
pub(in crate::engine) fn listing(statement: &Statement) -> Result<Option<Listing>> {
    let (listed, options) = match statement {
        Statement::ShowTables { terse, history, extended, full: _, external, show_options } => {
            refuse(&[
                (*terse, "TERSE"),
                (*history, "HISTORY"),
                (*extended, "EXTENDED"),
                (*external, "EXTERNAL of SHOW"),
            ])?;
            (tables(&[]), show_options)
        }
        Statement::ShowViews { terse, materialized, show_options } => {
            refuse(&[(*terse, "TERSE"), (*materialized, "MATERIALIZED")])?;
            (tables(&["table_type = 'VIEW'", "table_schema <> 'information_schema'"]), show_options)
        }
        Statement::ShowSchemas { terse, history, show_options }
        | Statement::ShowDatabases { terse, history, show_options } => {
            refuse(&[(*terse, "TERSE"), (*history, "HISTORY")])?;
            return schemas(show_options).map(Some);
        }
        Statement::ShowCatalogs { terse, history, show_options } => {
            refuse(&[
                (*terse, "TERSE"),
                (*history, "HISTORY"),
                (show_options.show_in.is_some(), "IN of SHOW CATALOGS"),
            ])?;
            let query = "SELECT DISTINCT catalog_name FROM information_schema.schemata";
            (
                Listed { query, name: "catalog_name", order: "catalog_name", conditions: Vec::new() },
                show_options,
            )
        }
        Statement::ExplainTable { describe_alias: _, hive_format, has_table_keyword: _, table_name: _ } => {
            refuse(&[(hive_format.is_some(), "EXTENDED and FORMATTED of DESCRIBE")])?;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    let schema = options.show_in.as_ref().map(schema_in).transpose()?;
    let mut listed = listed;
    listed.conditions.extend(schema.as_ref().map(|schema| format!("table_schema = {}", quoted(schema))));
    let sql = finished(listed, options)?;
    Ok(Some(Listing { sql, schema }))
}

fn tables(conditions: &[&str]) -> Listed {
    Listed {
        query: "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables",
        name: "table_name",
        order: "table_schema, table_name",
        conditions: conditions.iter().map(ToString::to_string).collect(),
    }
}

/// `SHOW SCHEMAS`, and `SHOW DATABASES`, which is what others call it.
fn schemas(options: &ShowStatementOptions) -> Result<Listing> {
    if let Some(place) = &options.show_in {
        let name = place.parent_name.as_ref().map(ToString::to_string).unwrap_or_default();
        if name.trim_matches('"') != CATALOG {
            return Err(Error::not_found(format!("there is no catalog {name}; there is {CATALOG}")));
        }
    }
    let listed = Listed {
        query: "SELECT catalog_name, schema_name FROM information_schema.schemata",
        name: "schema_name",
        order: "schema_name",
        conditions: Vec::new(),
    };
    Ok(Listing { sql: finished(listed, options)?, schema: None })
}

/// The schema of `IN s`, `FROM s`, `IN SCHEMA s` or `IN airstrip.s`.
fn schema_in(place: &ShowStatementIn) -> Result<String> {
    let ShowStatementIn { clause: _, parent_type, parent_name } = place;
    match parent_type {
        None | Some(ShowStatementInParentType::Schema | ShowStatementInParentType::Database) => {}
        Some(other) => {
            return Err(Error::unimplemented(format!("IN {other} is not supported; IN schema is")));
        }
    }
    let name = parent_name.as_ref().ok_or_else(|| Error::invalid("IN takes the name of a schema"))?;
    last_of(name)
}

fn last_of(name: &ObjectName) -> Result<String> {
    let parsed = reference(name)?;
    match (parsed.catalog(), parsed.schema()) {
        (Some(_), _) => Err(Error::invalid(format!("{name} is not the name of a schema"))),
        (None, Some(catalog)) if catalog != CATALOG => {
            Err(Error::not_found(format!("there is no catalog {catalog}; there is {CATALOG}")))
        }
        _ => Ok(parsed.table().to_owned()),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The query with the conditions of the statement.
fn finished(listed: Listed, options: &ShowStatementOptions) -> Result<String> {
    let Listed { query, name, order, mut conditions } = listed;
    let ShowStatementOptions { show_in: _, starts_with, limit, limit_from, filter_position } = options;
    refuse(&[(limit_from.is_some(), "FROM behind LIMIT")])?;
    if let Some(filter) = filter_position {
        let (ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) =
            filter;
        conditions.push(match filter {
            ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern) => {
                format!("{name} LIKE {}", quoted(pattern))
            }
            ShowStatementFilter::ILike(pattern) => format!("{name} ILIKE {}", quoted(pattern)),
            ShowStatementFilter::Where(condition) => format!("({condition})"),
        });
    }
    conditions.extend(starts_with.as_ref().map(|start| format!("starts_with({name}, {start})")));
    let filter =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let limit = limit.as_ref().map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
    Ok(format!("{query}{filter} ORDER BY {order}{limit}"))
}

/// A plan of DESCRIBE with SQL's names of types in the place of Arrow's.
pub(in crate::engine) fn with_sql_types(
    plan: LogicalPlan,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    let LogicalPlan::DescribeTable(described) = plan else { return Ok(plan) };
    let row = |field: &FieldRef| {
        let nullable = if field.is_nullable() { "YES" } else { "NO" };
        vec![lit(field.name().as_str()), lit(sql_type(field)), lit(nullable)]
    };
    let rows: Vec<_> = described.schema.fields().iter().map(row).collect();
    if rows.is_empty() {
        return Ok(LogicalPlan::DescribeTable(described));
    }
    let names = described.output_schema.fields().iter().map(|field| field.name().clone());
    let values = LogicalPlanBuilder::values(rows)?.build()?;
    let columns = values.schema().columns().into_iter().map(Expr::Column).zip(names);
    LogicalPlanBuilder::from(values.clone())
        .project(columns.map(|(column, name)| column.alias(name)))?
        .build()
}
