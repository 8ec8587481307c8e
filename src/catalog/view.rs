//! Views: queries with a name, each a small file in the root.

use std::io::Read;

use super::layout::{schema_dir, view_of, view_path};
use super::name::{DatasetName, DatasetRef, SchemaName};
use super::store::Catalog;
use super::trash::label;
use crate::error::{Error, ErrorKind, Result};
use crate::proto;
use crate::storage::{Target, Why, exhausted_reading, list_entries};

/// A view is a text; more is none.
const MAX_VIEW_BYTES: u64 = 16 << 20;

/// A query with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its text.
    pub sql: String,
    /// Where tables without a schema are looked up.
    pub schema: SchemaName,
}

impl Catalog {
    /// The views of a schema by name; those that a dataset hides are left out.
    pub fn views(&self, schema: &SchemaName) -> Result<Vec<DatasetName>> {
        self.check_schema(schema)?;
        let entries = list_entries(self.root.area(), &schema_dir(schema))?;
        let mut visible = Vec::new();
        for name in entries.iter().filter_map(view_of) {
            if !self.exists(&DatasetRef { schema: schema.clone(), name: name.clone() })? {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    /// The view of this name, if there is one and no dataset hides it.
    pub fn view(&self, view: &DatasetRef) -> Result<Option<View>> {
        let path = view_path(view);
        let damaged = || {
            Error::data_loss(format!(
                "the file of view {view} is damaged; drop the view (DROP VIEW), or make it anew (CREATE OR REPLACE VIEW)"
            ))
        };
        let Some(file) = self.root.area().open_if_there(&path)? else { return Ok(None) };
        if self.exists(view)? {
            return Ok(None);
        }
        let mut text = String::new();
        file.take(MAX_VIEW_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| exhausted_reading(&path, &error).unwrap_or_else(damaged).with_source(error))?;
        let message: proto::View =
            serde_json::from_str(&text).map_err(|error| damaged().with_source(error))?;
        Ok(Some(View { sql: message.sql, schema: SchemaName::parse(&message.schema)? }))
    }

    /// The same, or else the one whose name differs only in case.
    pub fn find_view(&self, view: &DatasetRef) -> Result<Option<View>> {
        if let Some(found) = self.view(view)? {
            return Ok(Some(found));
        }
        if !self.has_schema(&view.schema)? || self.exists(view)? {
            return Ok(None);
        }
        let wanted = view.name.as_str().to_lowercase();
        let views = self.views(&view.schema)?;
        let mut same = views.into_iter().filter(|name| name.as_str().to_lowercase() == wanted);
        match (same.next(), same.next()) {
            (Some(name), None) => self.view(&DatasetRef { schema: view.schema.clone(), name }),
            _ => Ok(None),
        }
    }

    /// Stores a view, durably and in one step.
    pub fn create_view(&self, name: &DatasetRef, view: &View, replace: bool) -> Result<()> {
        self.root.check_writable()?;
        self.check_schema(&name.schema)?;
        let message = proto::View { sql: view.sql.clone(), schema: view.schema.as_str().to_owned() };
        let text = serde_json::to_vec_pretty(&message)
            .map_err(|error| Error::internal(format!("writing a view: {error}")))?;
        let _lock = self.lock(name);
        // One that cannot be read is replaced to mend it.
        if replace && self.view(name).is_ok_and(|there| there.as_ref() == Some(view)) {
            return Ok(());
        }
        if self.exists(name)? {
            let text = format!("{name} is a dataset, which a view cannot replace; drop it first");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        if replace {
            return self
                .root
                .write_small_over(&view_path(name), &text, &label(name, Why::Replaced))
                .map(drop);
        }
        self.root.write_small(&view_path(name), &text, Target::MustBeNew).map_err(|error| {
            match error.kind() {
                ErrorKind::AlreadyExists => Error::new(
                    ErrorKind::AlreadyExists,
                    format!("view {name} exists; drop it first, or use CREATE OR REPLACE VIEW"),
                ),
                _ => error,
            }
        })
    }

    /// Gives a view another name, in one step.
    pub fn rename_view(&self, view: &DatasetRef, to: &DatasetRef) -> Result<()> {
        self.root.check_writable()?;
        self.check_schema(&view.schema)?;
        self.check_schema(&to.schema)?;
        let _locks = self.lock_both(view, to);
        if self.view(view)?.is_none() {
            return Err(if self.exists(view)? {
                Error::invalid(format!("{view} is a table; use ALTER TABLE … RENAME TO"))
            } else {
                Error::not_found(format!("there is no view {view}"))
            });
        }
        let taken = |what: &str| {
            Err(Error::new(ErrorKind::AlreadyExists, format!("{what} {to} exists; drop it first")))
        };
        if self.exists(to)? {
            return taken("dataset");
        }
        self.root.publish(&view_path(view), &view_path(to), Target::MustBeNew).or_else(|error| {
            if error.kind() == ErrorKind::AlreadyExists { taken("view") } else { Err(error) }
        })
    }

    /// Removes a view.
    pub fn drop_view(&self, view: &DatasetRef) -> Result<()> {
        self.root.check_writable()?;
        self.check_schema(&view.schema)?;
        let _lock = self.lock(view);
        if !self.has_view(view)? {
            return Err(Error::not_found(format!("there is no view {view}")));
        }
        self.root.trash(&view_path(view), &label(view, Why::Dropped)).map(drop)
    }

    /// Fails if there is a view of this name: a dataset would hide it.
    pub(super) fn check_no_view(&self, dataset: &DatasetRef) -> Result<()> {
        if self.has_view(dataset)? {
            return Err(Error::precondition(format!(
                "{dataset} is a view; drop it first (DROP VIEW), or use another name"
            )));
        }
        Ok(())
    }

    /// Whether there is a view of this name, which may be damaged, and no dataset hides it.
    fn has_view(&self, view: &DatasetRef) -> Result<bool> {
        Ok(self.root.area().is_file(&view_path(view))? && !self.exists(view)?)
    }
}
