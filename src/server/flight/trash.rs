//! The actions `list_trash` and `undrop_dataset`.

use std::sync::Arc;

use bytes::Bytes;

use super::actions::{Encoding, decode_or_name, encode, timestamp};
use super::service::Handler;
use crate::catalog::{Catalog, DatasetName, DatasetRef, InTrash, SchemaName, Undrop};
use crate::error::Result;
use crate::proto;
use crate::server::rpc::Rpc;
use crate::storage::blocking;

impl Handler {
    /// What is in the trash. A request without anything in it is no message of protobuf's to who types it.
    pub(in crate::server) async fn list_trash(&self, body: &Bytes) -> Result<Bytes> {
        let (request, encoding) = if body.is_empty() {
            (proto::ListTrashRequest::default(), Encoding::Json)
        } else {
            decode_or_name(body, |name| proto::ListTrashRequest { name, ..Default::default() })?
        };
        let catalog = Arc::clone(self.engine.catalog());
        let all = blocking(move || catalog.in_trash()).await?;
        let name = request.name.strip_suffix(".parquet").unwrap_or(&request.name);
        let is_asked = |found: &InTrash| {
            (name.is_empty() || found.name == name)
                && (request.schema.is_empty() || found.schema == request.schema)
        };
        let entries = all.into_iter().filter(is_asked).map(|found| proto::TrashEntry {
            kind: found.kind.name().to_owned(),
            why: found.why.name().to_owned(),
            version: found.version.unwrap_or_default(),
            bytes: found.bytes,
            trashed: timestamp(found.since),
            expires: found.until.and_then(timestamp),
            name: found.name,
            schema: found.schema,
        });
        encode(&proto::ListTrashResponse { entries: entries.collect() }, encoding)
    }

    /// Brings something back.
    pub(in crate::server) async fn undrop_dataset(&self, body: &Bytes, rpc: &Rpc) -> Result<Bytes> {
        let (request, encoding) =
            decode_or_name(body, |name| proto::UndropDatasetRequest { name, ..Default::default() })?;
        rpc.about(if request.name.is_empty() { &request.schema } else { &request.name });
        let catalog = Arc::clone(self.engine.catalog());
        let restored = blocking(move || catalog.undrop(&wanted(request, &catalog)?)).await?;
        let answer = proto::UndropDatasetResponse {
            name: restored.name.map(|name| name.to_wire()).unwrap_or_default(),
            schema: restored.schema.as_str().to_owned(),
            version: restored.version.map(|version| version.to_string()).unwrap_or_default(),
        };
        encode(&answer, encoding)
    }
}

/// What a request means: `schema.name` without a schema is a dataset of another schema, where the trash has one.
fn wanted(request: proto::UndropDatasetRequest, catalog: &Catalog) -> Result<Undrop> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let (version, new_name) = (some(request.version), some(request.new_name));
    if request.name.is_empty() && !request.schema.is_empty() {
        let schema = SchemaName::parse(&request.schema)?;
        return Ok(Undrop { kind: None, schema, name: None, version, new_name });
    }
    let mut dataset =
        DatasetRef { schema: SchemaName::parse(&request.schema)?, name: DatasetName::parse(&request.name)? };
    if request.schema.is_empty()
        && let Some(dotted) = DatasetRef::split_dotted(&request.name)
    {
        let has = |wanted: &DatasetRef, found: &InTrash| {
            found.schema == wanted.schema.as_str() && found.name == wanted.name.as_str()
        };
        let all = catalog.in_trash()?;
        if !all.iter().any(|found| has(&dataset, found)) && all.iter().any(|found| has(&dotted, found)) {
            dataset = dotted;
        }
    }
    Ok(Undrop { kind: None, schema: dataset.schema, name: Some(dataset.name), version, new_name })
}
