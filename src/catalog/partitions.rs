//! Hive partitions: `key=value` folders that become columns. Both are percent-encoded as in a URL.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result as DfResult, ScalarValue};
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
/// its values have: Int64, Date32 (ISO dates), else Utf8. `declared` fixes columns and types instead; folders may
/// have further keys then, if they are columns of the files (`in_files`).
pub(super) fn partitions_of(
    parts: &[Part],
    declared: Option<&[FieldRef]>,
    in_files: Option<&Schema>,
) -> Result<Partitions> {
    let is_asked = |key: &str| {
        let is_declared = |fields: &[FieldRef]| fields.iter().any(|field| field.name() == key);
        declared.is_none_or(is_declared) || in_files.is_none_or(|columns| columns.index_of(key).is_err())
    };
    let keys_of = |part: &Part| -> Vec<(String, Option<String>)> {
        let found = part.folders.iter().filter_map(|folder| split(folder));
        found.filter(|(key, _)| is_asked(key)).map(|(key, value)| (key.into_owned(), value)).collect()
    };
    let rows: Vec<Vec<(String, Option<String>)>> = parts.iter().map(keys_of).collect();
    let keys: Vec<String> = match declared {
        Some(fields) => fields.iter().map(|field| field.name().clone()).collect(),
        None => rows.first().map(|row| row.iter().map(|(key, _)| key.clone()).collect()).unwrap_or_default(),
    };
    for (row, part) in rows.iter().zip(parts) {
        if !row.iter().map(|(key, _)| key).eq(keys.iter()) {
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

fn split(folder: &str) -> Option<(Cow<'_, str>, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    let value = (value != NULL).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned());
    Some((percent_decode_str(key).decode_utf8_lossy(), value))
}

/// The value that the folders of a file give for a key: `None` inside is NULL.
#[expect(clippy::option_option, reason = "a key that is not there and one that is NULL are two things")]
pub(super) fn folder_value(path: &Path, key: &str) -> Option<Option<String>> {
    let folders = path.parent()?.components();
    let mut found = folders.filter_map(|folder| split(folder.as_os_str().to_str()?));
    found.find(|(own, _)| own == key).map(|(_, value)| value)
}

/// The value of a type that a folder's text gives.
pub(super) fn parse_value(text: Option<&str>, data_type: &DataType) -> DfResult<ScalarValue> {
    match (text, data_type) {
        (None, _) => ScalarValue::try_from(data_type),
        (Some(_), DataType::Dictionary(keys, values)) => {
            Ok(ScalarValue::Dictionary(keys.clone(), Box::new(parse_value(text, values)?)))
        }
        (Some(text), _) => ScalarValue::try_from_string(text.to_owned(), data_type),
    }
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
    parse_value(text, field.data_type()).map_err(|error| {
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
    use crate::storage::FileStat;

    fn part(folders: &[&str]) -> Part {
        Part {
            path: "d/x.parquet".into(),
            folders: folders.iter().map(|folder| (*folder).to_owned()).collect(),
            stat: FileStat::default(),
        }
    }

    fn types(folders: &[&str]) -> DataType {
        let parts: Vec<_> = folders.iter().map(|folder| part(&[folder])).collect();
        partitions_of(&parts, None, None).unwrap().fields[0].data_type().clone()
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
        let values = partitions_of(&parts, None, None).unwrap().values;
        assert_eq!(values[0], vec![ScalarValue::from("a/b")]);
        assert!(values[1][0].is_null());
    }

    #[test]
    fn keys_are_decoded() {
        let found = partitions_of(&[part(&["a%3Db c=1"])], None, None).unwrap();
        assert_eq!(found.fields[0].name(), "a=b c");
        let value = folder_value(Path::new("d/a%3Db c=x%2Fy/p.parquet"), "a=b c");
        assert_eq!(value, Some(Some("x/y".to_owned())));
    }

    #[test]
    fn keys_that_are_columns_of_the_files_need_not_be_declared() {
        let in_files = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        let parts = [part(&["k=1", "y=2"])];
        let declared = [Arc::new(Field::new("y", DataType::Int64, true))];
        let found = partitions_of(&parts, Some(&declared), Some(&in_files)).unwrap();
        assert_eq!(found.values, [[ScalarValue::from(2_i64)]]);
        assert!(partitions_of(&parts, Some(&declared), None).is_err());
        assert!(partitions_of(&parts, Some(&declared), Some(&Schema::empty())).is_err());
    }

    #[test]
    fn a_part_outside_of_the_partitioning_is_an_error() {
        let parts = [part(&["k=1"]), part(&[])];
        assert!(partitions_of(&parts, None, None).is_err());
    }
}
