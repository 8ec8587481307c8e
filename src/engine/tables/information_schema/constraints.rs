//! The keys that are declared: `table_constraints`, `key_column_usage` and `referential_constraints`.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::Result as DfResult;

use super::super::{CATALOG, QueryCatalog};
use super::{batch, field, numbers, schema_of, texts};
use crate::catalog::{DatasetRef, ForeignKey, Keys};

fn text(name: &str) -> Field {
    field(name, DataType::Utf8, false)
}

/// What a constraint and its table are called.
fn named(columns: Vec<Field>) -> SchemaRef {
    let names = ["constraint_catalog", "constraint_schema", "constraint_name"];
    let tables = ["table_catalog", "table_schema", "table_name"];
    schema_of(names.into_iter().chain(tables).map(text).chain(columns).collect())
}

pub(super) fn table_constraints_schema() -> SchemaRef {
    named(["constraint_type", "is_deferrable", "initially_deferred", "enforced"].map(text).to_vec())
}

pub(super) async fn table_constraints(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let keys = datasets.keys().await?;
    let rows: Vec<_> = keys.iter().flat_map(|(dataset, keys)| constraints(dataset, keys)).collect();
    let always = |value: &'static str| texts(rows.iter().map(|_| Some(value)));
    let schemas = || texts(rows.iter().map(|row| Some(row.dataset.schema.as_str())));
    batch(
        &table_constraints_schema(),
        vec![
            always(CATALOG),
            schemas(),
            texts(rows.iter().map(|row| Some(row.name))),
            always(CATALOG),
            schemas(),
            texts(rows.iter().map(|row| Some(row.dataset.name.as_str()))),
            texts(
                rows.iter()
                    .map(|row| Some(if row.foreign.is_some() { "FOREIGN KEY" } else { "PRIMARY KEY" })),
            ),
            always("NO"),
            always("NO"),
            always("NO"),
        ],
    )
}

pub(super) fn key_column_usage_schema() -> SchemaRef {
    let position = |name, nullable| field(name, DataType::Int32, nullable);
    named(vec![
        text("column_name"),
        position("ordinal_position", false),
        position("position_in_unique_constraint", true),
    ])
}

pub(super) async fn key_column_usage(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let keys = datasets.keys().await?;
    let constraints = keys.iter().flat_map(|(dataset, keys)| constraints(dataset, keys));
    let rows: Vec<_> = constraints
        .flat_map(|constraint| {
            let places = constraint.columns.iter().zip(1..);
            places.map(move |(column, place)| (constraint, column, place))
        })
        .collect();
    let catalogs = || texts(rows.iter().map(|_| Some(CATALOG)));
    let schemas = || texts(rows.iter().map(|(row, _, _)| Some(row.dataset.schema.as_str())));
    batch(
        &key_column_usage_schema(),
        vec![
            catalogs(),
            schemas(),
            texts(rows.iter().map(|(row, _, _)| Some(row.name))),
            catalogs(),
            schemas(),
            texts(rows.iter().map(|(row, _, _)| Some(row.dataset.name.as_str()))),
            texts(rows.iter().map(|(_, column, _)| Some(column))),
            numbers(rows.iter().map(|(_, _, place)| Some(*place))),
            numbers(rows.iter().map(|(row, _, place)| row.foreign.map(|_| *place))),
        ],
    )
}

pub(super) fn referential_constraints_schema() -> SchemaRef {
    let mut fields: Vec<Field> =
        ["constraint_catalog", "constraint_schema", "constraint_name"].map(text).to_vec();
    let unique = ["unique_constraint_catalog", "unique_constraint_schema", "unique_constraint_name"];
    fields.extend(unique.map(|name| field(name, DataType::Utf8, true)));
    fields.extend(["match_option", "update_rule", "delete_rule"].map(text));
    schema_of(fields)
}

pub(super) async fn referential_constraints(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let keys = datasets.keys().await?;
    let constraints = keys.iter().flat_map(|(dataset, keys)| constraints(dataset, keys));
    let rows: Vec<_> = constraints.filter_map(|row| Some((row, row.foreign?))).collect();
    let catalogs = || texts(rows.iter().map(|_| Some(CATALOG)));
    let unique = |key: &ForeignKey| {
        let (_, keys) = keys.iter().find(|(dataset, _)| key.refers_to(dataset))?;
        Some(keys.primary.as_ref()?.name.clone())
    };
    batch(
        &referential_constraints_schema(),
        vec![
            catalogs(),
            texts(rows.iter().map(|(row, _)| Some(row.dataset.schema.as_str()))),
            texts(rows.iter().map(|(row, _)| Some(row.name))),
            catalogs(),
            texts(rows.iter().map(|(_, key)| Some(&key.schema))),
            texts(rows.iter().map(|(_, key)| unique(key))),
            texts(rows.iter().map(|_| Some("NONE"))),
            texts(rows.iter().map(|(_, key)| Some(key.on_update.as_str()))),
            texts(rows.iter().map(|(_, key)| Some(key.on_delete.as_str()))),
        ],
    )
}

/// One constraint.
#[derive(Clone, Copy)]
struct Constraint<'a> {
    dataset: &'a DatasetRef,
    name: &'a str,
    columns: &'a [String],
    /// `None`: it is the primary key.
    foreign: Option<&'a ForeignKey>,
}

fn constraints<'a>(dataset: &'a DatasetRef, keys: &'a Keys) -> impl Iterator<Item = Constraint<'a>> {
    let primary = keys.primary.iter();
    let primary =
        primary.map(move |key| Constraint { dataset, name: &key.name, columns: &key.columns, foreign: None });
    let foreign = keys.foreign.iter();
    let foreign = foreign.map(move |key| Constraint {
        dataset,
        name: &key.name,
        columns: &key.columns,
        foreign: Some(key),
    });
    primary.chain(foreign)
}
