//! DoGet: the raw stream of a dataset, or the result of a query.

use std::sync::Arc;

use arrow_flight::FlightData;
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::flight::Handler;
use super::frames::{Chunk, FrameEncoder};
use super::respond::{Responses, Work, stream_chunks};
use super::rpc::Rpc;
use super::target::{SqlQuery, Target, check_schema_digest};
use crate::catalog::{DatasetRef, RawScan};
use crate::engine::{Permit, Query, QueryStream};
use crate::error::Result;
use crate::storage::blocking;

impl Handler {
    /// The stream of what a ticket asks for.
    pub(super) async fn get(&self, target: Target, rpc: Rpc) -> Result<Responses<FlightData>> {
        rpc.about(&target.describe());
        match target {
            Target::Dataset(dataset) => self.get_dataset(dataset, rpc).await,
            Target::Query(query) => self.get_query(&query, rpc).await,
        }
    }

    async fn get_dataset(&self, dataset: DatasetRef, rpc: Rpc) -> Result<Responses<FlightData>> {
        let catalog = Arc::clone(self.engine.catalog());
        let snapshot = blocking(move || catalog.snapshot(&dataset)).await?;
        let scan = RawScan::new(Arc::new(snapshot));
        Ok(stream_chunks(raw_chunks(scan), rpc, self.options.idle_timeout, Work::here()))
    }

    async fn get_query(&self, query: &SqlQuery, rpc: Rpc) -> Result<Responses<FlightData>> {
        let deadline = rpc.deadline(self.options.query_timeout);
        let permit = self.engine.admit(deadline).await?;
        let planned = self.plan(query, deadline).await?;
        self.stream_query(planned, permit, deadline, rpc).await
    }

    /// Runs a query on the engine's threads and streams its result.
    pub(super) async fn stream_query(
        &self,
        query: Query,
        permit: Permit,
        deadline: Instant,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        let guard = query.cancel_guard();
        let stream = self.engine.run(query, permit, deadline).await?;
        let work = Work::query(self.engine.runtime().clone(), deadline, guard);
        Ok(stream_chunks(query_chunks(stream), rpc, self.options.idle_timeout, work))
    }

    /// Plans a query and checks that its result is what the client was shown.
    pub(super) async fn plan(&self, query: &SqlQuery, deadline: Instant) -> Result<Query> {
        let planned = self.engine.plan(&query.sql, query.profile, [].into(), deadline).await?;
        check_schema_digest(query.schema_digest.as_deref(), &planned.schema_digest())?;
        Ok(planned)
    }
}

/// The messages of a raw stream. Each batch is decoded and encoded on a thread for blocking work,
/// which is free again while the client takes its time.
fn raw_chunks(scan: RawScan) -> impl Stream<Item = Result<Chunk>> + Send {
    let (encoder, opening) = FrameEncoder::new(scan.schema());
    let rest = futures::stream::try_unfold((scan, encoder), |(mut scan, mut encoder)| {
        blocking(move || {
            let chunk = match scan.next_batch()? {
                Some(batch) => Some(encoder.encode(&batch)?),
                None => encoder.finish()?,
            };
            Ok(chunk.map(|chunk| (chunk, (scan, encoder))))
        })
    });
    futures::stream::iter([Ok(opening)]).chain(rest)
}

/// The messages of a query's result.
fn query_chunks(stream: QueryStream) -> impl Stream<Item = Result<Chunk>> + Send {
    let (encoder, opening) = FrameEncoder::new(stream.schema());
    let rest = futures::stream::try_unfold((stream, encoder), |(mut stream, mut encoder)| async {
        let chunk = match stream.next().await.transpose()? {
            Some(batch) => Some(encoder.encode(&batch)?),
            None => encoder.finish()?,
        };
        Ok(chunk.map(|chunk| (chunk, (stream, encoder))))
    });
    futures::stream::iter([Ok(opening)]).chain(rest)
}
