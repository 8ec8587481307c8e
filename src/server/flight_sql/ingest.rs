//! CommandStatementIngest: a table made from a client's stream.

use std::sync::Arc;

use arrow_flight::PutResult;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};

use super::super::flight::{Handler, LastLook, Uploading};
use super::super::session::Client;
use super::updated;
use crate::catalog::{DatasetRef, IfMissing, PutMode, PutOptions, Upload};
use crate::engine::{CATALOG, TableSink};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storing, blocking};

impl Handler {
    /// Stores the stream as a table.
    pub(super) async fn ingest(
        &self,
        command: CommandStatementIngest,
        upload: Uploading,
        client: &Client,
    ) -> Result<PutResult> {
        let Uploading { mut receiver, terms, answers } = upload;
        let mut terms = terms.with_options(&command.options)?;
        let environment = if command.temporary {
            self.sessions.lasting_environment(client)
        } else {
            self.sessions.environment(client)
        };
        if let Some(catalog) = command.catalog.as_deref().filter(|name| !name.is_empty() && *name != CATALOG)
        {
            return Err(Error::not_found(format!("there is no catalog {catalog}; there is {CATALOG}")));
        }
        let schema = match command.schema.as_deref() {
            Some(schema) if !schema.is_empty() => schema,
            _ => environment.scope.schema.as_str(),
        };
        let table = DatasetRef::parse(schema, &command.table)?;
        let catalog = Arc::clone(self.engine.catalog());
        let temporary = command.temporary.then(|| Arc::clone(&environment.temporary));
        let exists = {
            let (catalog, table) = (Arc::clone(&catalog), table.clone());
            blocking(move || {
                Ok(match temporary {
                    Some(tables) => tables.contains(table.name.as_str()),
                    None => catalog.exists(&table)?,
                })
            })
            .await?
        };
        let mode = mode(&command, &table, exists)?;
        let if_missing = match command.table_definition_options.unwrap_or_default().if_not_exist() {
            TableNotExistOption::Fail => IfMissing::Fail,
            TableNotExistOption::Unspecified | TableNotExistOption::Create => IfMissing::Make,
        };
        let Some(columns) = receiver.schema().await? else {
            return Err(Error::invalid("the stream ended without a schema; nothing was stored"));
        };
        let put = terms.put.clone();
        let sink = blocking(move || {
            if command.temporary {
                return TableSink::temporary(catalog, &environment, &table, columns, mode);
            }
            let options = PutOptions { mode, if_missing, ..put };
            Upload::begin(catalog, table, columns, options).map(TableSink::Dataset)
        });
        let mut storing = Storing::new(sink.await?);
        while let Some(received) = receiver.next().await? {
            terms.whole.take(&received)?;
            if let Some(batch) = received.batch {
                storing = storing.write(batch).await?;
            }
        }
        let sink = storing.finish().await?;
        terms.whole.check()?;
        let look = LastLook::new(&answers, &terms);
        // Only here, after the stream's true end, does anything become visible.
        let rows = blocking(move || sink.finish_after(&|| look.look())).await?;
        Ok(updated(i64::try_from(rows).unwrap_or(i64::MAX)))
    }
}

/// What the stream does to the table; an error where the client's options do not allow it to be stored.
fn mode(command: &CommandStatementIngest, table: &DatasetRef, exists: bool) -> Result<PutMode> {
    let options = command.table_definition_options.unwrap_or_default();
    let appends = options.if_exists() == TableExistsOption::Append;
    if !exists {
        return match options.if_not_exist() {
            TableNotExistOption::Fail => Err(Error::not_found(format!(
                "there is no table {table} to append to; create it first, or ingest in another mode"
            ))),
            // Another client may make it meanwhile: then this one appends.
            TableNotExistOption::Unspecified | TableNotExistOption::Create if appends => Ok(PutMode::Append),
            TableNotExistOption::Unspecified | TableNotExistOption::Create => Ok(PutMode::Create),
        };
    }
    match options.if_exists() {
        TableExistsOption::Replace => Ok(PutMode::Replace),
        TableExistsOption::Append => Ok(PutMode::Append),
        TableExistsOption::Unspecified | TableExistsOption::Fail => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("table {table} exists; drop it first, or ingest in mode replace or append"),
        )),
    }
}
