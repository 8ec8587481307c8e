//! DoGet: the raw stream of a dataset, or the result of a query.

use std::sync::Arc;

use arrow_flight::FlightData;
use arrow_ipc::CompressionType;
use futures::{Stream, StreamExt};

use super::flight::Handler;
use super::frames::{Chunk, FrameEncoder};
use super::respond::{Responses, Work, stream_chunks};
use super::rpc::Rpc;
use super::session::Client;
use super::target::{SqlQuery, Target, check_schema_digest};
use crate::catalog::{DatasetRef, RawScan};
use crate::engine::{Environment, Query, QueryStream};
use crate::error::Result;
use crate::storage::blocking;

impl Handler {
    /// The stream of what a ticket asks for.
    pub(super) async fn get(
        &self,
        target: Target,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        rpc.about(&target.describe());
        match target {
            Target::Dataset(dataset) => self.get_dataset(dataset, client, rpc).await,
            Target::Query(query) => self.get_query(query, client, rpc).await,
            Target::Change { rows } => self.get_count(rows, rpc),
            Target::Command(command) => self.command_get(command, client, rpc).await,
        }
    }

    async fn get_dataset(
        &self,
        dataset: DatasetRef,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        let catalog = Arc::clone(self.engine.catalog());
        let snapshot = blocking(move || catalog.snapshot(&dataset)).await?;
        let scan = RawScan::new(Arc::new(snapshot));
        let chunks = raw_chunks(scan, client.compression)?;
        Ok(stream_chunks(chunks, rpc, self.options.idle_timeout, Work::here()))
    }

    pub(super) async fn get_query(
        &self,
        query: SqlQuery,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        query.check_expiry()?;
        let environment = self.environment(&query, client);
        self.run_query(query, environment, client, rpc).await
    }

    /// What a query runs in: the options that it brings, and the tables of the session that asks now.
    pub(super) fn environment(&self, query: &SqlQuery, client: &Client) -> Environment {
        Environment { scope: query.scope.clone(), ..self.sessions.environment(client) }
    }

    /// Runs a query on the engine's threads and streams its result, if that is what the client was shown.
    pub(super) async fn run_query(
        &self,
        query: SqlQuery,
        environment: Environment,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        let deadline = rpc.deadline(self.options.query_timeout);
        let id = if query.id.is_empty() { rpc.id() } else { &query.id };
        let activity = Arc::new(self.engine.begin(id, &client.user, &query.source.to_string())?);
        let started = async {
            let permit = self.engine.admit(&activity, deadline).await?;
            let SqlQuery { source, bound, schema_digest, .. } = query;
            let planned = self.engine.plan_for(&activity, &source, &environment, bound, deadline).await?;
            check_schema_digest(schema_digest.as_deref(), &planned.schema_digest())?;
            let guard = planned.cancel_guard();
            Ok((self.engine.run(planned, Arc::clone(&activity), permit, deadline).await?, guard))
        };
        let (stream, guard) = started.await.inspect_err(|error| activity.end(Some(error)))?;
        let stopped = activity.token().clone();
        let work = Work::query(self.engine.runtime().clone(), deadline, guard, stopped);
        let chunks = query_chunks(stream, client.compression)?;
        Ok(stream_chunks(chunks, rpc, self.options.idle_timeout, work))
    }

    /// Plans a query to find out about its result.
    pub(super) async fn plan(&self, query: &SqlQuery, client: &Client, rpc: &Rpc) -> Result<Query> {
        let (environment, bound) = (self.environment(query, client), query.bound.clone());
        let deadline = rpc.deadline(self.options.query_timeout);
        let planned = self.engine.plan(&query.source, &environment, bound, deadline).await?;
        check_schema_digest(query.schema_digest.as_deref(), &planned.schema_digest())?;
        Ok(planned)
    }
}

/// The messages of a raw stream. Each batch is decoded and encoded on a thread for blocking work,
/// which is free again while the client takes its time.
fn raw_chunks(
    scan: RawScan,
    compression: Option<CompressionType>,
) -> Result<impl Stream<Item = Result<Chunk>> + Send> {
    let schema = Arc::clone(scan.schema());
    let (encoder, opening) = FrameEncoder::compressed(&schema, compression)?;
    let rest = futures::stream::try_unfold((scan, encoder), |(mut scan, mut encoder)| {
        blocking(move || {
            let chunk = match scan.next_batch()? {
                Some(batch) => Some(encoder.encode(&batch)?),
                None => encoder.finish()?,
            };
            Ok(chunk.map(|chunk| (chunk, (scan, encoder))))
        })
    });
    Ok(futures::stream::iter([Ok(opening)]).chain(rest))
}

/// The messages of a query's result.
fn query_chunks(
    stream: QueryStream,
    compression: Option<CompressionType>,
) -> Result<impl Stream<Item = Result<Chunk>> + Send> {
    let (encoder, opening) = FrameEncoder::compressed(stream.schema(), compression)?;
    let rest = futures::stream::try_unfold((stream, encoder), |(mut stream, mut encoder)| async {
        let chunk = match stream.next().await.transpose()? {
            Some(batch) => Some(encoder.encode(&batch)?),
            None => encoder.finish()?,
        };
        Ok(chunk.map(|chunk| (chunk, (stream, encoder))))
    });
    Ok(futures::stream::iter([Ok(opening)]).chain(rest))
}
