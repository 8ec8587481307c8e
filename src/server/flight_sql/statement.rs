//! Statements given as they are: queries run when their ticket is redeemed, all others at once.

use std::sync::{Arc, LazyLock};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::{FlightDescriptor, FlightInfo};
use bytes::Bytes;

use super::super::flight::{Handler, SqlQuery, change_ticket};
use super::super::rpc::Rpc;
use super::super::session::Client;
use super::super::stream::Chunks;
use crate::engine::{Bound, Scope, Source, StatementKind};
use crate::error::{Error, Result};
use crate::storage::ipc_schema;

/// The result of a statement that changes something.
static COUNT: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)])));

impl Handler {
    /// The FlightInfo of a statement.
    pub(super) async fn statement_info(
        &self,
        source: Source,
        bound: Option<Bound>,
        descriptor: FlightDescriptor,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<FlightInfo> {
        let sql = match source {
            Source::Sql(sql) if self.engine.kind(&sql).await? != StatementKind::Query => sql,
            source => {
                let scope = self.sessions.environment(client).scope;
                let query = SqlQuery::new(source, scope, bound);
                return self.query_info(query, descriptor, client, rpc).await;
            }
        };
        let rows = self.update(&sql, bound, client, rpc).await?;
        let info = FlightInfo {
            schema: ipc_schema(&COUNT).into(),
            total_records: 1,
            total_bytes: -1,
            ordered: true,
            ..FlightInfo::default()
        };
        Ok(info.with_descriptor(descriptor).with_endpoint(self.endpoint(change_ticket(rows))))
    }

    /// The schema of a statement's result; nothing is run.
    pub(super) async fn statement_schema(
        &self,
        source: &Source,
        bound: Option<Bound>,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Bytes> {
        let deadline = rpc.deadline(self.options.query_timeout);
        let environment = self.sessions.environment(client);
        if bound.is_some() {
            let query = self.engine.plan(source, &environment, bound, deadline).await?;
            return Ok(ipc_schema(&client.shown(&query)).into());
        }
        let prepared = self.engine.prepare(source, &environment, deadline).await?;
        Ok(match &prepared.result {
            Some(result) => ipc_schema(&client.described(result, &prepared.origins)),
            None => ipc_schema(&COUNT),
        }
        .into())
    }

    /// Runs a statement that is no query, and says how many rows it stored.
    pub(super) async fn update(
        &self,
        sql: &str,
        bound: Option<Bound>,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<i64> {
        rpc.about(sql);
        let has_values = bound.as_ref().is_some_and(|bound| bound.rows() > 0);
        match self.engine.kind(sql).await? {
            StatementKind::Setting if has_values => {
                Err(Error::unimplemented("SET takes no parameters; write the value into the SQL"))
            }
            StatementKind::Query => {
                Err(Error::invalid("the statement is a query, not an update; ask for its FlightInfo instead"))
            }
            StatementKind::Setting => {
                let setting = self.engine.setting(sql).await?;
                self.sessions.open(client)?.change(|scope| {
                    setting.apply(scope)?;
                    self.check_scope(scope)
                })?;
                Ok(0)
            }
            StatementKind::Change => {
                let activity = Arc::new(self.engine.begin(rpc.id(), &client.user, sql)?);
                let environment = self.sessions.lasting_environment(client);
                let deadline = rpc.deadline(self.options.query_timeout);
                let rows = self.engine.change(activity, sql, bound, &environment, deadline).await?;
                rpc.count_rows(rows);
                Ok(i64::try_from(rows).unwrap_or(i64::MAX))
            }
        }
    }

    /// Fails where a session's options name what is not there.
    pub(super) fn check_scope(&self, scope: &Scope) -> Result<()> {
        if self.engine.catalog().has_schema(&scope.schema)? {
            return Ok(());
        }
        Err(Error::not_found(format!("there is no schema {}", scope.schema.as_str())))
    }

    /// The result of a statement that was run when its FlightInfo was asked for.
    pub(in crate::server) fn get_count(&self, rows: i64, rpc: Rpc) -> Result<Chunks> {
        let batch = RecordBatch::try_new(Arc::clone(&COUNT), vec![Arc::new(Int64Array::from(vec![rows]))]);
        let batch = batch.map_err(|error| Error::internal(format!("a count: {error}")))?;
        self.stream_batches(&COUNT, &[batch], rpc)
    }
}
