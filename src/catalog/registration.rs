//! `NAME.dataset.json`: a dataset whose Parquet lies elsewhere.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_ipc_buffer;

use crate::error::{Error, Result, contain};
use crate::proto;
use crate::storage::Area;

/// The directories that a registration may point into.
#[derive(Debug)]
pub(super) struct Allowed {
    areas: Vec<Area>,
}

impl Allowed {
    /// Opens the directories at `paths`.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| {
            Area::open(path).map_err(|error| {
                Error::invalid(format!("cannot open {} (register-from): {error}", path.display()))
            })
        };
        Ok(Self { areas: paths.iter().map(open).collect::<Result<_>>()? })
    }

    /// The area that `path` lies in and its path there: a relative path lies in `root`, an absolute
    /// one in the root or below an allowed directory, and no other path exists.
    pub(super) fn resolve<'a>(&'a self, root: &'a Area, path: &str) -> Result<(&'a Area, PathBuf)> {
        let refused = || {
            Error::invalid(format!(
                "{path:?} lies neither in the root nor below a directory of --register-from; \
                 give a path relative to the root, or have the operator allow the directory"
            ))
        };
        let asked = Path::new(path);
        let (area, inner) = if asked.is_absolute() {
            std::iter::once(root)
                .chain(&self.areas)
                .find_map(|area| Some((area, asked.strip_prefix(area.path()).ok()?)))
                .ok_or_else(refused)?
        } else {
            (root, asked)
        };
        let mut clean = PathBuf::new();
        for component in inner.components() {
            match component {
                Component::Normal(name) if name.to_str().is_some_and(|name| !name.starts_with('.')) => {
                    clean.push(name);
                }
                Component::CurDir => {}
                _ => return Err(refused()),
            }
        }
        if clean.as_os_str().is_empty() {
            return Err(Error::invalid(format!("{path:?} names no file or directory inside its directory")));
        }
        Ok((area, clean))
    }
}

/// A registration as it was read.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) path: String,
    /// The files' columns, if they were stored.
    pub(super) file_schema: Option<SchemaRef>,
    /// The partition columns, if the schema was stored.
    pub(super) partition_fields: Option<Vec<FieldRef>>,
}

impl Registration {
    /// Reads the text of a `NAME.dataset.json`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let damaged = |why: String| Error::data_loss(format!("the registration is damaged: {why}"));
        let message: proto::Registration =
            serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        if message.arrow_schema.is_empty() {
            return Ok(Self { path: message.path, file_schema: None, partition_fields: None });
        }
        let schema = contain(|| try_schema_from_ipc_buffer(&message.arrow_schema))
            .map_err(&damaged)?
            .map_err(|error| damaged(error.to_string()))?;
        let is_partition = |field: &FieldRef| message.partition_columns.contains(field.name());
        let (partitions, columns): (Vec<_>, Vec<_>) = schema.fields().iter().cloned().partition(is_partition);
        let file_schema = Schema::new_with_metadata(columns, schema.metadata().clone());
        Ok(Self {
            path: message.path,
            file_schema: Some(Arc::new(file_schema)),
            partition_fields: Some(partitions),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_stays_in_the_root_and_the_allowed_directories() {
        let root = tempfile::tempdir().unwrap();
        let lake = tempfile::tempdir().unwrap();
        let area = Area::open(root.path()).unwrap();
        let allowed = Allowed::open(&[lake.path().to_owned()]).unwrap();
        let resolve =
            |path: &str| allowed.resolve(&area, path).map(|(area, path)| (area.path().to_owned(), path));

        let lake_path = lake.path().canonicalize().unwrap();
        assert_eq!(resolve("raw/x.parquet").unwrap().1, Path::new("raw/x.parquet"));
        let inside = lake_path.join("a/b");
        assert_eq!(resolve(inside.to_str().unwrap()).unwrap(), (lake_path.clone(), "a/b".into()));
        for path in ["../x", "a/../../x", "/etc/passwd", ".airstrip/staging", "", ".", "a/.hidden"] {
            assert!(resolve(path).is_err(), "{path}");
        }
        assert!(resolve(lake_path.join("../x").to_str().unwrap()).is_err());
    }

    #[test]
    fn a_damaged_registration_is_data_loss() {
        for text in ["", "{", r#"{"path": 1}"#, r#"{"path":"x","arrowSchema":"AAAA"}"#] {
            assert!(Registration::parse(text).is_err(), "{text}");
        }
        assert!(Registration::parse(r#"{"path":"x"}"#).unwrap().file_schema.is_none());
    }
}
