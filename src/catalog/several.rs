//! Folders in which several tables lie side by side, which are not to be glued together.

use std::collections::HashSet;
use std::path::Path;

use arrow::datatypes::Schema;

use super::dataset::PartFile;
use super::name::DatasetRef;
use crate::error::{Error, Result};

/// So many different lists of columns are compared with each other; a folder of more is taken for one table whose
/// columns change all the time.
const COMPARED: usize = 64;
/// Columns that an error names of each file.
const NAMED: usize = 5;

/// Fails where the files of a directory dataset are of several tables.
pub(super) fn check_one_table(
    dataset: &DatasetRef,
    base: &Path,
    keys: usize,
    parts: &[PartFile],
) -> Result<()> {
    let schemas: Vec<&Schema> = parts.iter().map(|part| part.footer.schema.as_ref()).collect();
    let Some((one, other)) = of_several_tables(&schemas, keys) else { return Ok(()) };
    let folder = base.display();
    let file = parts[other].path.strip_prefix(base).unwrap_or(&parts[other].path).display();
    let way_out = if base.components().count() == 1 {
        format!(
            "name the folder {folder}.db, and each of the files and folders in it is a table of that schema; or "
        )
    } else {
        String::new()
    };
    Err(Error::precondition(format!(
        "dataset {dataset} has files of several tables: {} has the columns {}, {} has {}; {way_out}make one of them a \
         table: CREATE EXTERNAL TABLE … STORED AS PARQUET LOCATION '{folder}/{file}' (or the action register_dataset)",
        parts[one].path.display(),
        names(schemas[one]),
        parts[other].path.display(),
        names(schemas[other]),
    )))
}

/// Whether files of these columns are rows of one table.
#[cfg(test)]
fn are_of_one_table(schemas: &[&Schema]) -> bool {
    of_several_tables(schemas, 0).is_none()
}

/// The places of two files that are of different tables. Files that share most of the columns of one of them are of
/// one table, and so are files that are so related through others: columns come and go over time. All files share the
/// `keys` columns of their folders.
fn of_several_tables(schemas: &[&Schema], keys: usize) -> Option<(usize, usize)> {
    // The first file of each list of columns.
    let mut lists: Vec<usize> = Vec::new();
    for (place, schema) in schemas.iter().enumerate() {
        // The last list first: writers come in runs.
        if lists.iter().rev().any(|list| has_columns_of(schema, schemas[*list])) {
            continue;
        }
        if lists.len() >= COMPARED {
            return None;
        }
        lists.push(place);
    }
    let (first, rest) = lists.split_first()?;
    let mut related = vec![*first];
    let mut others = rest.to_vec();
    let mut next = 0;
    while let Some(one) = related.get(next).copied() {
        next += 1;
        let columns: HashSet<&str> =
            schemas[one].fields().iter().map(|field| field.name().as_str()).collect();
        others.retain(|other| {
            let fields = schemas[*other].fields();
            let shared = fields.iter().filter(|field| columns.contains(field.name().as_str())).count();
            let fewer = columns.len().min(fields.len());
            let is_related = 2 * (shared + keys) > fewer + keys || fewer == 0;
            if is_related {
                related.push(*other);
            }
            !is_related
        });
    }
    others.first().map(|other| (*first, *other))
}

fn has_columns_of(one: &Schema, other: &Schema) -> bool {
    std::ptr::eq(one, other)
        || (one.fields().len() == other.fields().len()
            && one.fields().iter().zip(other.fields()).all(|(one, other)| one.name() == other.name()))
}

fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema.fields().iter().take(NAMED).map(|field| field.name().as_str()).collect();
    let more = if schema.fields().len() > NAMED { ", …" } else { "" };
    format!("({}{more})", names.join(", "))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn check(files: &[&str]) -> bool {
        let schema = |file: &&str| {
            let columns = file.split_whitespace().map(|name| Field::new(name, DataType::Int64, true));
            Schema::new(columns.collect::<Vec<_>>())
        };
        let schemas: Vec<Schema> = files.iter().map(schema).collect();
        are_of_one_table(&schemas.iter().collect::<Vec<_>>())
    }

    #[test]
    fn files_that_share_most_columns_are_of_one_table() {
        assert!(check(&[]));
        assert!(check(&["id v", "id v", "v id"]));
        assert!(check(&["id v", "id v w", "id w"]));
        assert!(check(&["id", "id a b c d e"]));
        // Related through the one between them.
        assert!(check(&["a b c", "b c d", "c d e", "d e f"]));
        let changing: Vec<String> = (0..100).map(|place| format!("c{place}")).collect();
        assert!(check(&changing.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn files_that_share_few_columns_are_of_several() {
        assert!(!check(&["id customer total", "id name city"]));
        assert!(!check(&["id total", "id name"]));
        assert!(!check(&["a", "b"]));
        assert!(!check(&["id customer total", "id customer total", "name city"]));
    }

    #[test]
    fn keys_of_folders_are_shared() {
        let fields = |names: &[&str]| {
            Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>())
        };
        let (one, other) = (fields(&["id", "v"]), fields(&["id", "w"]));
        assert!(of_several_tables(&[&one, &other], 0).is_some());
        assert!(of_several_tables(&[&one, &other], 1).is_none());
    }
}
