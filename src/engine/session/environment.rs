//! What a statement runs in: the session's options, and the tables that are its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;

use super::options::Scope;
use crate::catalog::Snapshot;
use crate::error::{Error, ErrorKind, Result};

/// The most temporary tables of one session: each holds a file open.
const MAX_TEMPORARY: usize = 256;

/// What a statement runs in.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The session's options.
    pub scope: Scope,
    /// Who asks.
    pub user: String,
    /// The session's temporary tables.
    pub temporary: Arc<TemporaryTables>,
    /// A table that this one statement may read besides: `input` of an exchange.
    pub input: Option<(String, Arc<dyn TableProvider>)>,
}

impl Environment {
    /// The environment of a session's statement.
    pub fn new(scope: Scope, temporary: Arc<TemporaryTables>) -> Self {
        Self { scope, temporary, ..Self::default() }
    }
}

/// The tables of one session that nobody else sees. Their files have no name any more: they are gone
/// with the session, whatever happens to the server.
#[derive(Debug, Default)]
pub struct TemporaryTables {
    tables: Mutex<HashMap<String, Arc<Snapshot>>>,
    /// Why there can be none.
    refusal: Option<&'static str>,
}

impl TemporaryTables {
    /// Of a client without a session, which is told why it can have none.
    pub fn refused(refusal: &'static str) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// Fails if there can be none.
    pub(in crate::engine) fn check(&self) -> Result<()> {
        self.refusal.map_or(Ok(()), |refusal| Err(Error::precondition(refusal)))
    }

    /// Names and contents.
    pub fn all(&self) -> Vec<(String, Arc<Snapshot>)> {
        self.lock().iter().map(|(name, snapshot)| (name.clone(), Arc::clone(snapshot))).collect()
    }

    /// The contents of a table.
    pub(in crate::engine) fn get(&self, name: &str) -> Option<Arc<Snapshot>> {
        self.lock().get(name).cloned()
    }

    /// Whether there is one of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Adds a table.
    ///
    /// Where it holds the rows of one that is there, that must be `before` still.
    pub(in crate::engine) fn add(
        &self,
        name: &str,
        snapshot: Snapshot,
        replace: bool,
        before: Option<&Arc<Snapshot>>,
    ) -> Result<()> {
        let mut tables = self.lock();
        if let Some(before) = before
            && !tables.get(name).is_some_and(|now| Arc::ptr_eq(now, before))
        {
            return Err(Error::precondition(format!(
                "the temporary table {name} was changed meanwhile; nothing was added, try again"
            )));
        }
        let exists = tables.contains_key(name);
        if exists && !replace {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("the temporary table {name} exists; drop it first, or use CREATE OR REPLACE"),
            ));
        }
        if !exists && tables.len() >= MAX_TEMPORARY {
            return Err(Error::exhausted(format!("a session has at most {MAX_TEMPORARY} temporary tables")));
        }
        tables.insert(name.to_owned(), Arc::new(snapshot));
        Ok(())
    }

    /// Removes a table, if it is there.
    pub(in crate::engine) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Gives a table another name.
    pub(in crate::engine) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut tables = self.lock();
        if tables.contains_key(to) {
            let text = format!("the temporary table {to} exists; drop it first");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        if let Some(table) = tables.remove(from) {
            tables.insert(to.to_owned(), table);
        }
        Ok(())
    }

    /// The columns of a table.
    pub(in crate::engine) fn columns(&self, name: &str) -> Result<SchemaRef> {
        let tables = self.lock();
        let table = tables.get(name).ok_or_else(|| Error::not_found(format!("there is no table {name}")))?;
        Ok(Arc::clone(&table.dataset.schema))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Snapshot>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
