//! The commands that ask for keys: those that are declared, of any dataset.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    Command, CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    UpdateDeleteRules,
};

use super::super::flight::Handler;
use crate::catalog::{DatasetRef, ForeignKey, KeyRule, Keys};
use crate::engine::CATALOG;
use crate::error::{Error, Result};
use crate::storage::blocking;

/// Which tables are asked for.
struct Wanted<'a> {
    catalog: Option<&'a str>,
    schema: Option<&'a str>,
    table: &'a str,
}

impl<'a> Wanted<'a> {
    fn new(catalog: Option<&'a String>, schema: Option<&'a String>, table: &'a str) -> Self {
        Self { catalog: catalog.map(String::as_str), schema: schema.map(String::as_str), table }
    }

    fn is(&self, schema: &str, table: &str) -> bool {
        self.table == table
            && self.schema.is_none_or(|wanted| wanted == schema)
            && self.catalog.is_none_or(|wanted| wanted == CATALOG)
    }

    fn is_dataset(&self, dataset: &DatasetRef) -> bool {
        self.is(dataset.schema.as_str(), dataset.name.as_str())
    }
}

impl Handler {
    /// The answer to a command that asks for keys, or `None` if `command` is none.
    pub(super) async fn keys(&self, command: &Command) -> Result<Option<RecordBatch>> {
        let Some(schema) = keys_schema(command) else { return Ok(None) };
        let catalog = Arc::clone(self.engine.catalog());
        let all = blocking(move || catalog.all_keys()).await?;
        let columns = match command {
            Command::CommandGetPrimaryKeys(asked) => primary_keys(&all, asked),
            Command::CommandGetImportedKeys(CommandGetImportedKeys { catalog, db_schema, table }) => {
                let wanted = Wanted::new(catalog.as_ref(), db_schema.as_ref(), table);
                references(&all, |own, _| wanted.is_dataset(own))
            }
            Command::CommandGetExportedKeys(CommandGetExportedKeys { catalog, db_schema, table }) => {
                let wanted = Wanted::new(catalog.as_ref(), db_schema.as_ref(), table);
                references(&all, |_, key| wanted.is(&key.schema, &key.table))
            }
            Command::CommandGetCrossReference(asked) => cross_reference(&all, asked),
            _ => return Ok(None),
        };
        RecordBatch::try_new(schema, columns)
            .map(Some)
            .map_err(|error| Error::internal(format!("answering a command for keys: {error}")))
    }
}

/// The schema of that answer.
pub(super) fn keys_schema(command: &Command) -> Option<SchemaRef> {
    match command {
        Command::CommandGetPrimaryKeys(_) => Some(primary_keys_schema()),
        Command::CommandGetImportedKeys(_)
        | Command::CommandGetExportedKeys(_)
        | Command::CommandGetCrossReference(_) => Some(references_schema()),
        _ => None,
    }
}

fn cross_reference(all: &[(DatasetRef, Keys)], asked: &CommandGetCrossReference) -> Vec<ArrayRef> {
    let parent = Wanted::new(asked.pk_catalog.as_ref(), asked.pk_db_schema.as_ref(), &asked.pk_table);
    let child = Wanted::new(asked.fk_catalog.as_ref(), asked.fk_db_schema.as_ref(), &asked.fk_table);
    references(all, |own, key| child.is_dataset(own) && parent.is(&key.schema, &key.table))
}

/// By the names of the columns, as the specification wants it.
fn primary_keys(all: &[(DatasetRef, Keys)], asked: &CommandGetPrimaryKeys) -> Vec<ArrayRef> {
    let wanted = Wanted::new(asked.catalog.as_ref(), asked.db_schema.as_ref(), &asked.table);
    let keys = all.iter().filter(|(dataset, _)| wanted.is_dataset(dataset));
    let keys = keys.filter_map(|(dataset, keys)| Some((dataset, keys.primary.as_ref()?)));
    let mut rows: Vec<_> = keys
        .flat_map(|(dataset, key)| {
            key.columns.iter().zip(1..).map(move |(column, place)| (dataset, key, column, place))
        })
        .collect();
    rows.sort_by_key(|(_, _, column, _)| *column);
    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    vec![
        text(vec![CATALOG; rows.len()]),
        text(rows.iter().map(|(dataset, ..)| dataset.schema.as_str()).collect()),
        text(rows.iter().map(|(dataset, ..)| dataset.name.as_str()).collect()),
        text(rows.iter().map(|(_, _, column, _)| column.as_str()).collect()),
        text(rows.iter().map(|(_, key, _, _)| key.name.as_str()).collect()),
        Arc::new(rows.iter().map(|(.., place)| Some(*place)).collect::<Int32Array>()),
    ]
}

/// The foreign keys of the datasets that `wanted` says yes to, column by column.
fn references(
    all: &[(DatasetRef, Keys)],
    wanted: impl Fn(&DatasetRef, &ForeignKey) -> bool,
) -> Vec<ArrayRef> {
    let keys = all.iter().flat_map(|(own, keys)| keys.foreign.iter().map(move |key| (own, key)));
    let mut keys: Vec<_> = keys.filter(|(own, key)| wanted(own, key)).collect();
    keys.sort_by_key(|(own, key)| {
        (&key.schema, &key.table, own.schema.as_str(), own.name.as_str(), &key.name)
    });
    let columns = |(own, key): (&'_ DatasetRef, &'_ ForeignKey)| {
        let pairs = key.columns.iter().cloned().zip(key.referenced.iter().cloned()).zip(1..);
        pairs.map(|pair| (own.clone(), key.clone(), pair)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = keys.into_iter().flat_map(columns).collect();
    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let of_parent = |key: &ForeignKey| {
        let (_, keys) = all.iter().find(|(dataset, _)| key.refers_to(dataset))?;
        keys.primary.as_ref().map(|key| key.name.clone())
    };
    vec![
        text(vec![CATALOG; rows.len()]),
        text(rows.iter().map(|(_, key, _)| key.schema.as_str()).collect()),
        text(rows.iter().map(|(_, key, _)| key.table.as_str()).collect()),
        text(rows.iter().map(|(_, _, ((_, referenced), _))| referenced.as_str()).collect()),
        text(vec![CATALOG; rows.len()]),
        text(rows.iter().map(|(own, ..)| own.schema.as_str()).collect()),
        text(rows.iter().map(|(own, ..)| own.name.as_str()).collect()),
        text(rows.iter().map(|(_, _, ((column, _), _))| column.as_str()).collect()),
        Arc::new(rows.iter().map(|(_, _, (_, place))| Some(*place)).collect::<Int32Array>()),
        text(rows.iter().map(|(_, key, _)| key.name.as_str()).collect()),
        Arc::new(rows.iter().map(|(_, key, _)| of_parent(key)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|(_, key, _)| Some(rule(key.on_update))).collect::<UInt8Array>()),
        Arc::new(rows.iter().map(|(_, key, _)| Some(rule(key.on_delete))).collect::<UInt8Array>()),
    ]
}

fn rule(rule: KeyRule) -> u8 {
    let rule = match rule {
        KeyRule::Cascade => UpdateDeleteRules::Cascade,
        KeyRule::Restrict => UpdateDeleteRules::Restrict,
        KeyRule::SetNull => UpdateDeleteRules::SetNull,
        KeyRule::NoAction => UpdateDeleteRules::NoAction,
        KeyRule::SetDefault => UpdateDeleteRules::SetDefault,
    };
    u8::try_from(rule as i32).unwrap_or_default()
}

fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn references_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}
