//! Prepared statements: created, bound, run and closed under a handle.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, UnionMode};
use arrow_flight::PutResult;
use arrow_flight::sql::DoPutPreparedStatementResult;
use bytes::Bytes;
use futures::StreamExt;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prost::Message;
use uuid::Uuid;

use super::super::flight::Handler;
use super::super::ipc::Receiver;
use super::super::rpc::Rpc;
use super::super::session::{Client, SessionKey};
use super::types::in_milliseconds;
use super::updated;
use crate::engine::{Bound, BoundRows, Prepared, Source, StatementKind};
use crate::error::{Error, Result};
use crate::proto::flight::ActionCreatePreparedStatementResult;
use crate::storage::ipc_schema;

/// Bytes that may be bound to one query: they travel in its ticket.
const MAX_BOUND_BYTES: usize = 1 << 20;
/// Rows that may be bound to one query: it is planned once for each.
const MAX_BOUND_ROWS: usize = 1000;
/// Bytes that may be bound to an INSERT before it is run, where they do not come with that.
const MAX_HELD_BYTES: usize = 16 << 20;
/// What a statement takes besides its text and its values.
const STATEMENT_BYTES: usize = 4096;

/// The limits of prepared statements.
#[derive(Debug, Clone, Copy)]
pub struct StatementsOptions {
    /// Bytes that all of them may take; the one that was idle for longest makes room for a new one.
    pub bytes: u64,
    /// How long a statement is kept that nobody uses.
    pub idle: Duration,
}

/// A prepared statement.
#[derive(Debug)]
pub(in crate::server) struct Statement {
    pub(super) source: Source,
    kind: StatementKind,
    takes_values: bool,
    bound: Mutex<Option<Bound>>,
    owner: Option<SessionKey>,
}

impl Statement {
    /// The values that were bound last.
    pub(super) fn bound(&self) -> Option<Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bytes(&self) -> usize {
        let bound = self.bound().map_or(0, |bound| bound.batch().get_array_memory_size());
        STATEMENT_BYTES + self.source.bytes() + bound
    }
}

/// All prepared statements, by handle.
#[derive(Debug, Clone)]
pub(in crate::server) struct Statements {
    statements: Cache<String, Arc<Statement>>,
}

impl Statements {
    pub(in crate::server) fn new(options: StatementsOptions) -> Self {
        let statements = Cache::builder()
            .weigher(|_, statement: &Arc<Statement>| u32::try_from(statement.bytes()).unwrap_or(u32::MAX))
            .max_capacity(options.bytes)
            .time_to_idle(options.idle)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { statements }
    }

    /// The statement of a handle, if it is this client's.
    pub(super) fn find(&self, handle: &[u8], client: &Client) -> Result<Arc<Statement>> {
        let found = std::str::from_utf8(handle).ok().and_then(|handle| self.statements.get(handle));
        let own = |statement: &Arc<Statement>| {
            statement.owner.is_none() || statement.owner.as_ref() == client.owner()
        };
        found.filter(own).ok_or_else(|| {
            Error::not_found(
                "there is no such prepared statement; it was closed, or expired: prepare it again",
            )
        })
    }

    fn add(&self, statement: Statement) -> String {
        // ASCII: some clients take handles for text. Not to be guessed: whoever knows it may use it.
        let handle = Uuid::new_v4().to_string();
        self.statements.insert(handle.clone(), Arc::new(statement));
        handle
    }

    fn bind(&self, handle: &[u8], statement: &Arc<Statement>, bound: Option<Bound>) {
        *statement.bound.lock().unwrap_or_else(PoisonError::into_inner) = bound;
        // Once more, for its weight.
        self.statements.insert(String::from_utf8_lossy(handle).into_owned(), Arc::clone(statement));
    }

    /// Forgets a statement; that it is not there is fine.
    pub(super) fn close(&self, handle: &[u8], client: &Client) {
        if self.find(handle, client).is_ok() {
            self.statements.invalidate(String::from_utf8_lossy(handle).as_ref());
        }
    }
}

impl Handler {
    /// Prepares a statement.
    pub(super) async fn prepare(
        &self,
        source: Source,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<ActionCreatePreparedStatementResult> {
        rpc.about(&source.to_string());
        let environment = self.sessions.environment(client);
        let deadline = rpc.deadline(self.options.query_timeout);
        let Prepared { kind, parameters, result, origins } =
            self.engine.prepare(&source, &environment, deadline).await?;
        let owner = client.owner().cloned();
        let takes_values = !parameters.fields().is_empty();
        let handle =
            self.statements.add(Statement { source, kind, takes_values, bound: Mutex::default(), owner });
        let encoded = |schema: &Schema| Bytes::from(ipc_schema(schema));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.into(),
            // Empty for what gives a count: this is how drivers tell an update.
            dataset_schema: result
                .map(|schema| encoded(&client.described(&schema, &origins)))
                .unwrap_or_default(),
            parameter_schema: if client.is_java {
                encoded(&in_milliseconds(&parameters))
            } else {
                encoded(&parameters)
            },
            is_update: Some(kind != StatementKind::Query),
        })
    }

    /// Binds the rows of an upload to a query.
    pub(super) async fn bind(&self, handle: &[u8], receiver: Receiver, client: &Client) -> Result<PutResult> {
        let statement = self.statements.find(handle, client)?;
        let bound = received(receiver, self.inserts_values(&statement).await?).await?;
        self.statements.bind(handle, &statement, bound);
        let result =
            DoPutPreparedStatementResult { prepared_statement_handle: Some(Bytes::copy_from_slice(handle)) };
        Ok(PutResult { app_metadata: result.encode_to_vec().into() })
    }

    /// Runs a prepared statement that is no query.
    pub(super) async fn prepared_update(
        &self,
        handle: &[u8],
        mut receiver: Receiver,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<PutResult> {
        let statement = self.statements.find(handle, client)?;
        let Source::Sql(sql) = &statement.source else {
            return Err(Error::invalid(
                "the statement is a query, not an update; ask for its FlightInfo instead",
            ));
        };
        let inserts = self.inserts_values(&statement).await?;
        // What takes no parameters is run at once: some clients wait for the answer before they end
        // their stream.
        let bound = match statement.kind {
            StatementKind::Change if !statement.takes_values => None,
            StatementKind::Setting => None,
            StatementKind::Change if inserts => {
                if let Some(schema) = receiver.schema().await?.filter(|schema| BoundRows::can_be(schema)) {
                    let rows = BoundRows::new(schema, receiver.batches());
                    return self.insert_rows(sql, rows, client, rpc).await.map(updated);
                }
                received(receiver, inserts).await?.or_else(|| statement.bound())
            }
            StatementKind::Query | StatementKind::Change => {
                received(receiver, inserts).await?.or_else(|| statement.bound())
            }
        };
        match bound {
            Some(bound) if inserts && BoundRows::can_be(&bound.schema()) => {
                let batches = futures::stream::iter([Ok(bound.batch().clone())]);
                let rows = BoundRows::new(bound.schema(), batches.boxed());
                self.insert_rows(sql, rows, client, rpc).await.map(updated)
            }
            bound => self.update(sql, bound, client, rpc).await.map(updated),
        }
    }

    /// Whether a statement takes all rows of parameters in one go.
    async fn inserts_values(&self, statement: &Statement) -> Result<bool> {
        match &statement.source {
            Source::Sql(sql) if statement.kind == StatementKind::Change && statement.takes_values => {
                self.engine.inserts_values(sql).await
            }
            _ => Ok(false),
        }
    }

    async fn insert_rows(&self, sql: &str, rows: BoundRows, client: &Client, rpc: &Rpc) -> Result<i64> {
        rpc.about(sql);
        let activity = Arc::new(self.engine.begin(rpc.id(), &client.user, sql)?);
        let environment = self.sessions.lasting_environment(client);
        let deadline = rpc.deadline(self.options.query_timeout);
        let rows = self.engine.insert_rows(activity, sql, rows, &environment, deadline).await?;
        Ok(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

/// The rows of a stream as values to bind; none if it has no schema, or no columns. `inserts`: to a statement that takes
/// them all in one go.
async fn received(mut receiver: Receiver, inserts: bool) -> Result<Option<Bound>> {
    let Some(schema) = receiver.schema().await? else { return Ok(None) };
    let (mut batches, mut bytes, mut rows) = (Vec::new(), 0, 0);
    while let Some(received) = receiver.next().await? {
        let Some(batch) = received.batch else { continue };
        bytes += batch.get_array_memory_size();
        rows += batch.num_rows();
        if inserts && bytes > MAX_HELD_BYTES {
            return Err(Error::exhausted(format!(
                "more than {MAX_HELD_BYTES} bytes were bound to an INSERT before it is run; bind fewer at once, or \
                 upload them as a table (DoPut, bulk ingest)"
            )));
        }
        if !inserts && (bytes > MAX_BOUND_BYTES || rows > MAX_BOUND_ROWS) {
            return Err(Error::exhausted(format!(
                "more than {MAX_BOUND_ROWS} rows or {MAX_BOUND_BYTES} bytes were bound to a statement that is \
                 planned for each; upload them as a table and join with it, or INSERT them as one row of VALUES"
            )));
        }
        batches.push(batch);
    }
    if schema.fields().is_empty() {
        return Ok(None);
    }
    let batch = concat_batches(&schema, &batches)
        .map_err(|error| Error::invalid(format!("the bound rows do not fit together: {error}")))?;
    plain(&batch).map(Bound::new).map(Some)
}

/// `batch` with columns that are unions (as flightsql-dbapi sends them) as what is in them, where all
/// rows have one type.
fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(unwrapped).collect::<Result<_>>()?;
    let schema = batch.schema();
    let fields = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.into(), columns, &options)
        .map_err(|error| Error::invalid(format!("the bound rows are not what they claim: {error}")))
}

fn unwrapped(column: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Union(_, UnionMode::Dense) = column.data_type() else { return Ok(Arc::clone(column)) };
    let union = column.as_union();
    let Some((first, offsets)) = union.type_ids().first().zip(union.offsets()) else {
        return Ok(Arc::clone(column));
    };
    if union.type_ids().iter().any(|id| id != first) {
        return Ok(Arc::clone(column));
    }
    let offsets = arrow::array::Int32Array::new(offsets.clone(), None);
    take(union.child(*first), &offsets, None)
        .map_err(|error| Error::invalid(format!("a bound union is damaged: {error}")))
}
