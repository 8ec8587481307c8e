//! The schema `system`: what the server itself is doing, as tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::DataFusionError;

use crate::engine::run::{Entry, Running};
use crate::error::Result;

/// Makes the rows of a system table when it is read.
pub type Rows = Box<dyn Fn() -> Result<RecordBatch> + Send + Sync>;

/// The tables of the schema.
#[derive(Default)]
pub(in crate::engine) struct SystemSchema {
    tables: RwLock<BTreeMap<&'static str, (SchemaRef, Rows)>>,
}

impl SystemSchema {
    pub(in crate::engine) fn add(&self, name: &'static str, schema: SchemaRef, rows: Rows) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).insert(name, (schema, rows));
    }
}

impl fmt::Debug for SystemSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table_names()).finish()
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.keys().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let Some((schema, rows)) = tables.get(name) else { return Ok(None) };
        let rows = rows()?;
        Ok(Some(Arc::new(MemTable::try_new(Arc::clone(schema), vec![vec![rows]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

/// A column of points in time, in microseconds, UTC.
pub fn time_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

/// The values of a [`time_field`].
pub fn times(values: impl Iterator<Item = Option<SystemTime>>) -> TimestampMicrosecondArray {
    let micros = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    };
    values.map(|time| time.map(micros)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")
}

/// The schema of `system.queries`.
pub(in crate::engine) fn queries_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("user", DataType::Utf8, false),
        Field::new("sql", DataType::Utf8, false),
        Field::new("state", DataType::Utf8, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, false),
        time_field("submitted", false),
        time_field("ended", true),
    ]))
}

/// The rows of `system.queries`.
pub(in crate::engine) fn queries(running: &Running) -> Result<RecordBatch> {
    let entries = running.entries();
    let texts = |text: fn(&Entry) -> &str| {
        Arc::new(StringArray::from_iter_values(entries.iter().map(|entry| text(entry))))
    };
    let numbers = |number: fn(&Entry) -> u64| {
        Arc::new(UInt64Array::from_iter_values(entries.iter().map(|entry| number(entry))))
    };
    let batch = RecordBatch::try_new(
        queries_schema(),
        vec![
            texts(|entry| &entry.id),
            texts(|entry| &entry.user),
            texts(|entry| &entry.sql),
            texts(|entry| entry.state().name()),
            numbers(Entry::rows),
            numbers(Entry::bytes),
            Arc::new(times(entries.iter().map(|entry| Some(entry.submitted)))),
            Arc::new(times(entries.iter().map(|entry| entry.ended()))),
        ],
    );
    batch.map_err(|error| crate::error::Error::internal(format!("listing queries: {error}")))
}
