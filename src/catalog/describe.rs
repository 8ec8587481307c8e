//! Statistics of a dataset, from its files' footers.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use parquet::arrow::parquet_column;
use parquet::basic::Compression;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics as ChunkStatistics;

use super::dataset::{Dataset, PartFile};
use crate::error::{Error, Result, contain};
use crate::safeguard::Safeguard;
use crate::storage::{Footer, storable, to_logical};

/// What is known of a column's values; `None` where a file's footer does not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnStats {
    /// NULLs, exactly.
    pub null_count: Option<u64>,
    /// The smallest value, exactly.
    pub min: Option<ScalarValue>,
    /// The largest value, exactly.
    pub max: Option<ScalarValue>,
    /// Distinct values, exactly.
    pub distinct_count: Option<u64>,
}

impl PartFile {
    /// The statistics that this file's footer holds for the columns of `schema`.
    pub fn statistics(&self, schema: &SchemaRef) -> Result<Statistics> {
        let statistics = statistics_of(&self.footer, &self.path, schema)?;
        if self.deleted.is_none() {
            return Ok(statistics);
        }
        let rows = Precision::Exact(usize::try_from(self.rows()).unwrap_or(usize::MAX));
        Ok(statistics.to_inexact().with_num_rows(rows))
    }
}

/// The statistics that a footer holds for the columns of `schema`; `path` is for errors.
pub(super) fn statistics_of(footer: &Footer, path: &Path, schema: &SchemaRef) -> Result<Statistics> {
    if schema.fields().is_empty() {
        let rows = usize::try_from(footer.rows()).map_or(Precision::Absent, Precision::Exact);
        return Ok(Statistics::default().with_num_rows(rows));
    }
    let twins = has_twins(schema, &footer.schema).then(|| footer.numbered()).transpose()?;
    let own = if twins.is_some() { by_place(&footer.schema) } else { own_types(schema, &footer.schema) };
    let metadata = twins.as_ref().unwrap_or(&footer.metadata);
    let stored = if twins.is_some() { &own } else { &footer.schema };
    let path = path.display();
    let mut statistics = contain(|| DFParquetMetadata::statistics_from_parquet_metadata(metadata, &own))
        .map_err(|why| Error::data_loss(format!("the statistics of {path}: {why}")))?
        .map_err(|error| {
            Error::data_loss(format!("the statistics of {path} are damaged: {error}")).with_source(error)
        })?;
    let columns = statistics.column_statistics.iter_mut().zip(own.fields()).zip(schema.fields());
    for ((column, own_field), wanted) in columns {
        if Safeguard::GroupBounds.stands() {
            keep_what_is_known(column, own_field, metadata, stored);
        }
        if own_field.data_type() != wanted.data_type() {
            column.min_value = cast(&column.min_value, wanted.name(), wanted.data_type());
            column.max_value = cast(&column.max_value, wanted.name(), wanted.data_type());
        }
    }
    Ok(statistics)
}

/// Whether a file has several columns of one name, and those of `schema` are its own in their order.
fn has_twins(schema: &Schema, stored: &Schema) -> bool {
    let mut known = HashSet::new();
    let is_new = |field: &FieldRef| known.insert(field.name().clone());
    let names =
        |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    !stored.fields().iter().all(is_new) && names(schema) == names(stored)
}

/// The columns of a file as [`Footer::numbered`] calls them.
fn by_place(stored: &Schema) -> SchemaRef {
    let stored = storable(stored);
    let fields = stored.fields().iter().enumerate();
    let fields = fields.map(|(place, field)| Field::clone(field).with_name(place.to_string()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Leaves out what not all row groups of a file tell of a column. DataFusion takes the bounds of those that have
/// some for those of the file (apache/datafusion#25226), and NULLs that nobody counted for none.
fn keep_what_is_known(
    column: &mut ColumnStatistics,
    field: &Field,
    metadata: &ParquetMetaData,
    stored: &Schema,
) {
    // Who wrote it may have estimated.
    column.distinct_count = column.distinct_count.to_inexact();
    if stored.field_with_name(field.name()).is_err() {
        // NULL in all rows.
        return;
    }
    let descriptor = metadata.file_metadata().schema_descr();
    let Some((leaf, _)) = parquet_column(descriptor, stored, field.name()) else {
        // Of nested values.
        *column = ColumnStatistics { byte_size: column.byte_size, ..ColumnStatistics::new_unknown() };
        return;
    };
    let is_required = descriptor.column(leaf).max_def_level() == 0;
    let groups = metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
    let (mut nulls, mut has_min, mut has_max) = (Some(0_u64), true, true);
    for group in groups {
        let told = group.column(leaf).statistics();
        let counted = told.and_then(ChunkStatistics::null_count_opt).or(is_required.then_some(0));
        nulls = nulls.zip(counted).map(|(all, these)| all + these);
        if counted.is_none_or(|nulls| i64::try_from(nulls) != Ok(group.num_rows())) {
            has_min &= told.is_some_and(|told| told.min_bytes_opt().is_some());
            has_max &= told.is_some_and(|told| told.max_bytes_opt().is_some());
        }
    }
    let counted = nulls.and_then(|nulls| usize::try_from(nulls).ok());
    column.null_count = counted.map_or(Precision::Absent, Precision::Exact);
    if !has_min {
        column.min_value = Precision::Absent;
    }
    if !has_max {
        column.max_value = Precision::Absent;
    }
}

/// `schema` in the types that the columns have in a file of the schema `stored`: its statistics are read
/// as those. In a Delta table the two can differ.
fn own_types(schema: &SchemaRef, stored: &Schema) -> SchemaRef {
    let same = |field: &FieldRef| {
        stored.field_with_name(field.name()).map_or(true, |own| own.data_type() == field.data_type())
    };
    if schema.fields().iter().all(same) {
        return Arc::clone(schema);
    }
    let stored = storable(stored);
    let own = |field: &FieldRef| match stored.field_with_name(field.name()) {
        Ok(own) => Arc::new(Field::clone(field).with_data_type(own.data_type().clone())),
        Err(_) => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(own).collect::<Vec<_>>()))
}

/// A bound in another type, as exact as it was; unknown where it has no value there that is the very same.
fn cast(bound: &Precision<ScalarValue>, name: &str, data_type: &DataType) -> Precision<ScalarValue> {
    let same = |value: &ScalarValue| {
        let field = |data_type: DataType| Schema::new(vec![Field::new(name, data_type, true)]);
        let column = value.to_array_of_size(1).ok()?;
        let batch = RecordBatch::try_new(Arc::new(field(value.data_type())), vec![column]).ok()?;
        let given = to_logical(&batch, &Arc::new(field(data_type.clone()))).ok()?;
        ScalarValue::try_from_array(given.column(0), 0).ok()
    };
    match bound {
        Precision::Exact(value) => same(value).map_or(Precision::Absent, Precision::Exact),
        Precision::Inexact(value) => same(value).map_or(Precision::Absent, Precision::Inexact),
        Precision::Absent => Precision::Absent,
    }
}

impl Dataset {
    /// Row groups, over all files.
    pub fn row_groups(&self) -> u64 {
        self.parts.iter().map(|part| part.footer.metadata.num_row_groups() as u64).sum()
    }

    /// How its pages are compressed, sorted.
    pub fn codecs(&self) -> Vec<String> {
        let row_groups = self.parts.iter().flat_map(|part| part.footer.metadata.row_groups());
        let codecs = row_groups.flat_map(RowGroupMetaData::columns);
        let codecs: BTreeSet<_> = codecs.map(|column| codec_name(column.compression())).collect();
        codecs.into_iter().collect()
    }

    /// Statistics per column of the schema, over all files.
    pub fn column_stats(&self) -> Result<Vec<ColumnStats>> {
        let per_part: Vec<Statistics> =
            self.parts.iter().map(|part| part.statistics(&self.file_schema)).collect::<Result<_>>()?;
        let merged = Statistics::try_merge_iter(per_part.iter(), &self.file_schema)
            .map_err(|error| Error::internal(format!("merging statistics: {error}")))?;
        let mut columns: Vec<_> = merged.column_statistics.iter().map(known).collect();
        for index in 0..self.partition_fields.len() {
            columns.push(self.partition_stats(index));
        }
        let in_order = (0..self.schema.fields().len()).map(|column| columns.get(self.place(column)).cloned());
        Ok(in_order.map(Option::unwrap_or_default).collect())
    }

    fn partition_stats(&self, index: usize) -> ColumnStats {
        let values = || self.parts.iter().map(|part| (&part.partition_values[index], part.rows()));
        let present = || values().filter(|(value, _)| !value.is_null()).map(|(value, _)| value);
        let pick = |better: std::cmp::Ordering| {
            present().fold(None, |best: Option<&ScalarValue>, value| match best {
                Some(best) if value.partial_cmp(best) != Some(better) => Some(best),
                _ => Some(value),
            })
        };
        let distinct: std::collections::HashSet<_> = present().collect();
        ColumnStats {
            null_count: Some(values().filter(|(value, _)| value.is_null()).map(|(_, rows)| rows).sum()),
            min: pick(std::cmp::Ordering::Less).cloned(),
            max: pick(std::cmp::Ordering::Greater).cloned(),
            distinct_count: Some(distinct.len() as u64),
        }
    }
}

/// The codec's name in lower case, without its level: the level is not stored in a file.
fn codec_name(codec: Compression) -> String {
    let name = codec.to_string().to_lowercase();
    name.split('(').next().unwrap_or_default().to_owned()
}

fn known(column: &ColumnStatistics) -> ColumnStats {
    let count = |precision: &Precision<usize>| match precision {
        Precision::Exact(count) => Some(*count as u64),
        _ => None,
    };
    let value = |precision: &Precision<ScalarValue>| match precision {
        Precision::Exact(value) if !value.is_null() => Some(value.clone()),
        _ => None,
    };
    ColumnStats {
        null_count: count(&column.null_count),
        min: value(&column.min_value),
        max: value(&column.max_value),
        distinct_count: count(&column.distinct_count),
    }
}
