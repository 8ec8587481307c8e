//! What an upload may take the place of: accidents show in what was there before.

use std::collections::HashSet;

use arrow::datatypes::Schema;

use super::dataset::Dataset;
use super::name::DatasetRef;
use super::store::Catalog;
use super::write::{PutMode, PutOptions};
use crate::error::{Error, ErrorKind, Result};

/// What every upload may do to the dataset that it replaces.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplaceOptions {
    /// The share of a dataset's rows that may go, from 0 to 1; `None`: all.
    pub max_shrink: Option<f64>,
    /// Whether a dataset is only replaced by one that shares a column with it.
    pub same_columns: bool,
}

/// Which of the catalog's [`ReplaceOptions`] hold for an upload. By default none: a statement of SQL says what it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guards {
    /// The limit on how many rows may go.
    pub shrink: bool,
    /// That there is a column in common.
    pub schema: bool,
}

impl Guards {
    /// All of them.
    pub fn all() -> Self {
        Self { shrink: true, schema: true }
    }
}

impl Catalog {
    /// Fails where columns of `schema` may not replace those of `dataset`, before their rows are sent.
    pub(super) fn check_columns(
        &self,
        dataset: &DatasetRef,
        schema: &Schema,
        options: &PutOptions,
    ) -> Result<()> {
        if !self.options.replace.same_columns || !options.guards.schema {
            return Ok(());
        }
        match self.to_be_replaced(dataset, options)? {
            Some(before) if is_other(schema, &before.schema) => Err(other_columns(dataset)),
            _ => Ok(()),
        }
    }

    /// Fails where `rows` rows of `schema` may not replace `dataset`. Takes note of a replacement that has nothing in
    /// common with it.
    pub(super) fn check_replaced(
        &self,
        dataset: &DatasetRef,
        schema: &Schema,
        rows: u64,
        options: &PutOptions,
    ) -> Result<()> {
        let Guards { shrink, schema: columns } = options.guards;
        if !shrink && !columns {
            return Ok(());
        }
        let Some(before) = self.to_be_replaced(dataset, options)? else { return Ok(()) };
        if is_other(schema, &before.schema) {
            if columns && self.options.replace.same_columns {
                return Err(other_columns(dataset));
            }
            let (old, new) = (names(&before.schema), names(schema));
            tracing::warn!(%dataset, rows = before.rows(), old, new, "replaced by an upload of other columns");
        }
        match self.options.replace.max_shrink {
            Some(share) if shrink && shrinks_more(before.rows(), rows, share) => {
                Err(Error::precondition(format!(
                    "dataset {dataset} has {} rows and the upload {rows}, which is less than the setting max-shrink \
                     ({share}) lets remain; nothing was stored. If it is meant, send x-airstrip-allow: shrink (an \
                     ingest: the option allow), or drop the dataset first",
                    before.rows()
                )))
            }
            _ => Ok(()),
        }
    }

    /// The dataset that an upload replaces; `None` where there is none, or none that can be read.
    fn to_be_replaced(&self, dataset: &DatasetRef, options: &PutOptions) -> Result<Option<Dataset>> {
        if options.mode != PutMode::Replace || !self.exists(dataset)? {
            return Ok(None);
        }
        match self.describe(dataset) {
            Ok(before) => Ok(Some(before)),
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => Err(error),
            // A damaged one is replaced to mend it.
            Err(error) => {
                tracing::warn!(%dataset, %error, "an upload replaces a dataset that cannot be read");
                Ok(None)
            }
        }
    }
}

/// Whether two schemas have no column's name in common.
fn is_other(new: &Schema, old: &Schema) -> bool {
    let known: HashSet<String> = old.fields().iter().map(|field| field.name().to_lowercase()).collect();
    !known.is_empty() && !new.fields().iter().any(|field| known.contains(&field.name().to_lowercase()))
}

fn other_columns(dataset: &DatasetRef) -> Error {
    Error::precondition(format!(
        "the upload has no column in common with dataset {dataset}, which the setting strict-replace does not let it \
         replace; nothing was stored. If it is meant, send x-airstrip-allow: other-schema (an ingest: the option allow), or \
         drop the dataset first"
    ))
}

// Shares of numbers of rows need no exactness.
#[allow(clippy::cast_precision_loss)]
fn shrinks_more(before: u64, after: u64, share: f64) -> bool {
    (before.saturating_sub(after)) as f64 > before as f64 * share
}

/// The first columns' names, for the log.
fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().take(8).map(|field| field.name().as_str()).collect();
    names.join(", ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn a_share_of_the_rows_may_go() {
        for (before, after, share, is_refused) in [
            (100, 50, 0.5, false),
            (100, 49, 0.5, true),
            (100, 200, 0.0, false),
            (100, 99, 0.0, true),
            (0, 0, 0.0, false),
            (100, 0, 1.0, false),
        ] {
            assert_eq!(shrinks_more(before, after, share), is_refused, "{before} {after} {share}");
        }
    }

    #[test]
    fn other_columns_are_those_without_a_common_name() {
        let schema = |names: &[&str]| {
            let field = |name: &&str| Field::new(*name, DataType::Int64, true);
            Schema::new(names.iter().map(field).collect::<Vec<_>>())
        };
        assert!(is_other(&schema(&["a"]), &schema(&["b", "c"])));
        assert!(!is_other(&schema(&["a", "x"]), &schema(&["b", "A"])));
        assert!(!is_other(&schema(&["a"]), &schema(&[])), "there was nothing to lose");
    }
}
