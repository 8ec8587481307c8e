//! How the names in a statement that changes something are looked up.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{ResolvedTableReference, TableReference};
use datafusion::sql::sqlparser::ast::ObjectName;

use super::ddl::{no_catalog, reference};
use super::sink::TableSink;
use crate::catalog::{Catalog, DatasetRef, IfMissing, PutMode, PutOptions, Upload};
use crate::engine::session::Environment;
use crate::engine::tables::CATALOG;
use crate::error::{Error, ErrorKind, Result};

/// How a statement's names are looked up.
#[derive(Clone)]
pub(in crate::engine) struct Names {
    pub(super) catalog: Arc<Catalog>,
    pub(super) environment: Environment,
}

impl Names {
    pub(in crate::engine) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The dataset that a name means, whether or not it is there.
    pub(in crate::engine) fn resolve(&self, reference: &TableReference) -> Result<DatasetRef> {
        let ResolvedTableReference { catalog, schema, table } =
            reference.clone().resolve(CATALOG, self.environment.scope.schema.as_str());
        if catalog.as_ref() != CATALOG {
            return Err(no_catalog(&catalog));
        }
        DatasetRef::parse(&schema, &table)
    }

    /// The new name of a table or view. As in other databases, one without a schema stays in the old one's.
    pub(super) fn renamed(&self, from: &TableReference, to: &ObjectName) -> Result<DatasetRef> {
        let schema = self.resolve(from)?.schema;
        match reference(to)? {
            TableReference::Bare { table } => Ok(DatasetRef { schema, ..DatasetRef::parse("", &table)? }),
            full => self.resolve(&full),
        }
    }

    /// The dataset that a name means and that is there: the very name, or the only one that differs in
    /// case.
    pub(in crate::engine) fn find(&self, reference: &TableReference) -> Result<DatasetRef> {
        let dataset = self.resolve(reference)?;
        if self.catalog.exists(&dataset)? {
            return Ok(dataset);
        }
        if self.catalog.view(&dataset)?.is_some() {
            return Err(Error::invalid(format!("{dataset} is a view; use the statement for views")));
        }
        if self.catalog.has_schema(&dataset.schema)?
            && let Some(other) = self.catalog.find_ignoring_case(&dataset)?
        {
            return Ok(other);
        }
        Err(self.catalog.no_such_dataset(&dataset))
    }

    /// Whether a table goes by this name.
    pub(super) fn is_there(&self, reference: &TableReference) -> Result<bool> {
        if self.temporary(reference).is_some() {
            return Ok(true);
        }
        match self.find(reference) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The session's temporary table that a name means: one without a schema means it first.
    pub(in crate::engine) fn temporary<'a>(&self, reference: &'a TableReference) -> Option<&'a str> {
        match reference {
            TableReference::Bare { table } if self.environment.temporary.contains(table) => Some(table),
            _ => None,
        }
    }

    /// Where the rows of an INSERT go.
    pub(super) fn insertion(
        &self,
        table: &TableReference,
        schema: SchemaRef,
        replaces: bool,
    ) -> Result<TableSink> {
        let mode = if replaces { PutMode::Replace } else { PutMode::Append };
        let options =
            PutOptions { mode, if_missing: IfMissing::Fail, as_delta: true, ..PutOptions::default() };
        match self.temporary(table) {
            Some(_) => self.sink(&self.resolve(table)?, schema, options, true),
            None => self.sink(&self.find(table)?, schema, options, false),
        }
    }

    pub(super) fn exists(&self, dataset: &DatasetRef, temporary: bool) -> Result<bool> {
        if temporary {
            Ok(self.environment.temporary.contains(dataset.name.as_str()))
        } else {
            self.catalog.exists(dataset)
        }
    }

    pub(super) fn sink(
        &self,
        name: &DatasetRef,
        schema: SchemaRef,
        options: PutOptions,
        temporary: bool,
    ) -> Result<TableSink> {
        let catalog = Arc::clone(&self.catalog);
        if temporary {
            return TableSink::temporary(catalog, &self.environment, name, schema, options.mode);
        }
        Ok(TableSink::Dataset(Upload::begin(catalog, name.clone(), schema, options)?))
    }
}
