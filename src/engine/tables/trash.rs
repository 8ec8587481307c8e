//! The table `system.trash`: what was dropped or replaced, and can come back.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::catalog::{Catalog, InTrash};
use crate::engine::tables::{time_field, times};
use crate::error::{Error, Result};

/// The schema of `system.trash`.
pub(in crate::engine) fn trash_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("schema", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("why", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, true),
        Field::new("bytes", DataType::UInt64, false),
        time_field("trashed", false),
        time_field("expires", true),
    ]))
}

/// The rows of `system.trash`, the newest first.
pub(in crate::engine) fn in_trash(catalog: &Catalog) -> Result<RecordBatch> {
    let all = catalog.in_trash()?;
    let texts = |text: fn(&InTrash) -> Option<&str>| Arc::new(all.iter().map(text).collect::<StringArray>());
    let batch = RecordBatch::try_new(
        trash_schema(),
        vec![
            texts(|found| Some(&found.schema)),
            texts(|found| Some(&found.name)),
            texts(|found| Some(found.kind.name())),
            texts(|found| Some(found.why.name())),
            texts(|found| found.version.as_deref()),
            Arc::new(UInt64Array::from_iter_values(all.iter().map(|found| found.bytes))),
            Arc::new(times(all.iter().map(|found| Some(found.since)))),
            Arc::new(times(all.iter().map(|found| found.until))),
        ],
    );
    batch.map_err(|error| Error::internal(format!("listing the trash: {error}")))
}
