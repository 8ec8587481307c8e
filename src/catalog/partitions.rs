//! Hive partitions: `key=value` folders that become columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::storage::Part;

/// What Hive writes for a NULL in a partition column.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The partition columns of a dataset, and each part's values for them.
#[derive(Debug)]
pub(super) struct Partitions {
    pub(super) fields: Vec<FieldRef>,
    /// One row per part, in the order of `fields`.
    pub(super) values: Vec<Vec<ScalarValue>>,
}

/// Reads the partition columns off the folders of `parts`. Each column has the first type that all
/// its values have: Int64, Date32 (ISO dates), else Utf8. `declared` fixes columns and types instead.
pub(super) fn partitions_of(parts: &[Part], declared: Option<&[FieldRef]>) -> Result<Partitions> {
    let rows: Vec<Vec<(&str, Option<String>)>> =
        parts.iter().map(|part| part.folders.iter().filter_map(|folder| split(folder)).collect()).collect();
    let keys: Vec<String> = match declared {
        Some(fields) => fields.iter().map(|field| field.name().clone()).collect(),
        None => {
            rows.first().map(|row| row.iter().map(|(key, _)| (*key).to_owned()).collect()).unwrap_or_default()
        }
    };
    for (row, part) in rows.iter().zip(parts) {
        if !row.iter().map(|(key, _)| *key).eq(keys.iter().map(String::as_str)) {
            return Err(Error::precondition(format!(
                "the file {} is not partitioned by ({}) as the dataset is",
                part.path.display(),
                keys.join(", ")
            )));
        }
    }
    let fields: Vec<FieldRef> = match declared {
        Some(fields) => fields.to_vec(),
        None => (0..keys.len())
            .map(|index| {
                let texts = rows.iter().filter_map(|row| row[index].1.as_deref());
                Arc::new(Field::new(&keys[index], infer(&texts), true))
            })
            .collect(),
    };
    let values = rows.iter().zip(parts).map(|(row, part)| {
        row.iter().zip(&fields).map(|((_, text), field)| value(text.as_deref(), field, part)).collect()
    });
    let values = values.collect::<Result<_>>()?;
    Ok(Partitions { fields, values })
}

fn split(folder: &str) -> Option<(&str, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    let value = (value != NULL).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned());
    Some((key, value))
}

fn infer<'a>(texts: &(impl Iterator<Item = &'a str> + Clone)) -> DataType {
    let all = |data_type: &DataType| {
        texts.clone().all(|text| ScalarValue::try_from_string(text.to_owned(), data_type).is_ok())
    };
    if texts.clone().next().is_none() {
        return DataType::Utf8;
    }
    if texts.clone().all(|text| text.parse::<i64>().is_ok()) {
        return DataType::Int64;
    }
    // The cast takes more spellings than ISO's; a year alone, say, must not become a date.
    let iso = texts.clone().all(|text| text.len() == 10 && text.as_bytes()[4] == b'-');
    if iso && all(&DataType::Date32) { DataType::Date32 } else { DataType::Utf8 }
}

fn value(text: Option<&str>, field: &Field, part: &Part) -> Result<ScalarValue> {
    let value = match text {
        None => ScalarValue::try_from(field.data_type()),
        Some(text) => ScalarValue::try_from_string(text.to_owned(), field.data_type()),
    };
    value.map_err(|error| {
        Error::precondition(format!(
            "the folder of {} gives {}={}, which is no {}",
            part.path.display(),
            field.name(),
            text.unwrap_or("NULL"),
            field.data_type()
        ))
        .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(folders: &[&str]) -> Part {
        Part {
            path: "d/x.parquet".into(),
            folders: folders.iter().map(|folder| (*folder).to_owned()).collect(),
        }
    }

    fn types(folders: &[&str]) -> DataType {
        let parts: Vec<_> = folders.iter().map(|folder| part(&[folder])).collect();
        partitions_of(&parts, None).unwrap().fields[0].data_type().clone()
    }

    #[test]
    fn types_follow_from_all_values() {
        assert_eq!(types(&["y=2024", "y=2025"]), DataType::Int64);
        assert_eq!(types(&["y=01", "y=02"]), DataType::Int64);
        assert_eq!(types(&["y=2024", "y=x"]), DataType::Utf8);
        assert_eq!(types(&["d=2024-01-31", "d=__HIVE_DEFAULT_PARTITION__"]), DataType::Date32);
        assert_eq!(types(&["d=__HIVE_DEFAULT_PARTITION__"]), DataType::Utf8);
    }

    #[test]
    fn values_are_decoded_and_null_is_null() {
        let parts = [part(&["k=a%2Fb", "plain"]), part(&["k=__HIVE_DEFAULT_PARTITION__"])];
        let values = partitions_of(&parts, None).unwrap().values;
        assert_eq!(values[0], vec![ScalarValue::from("a/b")]);
        assert!(values[1][0].is_null());
    }

    #[test]
    fn a_part_outside_of_the_partitioning_is_an_error() {
        let parts = [part(&["k=1"]), part(&[])];
        assert!(partitions_of(&parts, None).is_err());
    }
}
