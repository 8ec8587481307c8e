//! Keys that are declared and not enforced: for tools that draw diagrams and write joins. They are noted in the metadata
//! of a dataset's schema, and go where that goes.

use std::sync::Arc;

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use super::name::DatasetRef;
use super::store::Catalog;
use crate::error::{Error, Result};
use crate::storage::{Changes, Operation};

/// The note's name in the metadata of a schema.
const NOTE: &str = "airstrip.keys";

/// The keys of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What tells its rows apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryKey>,
    /// What its rows refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<ForeignKey>,
}

/// Columns whose values tell the rows of a dataset apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// The constraint's name.
    pub name: String,
    /// The columns in the key's order.
    pub columns: Vec<String>,
}

/// Columns whose values are those of another dataset's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The columns in the key's order.
    pub columns: Vec<String>,
    /// The schema of the dataset that they refer to.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Its columns, in the same order.
    pub referenced: Vec<String>,
    /// What is declared of a change of what they refer to.
    #[serde(default)]
    pub on_update: KeyRule,
    /// What is declared of its removal.
    #[serde(default)]
    pub on_delete: KeyRule,
}

/// What is declared to happen to rows when what they refer to changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyRule {
    /// The same.
    Cascade,
    /// It is forbidden.
    Restrict,
    /// They refer to nothing.
    SetNull,
    /// It is forbidden by the end of the statement.
    #[default]
    NoAction,
    /// They refer to the default.
    SetDefault,
}

impl KeyRule {
    /// What the standard calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cascade => "CASCADE",
            Self::Restrict => "RESTRICT",
            Self::SetNull => "SET NULL",
            Self::NoAction => "NO ACTION",
            Self::SetDefault => "SET DEFAULT",
        }
    }
}

impl ForeignKey {
    /// Whether it refers to `dataset`.
    #[must_use]
    pub fn refers_to(&self, dataset: &DatasetRef) -> bool {
        self.schema == dataset.schema.as_str() && self.table == dataset.name.as_str()
    }
}

impl Keys {
    /// The keys that are noted in a schema. A note that cannot be read is none.
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        schema.metadata().get(NOTE).and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `schema` with these keys noted.
    pub fn noted_in(&self, schema: &Schema) -> Result<Schema> {
        let mut metadata = schema.metadata().clone();
        metadata.remove(NOTE);
        if !self.is_empty() {
            let note = serde_json::to_string(self)
                .map_err(|error| Error::internal(format!("noting keys of a table: {error}")))?;
            metadata.insert(NOTE.to_owned(), note);
        }
        Ok(Schema::new_with_metadata(schema.fields().clone(), metadata))
    }

    /// Takes the constraint of a name out, and says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = (self.primary.is_some(), self.foreign.len());
        self.primary.take_if(|key| key.name == name);
        self.foreign.retain(|key| key.name != name);
        before != (self.primary.is_some(), self.foreign.len())
    }
}

impl Catalog {
    /// The keys of a dataset.
    pub fn keys(&self, dataset: &DatasetRef) -> Result<Keys> {
        Ok(Keys::of(&self.describe(dataset)?.schema))
    }

    /// The keys of all datasets that have any. A dataset that cannot be read is left out.
    pub fn all_keys(&self) -> Result<Vec<(DatasetRef, Keys)>> {
        let mut found = Vec::new();
        for schema in self.schemas()? {
            for listed in self.list(&schema)? {
                match self.describe_listed(&listed) {
                    Ok(dataset) => found.push((listed.reference, Keys::of(&dataset.schema))),
                    Err(error) if error.is_no_finding() => return Err(error),
                    Err(error) => tracing::debug!(%error, "left out of the keys"),
                }
            }
        }
        found.retain(|(_, keys)| !keys.is_empty());
        Ok(found)
    }

    /// Changes the keys of a dataset, which becomes a Delta table if it is none yet.
    pub fn change_keys(
        self: &Arc<Self>,
        dataset: &DatasetRef,
        change: impl FnOnce(&mut Keys, &Schema) -> Result<()>,
    ) -> Result<()> {
        self.root.check_writable()?;
        let _lock = self.lock(dataset);
        let log = self.promote(dataset)?;
        let version = log.latest()?;
        version.check_changeable()?;
        let before = Keys::of(version.logical());
        let mut keys = before.clone();
        change(&mut keys, version.logical())?;
        if keys == before {
            return Ok(());
        }
        let changes = Changes {
            operation: Operation::SetKeys,
            schema: Some(keys.noted_in(version.logical())?),
            ..Changes::append(Vec::new(), None)
        };
        log.commit(&version, &changes).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_noted_and_read_back() {
        let foreign = ForeignKey {
            name: "t_a_fkey".to_owned(),
            columns: vec!["a".to_owned()],
            schema: "public".to_owned(),
            table: "u".to_owned(),
            referenced: vec!["id".to_owned()],
            on_update: KeyRule::NoAction,
            on_delete: KeyRule::SetNull,
        };
        let primary = PrimaryKey { name: "t_pkey".to_owned(), columns: vec!["id".to_owned()] };
        let mut keys = Keys { primary: Some(primary), foreign: vec![foreign] };
        let noted = keys.noted_in(&Schema::empty()).unwrap();
        assert_eq!(Keys::of(&noted), keys);
        assert!(keys.remove("t_pkey") && !keys.remove("t_pkey") && keys.remove("t_a_fkey"));
        assert_eq!(keys.noted_in(&noted).unwrap(), Schema::empty());
    }
}
