//! FlightInfo: of datasets, of queries, and of all there is.

use std::sync::Arc;
use std::time::SystemTime;

use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::StreamExt;
use globset::{GlobBuilder, GlobMatcher};
use tonic::Status;

use super::service::Handler;
use super::target::{RowGroups, SqlQuery, Target, dataset_ticket, lasting, row_groups_ticket};
use crate::catalog::{Catalog, Dataset, Listed};
use crate::error::{Error, Result, contain};
use crate::failpoint::Failpoint;
use crate::server::rpc::Rpc;
use crate::server::session::Client;
use crate::server::status::status;
use crate::server::stream::Responses;
use crate::storage::{blocking, ipc_schema};

/// Datasets that are described between two messages of a listing.
const LISTED_AT_ONCE: usize = 256;
/// Such chunks that are described at once, each on a thread of its own.
const CHUNKS_AHEAD: usize = 4;
/// The longest glob: what it compiles to grows with it.
const MAX_GLOB_BYTES: usize = 1024;

impl Handler {
    /// The FlightInfo of what a descriptor asks for; it carries the descriptor back.
    pub(in crate::server) async fn info(
        &self,
        descriptor: FlightDescriptor,
        target: Target,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<FlightInfo> {
        rpc.about(&target.describe());
        match target {
            Target::Dataset(dataset) => {
                let catalog = Arc::clone(self.engine.catalog());
                let dataset = blocking(move || catalog.describe(&dataset)).await?;
                let endpoints = client.endpoints.unwrap_or(self.sessions.environment(client).scope.endpoints);
                Ok(dataset_info(&dataset, descriptor, endpoints.into(), &self.options.advertise))
            }
            Target::Version(dataset, at) => {
                let catalog = Arc::clone(self.engine.catalog());
                let snapshot = blocking(move || catalog.snapshot_at(&dataset, at)).await?;
                Ok(version_info(&snapshot.dataset, descriptor, &self.options.advertise))
            }
            Target::Query(query) => self.query_info(query, descriptor, client, rpc).await,
            Target::Command(command) => self.command_info(command, descriptor, client, rpc).await,
            Target::Change { .. } | Target::RowGroups(_) => {
                Err(Error::invalid("a ticket is redeemed by DoGet"))
            }
        }
    }

    /// The FlightInfo of a query, which is planned here and runs when its ticket is redeemed.
    pub(in crate::server) async fn query_info(
        &self,
        query: SqlQuery,
        descriptor: FlightDescriptor,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<FlightInfo> {
        rpc.about(&query.source.to_string());
        let planned = self.plan(&query, client, rpc).await?;
        let until = SystemTime::now() + self.options.ticket_lifetime;
        let query = query.promised(planned.schema_digest(), until);
        let rows = planned.exact_rows().and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1);
        let info = FlightInfo {
            schema: ipc_schema(&client.shown(&planned)).into(),
            total_records: rows,
            total_bytes: -1,
            ordered: true,
            ..FlightInfo::default()
        };
        let endpoint = lasting(self.endpoint(Ticket::default()), &query)?;
        Ok(info.with_descriptor(descriptor).with_endpoint(endpoint))
    }

    /// The one endpoint of a ticket.
    pub(in crate::server) fn endpoint(&self, ticket: Ticket) -> FlightEndpoint {
        endpoint(ticket, &self.options.advertise)
    }

    /// The schema of what a descriptor asks for, as an encapsulated IPC message.
    pub(in crate::server) async fn schema(
        &self,
        target: Target,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Bytes> {
        rpc.about(&target.describe());
        match target {
            Target::Dataset(dataset) => {
                let catalog = Arc::clone(self.engine.catalog());
                let dataset = blocking(move || catalog.describe(&dataset)).await?;
                Ok(dataset.ipc_schema())
            }
            Target::Version(dataset, at) => {
                let catalog = Arc::clone(self.engine.catalog());
                let snapshot = blocking(move || catalog.snapshot_at(&dataset, at)).await?;
                Ok(snapshot.dataset.ipc_schema())
            }
            Target::Query(query) => {
                Ok(ipc_schema(&client.shown(&self.plan(&query, client, rpc).await?)).into())
            }
            Target::Command(command) => self.command_schema(command, client, rpc).await,
            Target::Change { .. } | Target::RowGroups(_) => {
                Err(Error::invalid("a ticket is redeemed by DoGet"))
            }
        }
    }

    /// The FlightInfo of every dataset, under the name that it has in the root, whose name matches `criteria`: a glob on `name`, or on
    /// `schema.name` outside of the default schema; empty for all. A dataset that is damaged, or of
    /// no kind that is served, is logged and left out.
    pub(in crate::server) async fn list(&self, criteria: &[u8], rpc: &Rpc) -> Result<Responses<FlightInfo>> {
        let pattern = std::str::from_utf8(criteria)
            .map_err(|_| Error::invalid("the criteria are a glob on dataset names, in UTF-8"))?;
        rpc.about(pattern);
        let glob = glob(pattern)?;
        let catalog = Arc::clone(self.engine.catalog());
        let found = blocking({
            let catalog = Arc::clone(&catalog);
            move || Failpoint::List.pass().and_then(|()| matching(&catalog, glob.as_ref()))
        });
        let chunks: Vec<Vec<Listed>> = found.await?.chunks(LISTED_AT_ONCE).map(<[_]>::to_vec).collect();
        let advertise: Arc<[String]> = self.options.advertise.clone().into();
        let rpc = rpc.clone();
        let infos = futures::stream::iter(chunks)
            .map(move |chunk| {
                let (catalog, advertise, rpc) = (Arc::clone(&catalog), Arc::clone(&advertise), rpc.clone());
                async move {
                    let infos = blocking(move || describe_all(&catalog, &chunk, &advertise)).await;
                    rpc.count_rows(infos.as_ref().map_or(0, |infos| infos.len() as u64));
                    infos
                }
            })
            // The next chunks are described while one is sent.
            .buffered(CHUNKS_AHEAD)
            .flat_map(|infos| {
                let infos: Vec<Result<FlightInfo, Status>> = match infos {
                    Ok(infos) => infos.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(status(&error))],
                };
                futures::stream::iter(infos)
            });
        Ok(infos.boxed())
    }
}

fn matching(catalog: &Catalog, glob: Option<&GlobMatcher>) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for schema in catalog.schemas()? {
        match catalog.list(&schema) {
            Ok(listed) => found.extend(listed),
            Err(error) if error.is_no_finding() => return Err(error),
            Err(error) => tracing::warn!(schema = schema.as_str(), %error, "left out of the listing"),
        }
    }
    if let Some(glob) = glob {
        // Both spellings of a name match, as they do everywhere.
        found.retain(|listed| {
            let name = listed.reference.to_string();
            glob.is_match(&name) || glob.is_match(format!("{name}.parquet"))
        });
    }
    Ok(found)
}

fn describe_all(catalog: &Catalog, listed: &[Listed], advertise: &[String]) -> Result<Vec<FlightInfo>> {
    let info = |listed: &Listed| match catalog.describe_listed(listed) {
        Ok(dataset) => {
            let descriptor = FlightDescriptor::new_path(listed.to_path());
            Ok(Some(dataset_info(&dataset, descriptor, 1, advertise)))
        }
        Err(error) if error.is_no_finding() => Err(error),
        Err(error) => {
            tracing::warn!(dataset = %listed.reference, %error, "left out of the listing");
            Ok(None)
        }
    };
    listed.iter().filter_map(|listed| info(listed).transpose()).collect()
}

fn glob(pattern: &str) -> Result<Option<GlobMatcher>> {
    if pattern.is_empty() {
        return Ok(None);
    }
    if pattern.len() > MAX_GLOB_BYTES {
        return Err(Error::invalid(format!("the criteria are longer than {MAX_GLOB_BYTES} bytes")));
    }
    let no_glob = |why: String| Error::invalid(format!("the criteria are no glob: {why}"));
    let glob = GlobBuilder::new(pattern).build().map_err(|error| no_glob(error.to_string()))?;
    contain(|| glob.compile_matcher()).map(Some).map_err(no_glob)
}

/// The FlightInfo of a dataset, with its rows in up to so many endpoints.
fn dataset_info(
    dataset: &Dataset,
    descriptor: FlightDescriptor,
    endpoints: usize,
    advertise: &[String],
) -> FlightInfo {
    let info = described(dataset, descriptor);
    let shares = if endpoints > 1 { dataset.shares(endpoints) } else { Vec::new() };
    if shares.len() <= 1 {
        return info.with_endpoint(endpoint(dataset_ticket(&dataset.reference), advertise));
    }
    let version = dataset.version().as_str().to_owned();
    shares.into_iter().fold(info, |info, range| {
        let part = RowGroups { dataset: dataset.reference.clone(), version: version.clone(), range };
        info.with_endpoint(endpoint(row_groups_ticket(&part), advertise))
    })
}

/// The FlightInfo of one version of a dataset, whatever comes after it.
fn version_info(dataset: &Dataset, descriptor: FlightDescriptor, advertise: &[String]) -> FlightInfo {
    let version = dataset.version().as_str().to_owned();
    let all = RowGroups { dataset: dataset.reference.clone(), version, range: 0..u64::MAX };
    described(dataset, descriptor).with_endpoint(endpoint(row_groups_ticket(&all), advertise))
}

/// A FlightInfo that has no endpoint yet.
fn described(dataset: &Dataset, descriptor: FlightDescriptor) -> FlightInfo {
    let info = FlightInfo {
        schema: dataset.ipc_schema(),
        total_records: i64::try_from(dataset.rows()).unwrap_or(i64::MAX),
        total_bytes: i64::try_from(dataset.bytes()).unwrap_or(i64::MAX),
        ordered: true,
        ..FlightInfo::default()
    };
    info.with_descriptor(descriptor)
}

/// An endpoint. No location means: on the connection that you have.
fn endpoint(ticket: Ticket, advertise: &[String]) -> FlightEndpoint {
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    advertise.iter().fold(endpoint, FlightEndpoint::with_location)
}
