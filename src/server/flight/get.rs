//! DoGet: the raw stream of a dataset, or the result of a query.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;

use super::service::Handler;
use super::target::{RowGroups, SqlQuery, Target, check_schema_digest};
use crate::catalog::{DatasetRef, RawScan, Snapshot};
use crate::engine::{Activity, Environment, Permit, Query, QueryStream};
use crate::error::Result;
use crate::server::ipc::{Chunk, FrameEncoder, Framing, opening};
use crate::server::rpc::Rpc;
use crate::server::session::Client;
use crate::server::stream::{Chunks, Work, stream_chunks};
use crate::storage::blocking;

impl Handler {
    /// The stream of what a ticket asks for.
    pub(in crate::server) async fn get(&self, target: Target, client: &Client, rpc: Rpc) -> Result<Chunks> {
        rpc.about(&target.describe());
        match target {
            Target::Dataset(dataset) => self.get_dataset(dataset, client, rpc).await,
            Target::Version(dataset, at) => {
                let catalog = Arc::clone(self.engine.catalog());
                let snapshot = blocking(move || catalog.snapshot_at(&dataset, at)).await?;
                self.download(RawScan::new(Arc::new(snapshot)), client, rpc)
            }
            Target::RowGroups(part) => self.get_row_groups(part, client, rpc).await,
            Target::Query(query) => self.get_query(query, client, rpc).await,
            Target::Change { rows } => self.get_count(rows, rpc),
            Target::Command(command) => self.command_get(command, client, rpc).await,
        }
    }

    async fn get_dataset(&self, dataset: DatasetRef, client: &Client, rpc: Rpc) -> Result<Chunks> {
        let scan = RawScan::new(self.snapshot(dataset).await?);
        self.download(scan, client, rpc)
    }

    /// A part of a dataset's stream, if the dataset is still what the ticket was made for.
    async fn get_row_groups(&self, part: RowGroups, client: &Client, rpc: Rpc) -> Result<Chunks> {
        let RowGroups { dataset, version, range } = part;
        let catalog = Arc::clone(self.engine.catalog());
        let snapshot = blocking(move || catalog.snapshot_of_version(&dataset, &version)).await?;
        let scan = RawScan::new(Arc::new(snapshot)).with_row_groups(range);
        self.download(scan, client, rpc)
    }

    async fn snapshot(&self, dataset: DatasetRef) -> Result<Arc<Snapshot>> {
        let catalog = Arc::clone(self.engine.catalog());
        blocking(move || catalog.snapshot(&dataset)).await.map(Arc::new)
    }

    fn download(&self, scan: RawScan, client: &Client, rpc: Rpc) -> Result<Chunks> {
        let chunks = self.downloads.stream(scan, client.framing)?;
        Ok(stream_chunks(chunks, rpc, self.options.patience(), Work::here()))
    }

    pub(in crate::server) async fn get_query(
        &self,
        query: SqlQuery,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Chunks> {
        query.check_expiry()?;
        let environment = self.environment(&query, client);
        self.run_query(query, environment, client, rpc).await
    }

    /// What a query runs in: the options that it brings, and the tables of the session that asks now.
    pub(in crate::server) fn environment(&self, query: &SqlQuery, client: &Client) -> Environment {
        Environment { scope: query.scope.clone(), ..self.sessions.environment(client) }
    }

    /// Runs a query on the engine's threads and streams its result, if that is what the client was shown.
    pub(in crate::server) async fn run_query(
        &self,
        query: SqlQuery,
        environment: Environment,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Chunks> {
        let deadline = rpc.deadline(self.options.query_timeout);
        let id = if query.id.is_empty() { rpc.id() } else { &query.id };
        let activity = Arc::new(self.engine.begin(id, &client.user, &query.source.to_string())?);
        let started = async {
            let permit = self.engine.admit(&activity, deadline).await?;
            let SqlQuery { source, bound, schema_digest, .. } = query;
            let planned = self.engine.plan_for(&activity, &source, &environment, bound, deadline).await?;
            check_schema_digest(schema_digest.as_deref(), &planned.schema_digest())?;
            let (guard, control) = (planned.cancel_guard(), activity.control().clone());
            let schema = client.shown(&planned);
            if let Some(scan) = planned.raw_scan(&schema) {
                activity.run();
                let chunks = self.downloads.stream(scan, client.framing)?;
                let work = Work::query(Handle::current(), deadline, guard, control, permit.clone());
                return Ok((watched(chunks, Arc::clone(&activity), permit).boxed(), work));
            }
            let (gathering, place) = (client.framing.size.gathering(), permit.clone());
            let stream = self.engine.run(planned, Arc::clone(&activity), permit, deadline, gathering).await?;
            let work = Work::query(stream.runtime().clone(), deadline, guard, control, place);
            Ok((query_chunks(stream, &schema, client.framing)?.boxed(), work))
        };
        let (chunks, work) = started.await.inspect_err(|error| activity.end(Some(error)))?;
        Ok(stream_chunks(chunks, rpc, self.options.patience(), work))
    }

    /// Plans a query to find out about its result.
    pub(in crate::server) async fn plan(
        &self,
        query: &SqlQuery,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Query> {
        let (environment, bound) = (self.environment(query, client), query.bound.clone());
        let deadline = rpc.deadline(self.options.query_timeout);
        let planned = self.engine.plan(&query.source, &environment, bound, deadline).await?;
        check_schema_digest(query.schema_digest.as_deref(), &planned.schema_digest())?;
        Ok(planned)
    }
}

/// The messages of a query that needs no engine, counted as what `activity` gives. The query's place is
/// free again at their end.
fn watched(
    chunks: impl Stream<Item = Result<Chunk>> + Send + 'static,
    activity: Arc<Activity>,
    permit: Permit,
) -> impl Stream<Item = Result<Chunk>> + Send {
    let running = Some((chunks.boxed(), activity, permit));
    futures::stream::unfold(running, |running| async {
        let (mut chunks, activity, permit) = running?;
        match chunks.next().await {
            Some(Ok(chunk)) => {
                activity.count(usize::try_from(chunk.rows).unwrap_or(usize::MAX), chunk.bytes());
                Some((Ok(chunk), Some((chunks, activity, permit))))
            }
            Some(Err(error)) => {
                activity.end(Some(&error));
                Some((Err(error), None))
            }
            None => {
                activity.end(None);
                None
            }
        }
    })
}

/// The messages of a query's result, in `schema`: the stream's, with metadata or without.
fn query_chunks(
    stream: QueryStream,
    schema: &SchemaRef,
    framing: Framing,
) -> Result<impl Stream<Item = Result<Chunk>> + Send + use<>> {
    let opening = opening(schema);
    let encoder = FrameEncoder::new(stream.schema(), framing)?;
    let rest = futures::stream::try_unfold((stream, encoder), |(mut stream, mut encoder)| async {
        let chunk = match stream.next().await.transpose()? {
            Some(batch) => Some(encoder.encode(&batch)?),
            None => encoder.finish()?,
        };
        Ok(chunk.map(|chunk| (chunk, (stream, encoder))))
    });
    Ok(futures::stream::iter([Ok(opening)]).chain(rest))
}
