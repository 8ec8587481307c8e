//! Statistics of a dataset, from its files' footers.

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;

use super::dataset::{Dataset, PartFile};
use crate::error::{Error, Result, contain};

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
    pub(super) fn statistics(&self, schema: &SchemaRef) -> Result<Statistics> {
        let metadata = &self.footer.metadata;
        contain(|| DFParquetMetadata::statistics_from_parquet_metadata(metadata, schema))
            .map_err(|why| Error::data_loss(format!("the statistics of {}: {why}", self.path.display())))?
            .map_err(|error| {
                let path = self.path.display();
                Error::data_loss(format!("the statistics of {path} are damaged: {error}")).with_source(error)
            })
    }
}

impl Dataset {
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
        Ok(columns)
    }

    fn partition_stats(&self, index: usize) -> ColumnStats {
        let values = || self.parts.iter().map(|part| (&part.partition_values[index], part.footer.rows()));
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
