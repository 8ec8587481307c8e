//! Flight SQL: the commands inside of descriptors, tickets and actions.
//!
//! Commands arrive in a `google.protobuf.Any`, are decoded once into arrow-flight's
//! [`Command`](arrow_flight::sql::Command), and handled by family:
//!
//! | module | commands |
//! |---|---|
//! | `statement` | queries and updates given as text |
//! | `prepared` | prepared statements: create, bind, run, close |
//! | `ingest` | tables made from a client's stream |
//! | `metadata`, `keys`, `sql_info`, `types` | what there is, and what the server can do |
//! | `actions` | the actions of Flight and Flight SQL: sessions, cancelling, prepared statements |

mod actions;
mod ingest;
mod keys;
mod metadata;
mod prepared;
mod sql_info;
mod statement;
mod types;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{Command, ProstMessageExt, SubstraitPlan};
use arrow_flight::{FlightDescriptor, FlightInfo, PutResult, Ticket};
use bytes::Bytes;
use prost::Message;

pub(super) use actions::{Answer, action_types};
pub(super) use prepared::Statements;
pub use prepared::StatementsOptions;
pub(super) use sql_info::Functions;
pub(super) use types::described_result;

use super::flight::{Handler, SqlQuery, Uploading};
use super::ipc::{FrameEncoder, Framing, opening};
use super::rpc::Rpc;
use super::session::Client;
use super::stream::{Chunks, Work, stream_chunks};
use crate::engine::{Engine, Source};
use crate::error::{Error, Result};
use crate::storage::ipc_schema;

impl Functions {
    /// The words of the engine's dialect.
    pub(super) fn of(engine: &Engine) -> Self {
        Self {
            keywords: Engine::keywords(),
            numeric: engine.functions("Math Functions"),
            string: engine.functions("String Functions"),
            datetime: engine.functions("Time and Date Functions"),
        }
    }
}

impl Handler {
    /// The FlightInfo of a command. A statement that changes something is run here, once; its ticket
    /// gives the count.
    pub(super) async fn command_info(
        &self,
        command: Command,
        descriptor: FlightDescriptor,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<FlightInfo> {
        rpc.about(name(&command));
        match command {
            Command::CommandStatementQuery(command) => {
                self.statement_info(command.query.into(), None, descriptor, client, rpc).await
            }
            Command::CommandStatementSubstraitPlan(command) => {
                self.statement_info(substrait(command.plan)?, None, descriptor, client, rpc).await
            }
            Command::CommandPreparedStatementQuery(command) => {
                let statement = self.statements.find(&command.prepared_statement_handle, client)?;
                let (source, bound) = (statement.source.clone(), statement.bound());
                self.statement_info(source, bound, descriptor, client, rpc).await
            }
            command => {
                let schema = self.metadata_schema(&command)?.ok_or_else(|| misplaced(&command))?;
                let ticket = Ticket::new(command.into_any().encode_to_vec());
                let info = FlightInfo {
                    schema: ipc_schema(&schema).into(),
                    total_records: -1,
                    total_bytes: -1,
                    ordered: true,
                    ..FlightInfo::default()
                };
                Ok(info.with_descriptor(descriptor).with_endpoint(self.endpoint(ticket)))
            }
        }
    }

    /// The schema of a command's result; nothing is run.
    pub(super) async fn command_schema(&self, command: Command, client: &Client, rpc: &Rpc) -> Result<Bytes> {
        rpc.about(name(&command));
        match command {
            Command::CommandStatementQuery(command) => {
                self.statement_schema(&command.query.into(), None, client, rpc).await
            }
            Command::CommandStatementSubstraitPlan(command) => {
                self.statement_schema(&substrait(command.plan)?, None, client, rpc).await
            }
            Command::CommandPreparedStatementQuery(command) => {
                let statement = self.statements.find(&command.prepared_statement_handle, client)?;
                self.statement_schema(&statement.source, statement.bound(), client, rpc).await
            }
            command => match self.metadata_schema(&command)? {
                Some(schema) => Ok(ipc_schema(&schema).into()),
                None => Err(misplaced(&command)),
            },
        }
    }

    /// The result of a command that is a ticket.
    pub(super) async fn command_get(&self, command: Command, client: &Client, rpc: Rpc) -> Result<Chunks> {
        rpc.about(name(&command));
        let sql = match &command {
            // Our own tickets are another message; these are what some clients make up themselves.
            Command::CommandStatementQuery(command) => command.query.clone(),
            Command::TicketStatementQuery(ticket) => String::from_utf8(ticket.statement_handle.to_vec())
                .map_err(|_| Error::invalid("the ticket is none of this server's"))?,
            _ => String::new(),
        };
        if !sql.is_empty() {
            let scope = self.sessions.environment(client).scope;
            return self.get_query(SqlQuery::new(sql, scope, None), client, rpc).await;
        }
        let environment = self.sessions.environment(client);
        match self.metadata(&command, &environment).await? {
            Some(batch) => {
                let schema = batch.schema();
                self.stream_batches(&schema, &[batch], rpc)
            }
            None => Err(misplaced(&command)),
        }
    }

    /// What a command makes of an upload.
    pub(super) async fn command_put(
        &self,
        command: Command,
        upload: Uploading,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<PutResult> {
        rpc.about(name(&command));
        if let Command::CommandStatementIngest(command) = command {
            return self.ingest(command, upload, client).await;
        }
        let Uploading { mut receiver, terms, .. } = upload;
        terms.whole.check_unasked()?;
        // What only an upload has is the last look at its commit.
        receiver.settle_for(terms.settling());
        match command {
            Command::CommandStatementUpdate(command) => {
                let rows = self.update(&command.query, None, client, rpc).await?;
                Ok(updated(rows))
            }
            Command::CommandPreparedStatementUpdate(command) => {
                self.prepared_update(&command.prepared_statement_handle, receiver, client, rpc).await
            }
            Command::CommandPreparedStatementQuery(command) => {
                self.bind(&command.prepared_statement_handle, receiver, client).await
            }
            command => Err(misplaced(&command)),
        }
    }

    /// Streams what is in memory already.
    pub(super) fn stream_batches(
        &self,
        schema: &SchemaRef,
        batches: &[RecordBatch],
        rpc: Rpc,
    ) -> Result<Chunks> {
        let mut encoder = FrameEncoder::new(schema, Framing::default())?;
        let mut chunks = vec![opening(schema)];
        for batch in batches {
            chunks.push(encoder.encode(batch)?);
        }
        chunks.extend(encoder.finish()?);
        let chunks = futures::stream::iter(chunks.into_iter().map(Ok));
        Ok(stream_chunks(chunks, rpc, self.options.patience(), Work::here()))
    }
}

/// The plan of a message.
pub(super) fn substrait(plan: Option<SubstraitPlan>) -> Result<Source> {
    let plan = plan.ok_or_else(|| Error::invalid("the message holds no Substrait plan"))?;
    Ok(Source::Substrait(plan.plan))
}

/// The answer to an update.
fn updated(rows: i64) -> PutResult {
    let result = arrow_flight::sql::DoPutUpdateResult { record_count: rows };
    PutResult { app_metadata: result.encode_to_vec().into() }
}

/// A command that came with the wrong method.
fn misplaced(command: &Command) -> Error {
    match command {
        Command::Unknown(any) => {
            Error::unimplemented(format!("{} is no command of Flight SQL", any.type_url))
        }
        Command::CommandStatementSubstraitPlan(_) => {
            Error::invalid("a Substrait plan is a query, not an update; ask for its FlightInfo instead")
        }
        _ => Error::invalid(format!("{} does not belong in this request", name(command))),
    }
}

/// The command's name, for the log and for errors.
fn name(command: &Command) -> &str {
    let url = command.type_url();
    url.rsplit('.').next().unwrap_or(url)
}

/// The result of an action, wrapped as Flight SQL wants it.
fn wrapped(message: &impl ProstMessageExt) -> Bytes {
    message.as_any().encode_to_vec().into()
}
