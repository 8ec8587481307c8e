//! `information_schema.columns`.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::CatalogProvider;
use datafusion::common::Result as DfResult;

use super::super::{CATALOG, INFORMATION_SCHEMA, QueryCatalog};
use super::{batch, field, numbers, schema_of, texts};
use crate::storage::{fraction, sql_type};

struct Column {
    schema: String,
    table: String,
    position: i32,
    field: FieldRef,
    facts: Facts,
}

/// What the standard tells of a type besides its name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    octets: Option<i32>,
    precision: Option<i32>,
    radix: Option<i32>,
    scale: Option<i32>,
    fraction: Option<i32>,
}

impl Facts {
    fn of(data_type: &DataType) -> Self {
        let whole = |bits| Self { precision: Some(bits), radix: Some(2), scale: Some(0), ..Self::default() };
        let float = |bits| Self { precision: Some(bits), radix: Some(2), ..Self::default() };
        match data_type {
            DataType::Int8 | DataType::UInt8 => whole(8),
            DataType::Int16 | DataType::UInt16 => whole(16),
            DataType::Int32 | DataType::UInt32 => whole(32),
            DataType::Int64 | DataType::UInt64 => whole(64),
            DataType::Float16 => float(11),
            DataType::Float32 => float(24),
            DataType::Float64 => float(53),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => Self {
                precision: Some((*precision).into()),
                radix: Some(10),
                scale: Some((*scale).into()),
                ..Self::default()
            },
            DataType::Date32 | DataType::Date64 => Self { fraction: Some(0), ..Self::default() },
            DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => {
                Self { fraction: Some(fraction(*unit)), ..Self::default() }
            }
            DataType::FixedSizeBinary(bytes) => Self { octets: Some(*bytes), ..Self::default() },
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type()),
            _ => Self::default(),
        }
    }
}

pub(super) fn schema() -> SchemaRef {
    let text = |name, nullable| field(name, DataType::Utf8, nullable);
    let number = |name| field(name, DataType::Int32, true);
    schema_of(vec![
        text("table_catalog", false),
        text("table_schema", false),
        text("table_name", false),
        text("column_name", false),
        field("ordinal_position", DataType::Int32, false),
        text("column_default", true),
        text("is_nullable", false),
        text("data_type", false),
        number("character_maximum_length"),
        number("character_octet_length"),
        number("numeric_precision"),
        number("numeric_precision_radix"),
        number("numeric_scale"),
        number("datetime_precision"),
        text("interval_type", true),
        text("is_identity", false),
        text("is_generated", false),
        text("comment", true),
    ])
}

pub(super) async fn rows(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let columns = columns(datasets).await?;
    let nothing = || texts(columns.iter().map(|_| None::<&str>));
    let always = |value: &'static str| texts(columns.iter().map(|_| Some(value)));
    let number =
        |value: fn(&Facts) -> Option<i32>| numbers(columns.iter().map(|column| value(&column.facts)));
    batch(
        &schema(),
        vec![
            always(CATALOG),
            texts(columns.iter().map(|column| Some(&column.schema))),
            texts(columns.iter().map(|column| Some(&column.table))),
            texts(columns.iter().map(|column| Some(column.field.name()))),
            numbers(columns.iter().map(|column| Some(column.position))),
            nothing(),
            texts(columns.iter().map(|column| Some(if column.field.is_nullable() { "YES" } else { "NO" }))),
            texts(columns.iter().map(|column| Some(sql_type(&column.field)))),
            numbers(columns.iter().map(|_| None)),
            number(|facts| facts.octets),
            number(|facts| facts.precision),
            number(|facts| facts.radix),
            number(|facts| facts.scale),
            number(|facts| facts.fraction),
            nothing(),
            always("NO"),
            always("NEVER"),
            texts(columns.iter().map(|column| comment(&column.field))),
        ],
    )
}

/// What a column's own metadata says of it.
fn comment(field: &FieldRef) -> Option<&String> {
    ["comment", "description"].iter().find_map(|key| field.metadata().get(*key))
}

async fn columns(datasets: &QueryCatalog) -> DfResult<Vec<Column>> {
    let mut columns = Vec::new();
    for schema in datasets.schema_names().into_iter().filter(|schema| schema != INFORMATION_SCHEMA) {
        let Some(provider) = datasets.schema(&schema) else { continue };
        for table in provider.table_names() {
            let Some(found) = provider.table(&table).await? else { continue };
            columns.extend(found.schema().fields().iter().zip(1..).map(|(field, position)| Column {
                schema: schema.clone(),
                table: table.clone(),
                position,
                field: field.clone(),
                facts: Facts::of(field.data_type()),
            }));
        }
    }
    Ok(columns)
}
