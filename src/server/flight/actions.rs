//! DoAction: the lifecycle of datasets, and stopping a query. What Flight itself defines is in
//! [`flight_sql`](crate::server::flight_sql).

use std::sync::Arc;

use arrow_flight::ActionType;
use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;

use super::lenient;
use super::service::Handler;
use super::target::named;
use crate::catalog::{AtVersion, Catalog, ColumnStats, Dataset, DatasetRef, DropOptions, Kind, SchemaName};
use crate::engine::Activity;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;
use crate::proto;
use crate::server::flight_sql::{self, Answer};
use crate::server::headers::{IF_VERSION, header};
use crate::server::rpc::Rpc;
use crate::server::session::Client;
use crate::storage::{CommitSummary, EXTENSION_METADATA, blocking};

const DROP: &str = "drop_dataset";
const REGISTER: &str = "register_dataset";
const DESCRIBE: &str = "describe_dataset";
const RENAME: &str = "rename_dataset";
const TRASH: &str = "list_trash";
const UNDROP: &str = "undrop_dataset";
const OPTIMIZE: &str = "optimize_dataset";
const VACUUM: &str = "vacuum_dataset";
const RESTORE: &str = "restore_dataset";
const CANCEL: &str = "cancel_query";
/// Commits that a description tells of.
const COMMITS: usize = 20;

/// The actions, with descriptions that say what their bodies are.
const ACTIONS: [(&str, &str); 10] = [
    (
        DROP,
        "Move a dataset to the trash. Body: its name, or airstrip.v1.DropDatasetRequest {name, schema, ifVersion, \
         keepOtherFiles} as JSON or protobuf. Answer: DropDatasetResponse {name, schema, version, kept, trashed}.",
    ),
    (
        TRASH,
        "List what was dropped or replaced and can come back. Body: nothing or a name, both answered in JSON, or \
         airstrip.v1.ListTrashRequest {name, schema} as JSON or protobuf. Answer: ListTrashResponse {entries}.",
    ),
    (
        UNDROP,
        "Bring back what was dropped or replaced. Body: its name, or airstrip.v1.UndropDatasetRequest {name, schema, \
         version, newName} as JSON or protobuf. Answer: UndropDatasetResponse {name, schema, version}.",
    ),
    (
        REGISTER,
        "Make Parquet that lies in the root, or below a --register-from directory, a dataset without copying \
         it. Body: airstrip.v1.RegisterDatasetRequest {name, schema, path, replace} as JSON or protobuf. \
         Answer: RegisterDatasetResponse {name, schema, version, rows, files}.",
    ),
    (
        DESCRIBE,
        "Describe a dataset: schema, rows, bytes, files, codecs, version, statistics per column. Body: its \
         name, or airstrip.v1.DescribeDatasetRequest {name, schema} as JSON or protobuf. Answer: \
         DescribeDatasetResponse.",
    ),
    (
        RENAME,
        "Give a dataset another name. Body: airstrip.v1.RenameDatasetRequest {name, schema, newName, \
         newSchema} as JSON or protobuf. Answer: RenameDatasetResponse {name, schema, version}.",
    ),
    (
        OPTIMIZE,
        "Make the small files of a Delta table fewer, or order all its rows by columns (Z-order). Body: its name, \
         or airstrip.v1.OptimizeDatasetRequest {name, schema, zOrderBy} as JSON or protobuf. Answer: \
         OptimizeDatasetResponse {name, schema, version, filesRemoved, filesAdded}.",
    ),
    (
        VACUUM,
        "Remove the files of a Delta table that no version within the retention needs. Body: its name, or \
         airstrip.v1.VacuumDatasetRequest {name, schema, retention, dryRun} as JSON or protobuf. Answer: \
         VacuumDatasetResponse {name, schema, files}.",
    ),
    (
        RESTORE,
        "Make an earlier version of a Delta table the newest again. Body: \
         airstrip.v1.RestoreDatasetRequest {name, schema, to} as JSON or protobuf, `to` being a version's number \
         or a time. Answer: RestoreDatasetResponse {name, schema, version}.",
    ),
    (
        CANCEL,
        "Stop a query. Body: its id in the table system.queries, or airstrip.v1.CancelQueryRequest {id} as \
         JSON or protobuf. Answer: CancelQueryResponse {cancelled}.",
    ),
];

/// The actions for ListActions.
pub(in crate::server) fn action_types() -> impl Iterator<Item = ActionType> {
    let ours = ACTIONS.into_iter().map(|(name, description)| ActionType {
        r#type: name.to_owned(),
        description: description.to_owned(),
    });
    ours.chain(flight_sql::action_types())
}

/// Fails where a header of an action asks for what the action takes in its body: it would be ignored.
pub(in crate::server) fn check_action(metadata: &MetadataMap, action: &str) -> Result<()> {
    if action == DROP && header(metadata, IF_VERSION)?.is_some() {
        return Err(Error::invalid(format!(
            "the action {DROP} takes a version in its body, {{\"name\": …, \"ifVersion\": …}}, and not in a header"
        )));
    }
    Ok(())
}

impl Handler {
    /// Does an action.
    pub(in crate::server) async fn act(
        &self,
        action: &arrow_flight::Action,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Answer> {
        match self.flight_action(action, client, rpc).await? {
            Some(answer) => Ok(answer),
            None => self.dataset_action(action, client, rpc).await.map(Some),
        }
    }

    async fn dataset_action(
        &self,
        action: &arrow_flight::Action,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Bytes> {
        Failpoint::Action.pass()?;
        let body = &action.body;
        match action.r#type.as_str() {
            DROP => {
                let (request, encoding) =
                    decode_or_name(body, |name| proto::DropDatasetRequest { name, ..Default::default() })?;
                encode(&self.drop_dataset(request, rpc).await?, encoding)
            }
            TRASH => self.list_trash(body).await,
            UNDROP => self.undrop_dataset(body, rpc).await,
            REGISTER => {
                let (request, encoding) = decode(body)?;
                encode(&self.register_dataset(request, rpc).await?, encoding)
            }
            DESCRIBE => {
                let (request, encoding) = decode_or_name(body, |name| proto::DescribeDatasetRequest {
                    name,
                    ..Default::default()
                })?;
                encode(&self.describe_dataset(request, rpc).await?, encoding)
            }
            RENAME => {
                let (request, encoding) = decode(body)?;
                encode(&self.rename_dataset(request, rpc).await?, encoding)
            }
            OPTIMIZE => {
                let (request, encoding) = decode_or_name(body, |name| proto::OptimizeDatasetRequest {
                    name,
                    ..Default::default()
                })?;
                encode(&self.optimize_dataset(request, client, rpc).await?, encoding)
            }
            VACUUM => {
                let (request, encoding) =
                    decode_or_name(body, |name| proto::VacuumDatasetRequest { name, ..Default::default() })?;
                encode(&self.vacuum_dataset(request, rpc).await?, encoding)
            }
            RESTORE => {
                let (request, encoding) = decode(body)?;
                encode(&self.restore_dataset(request, client, rpc).await?, encoding)
            }
            CANCEL => {
                let (request, encoding) = decode_or_name(body, |id| proto::CancelQueryRequest { id })?;
                rpc.about(&request.id);
                let cancelled = self.engine.cancel(&request.id);
                encode(&proto::CancelQueryResponse { cancelled }, encoding)
            }
            unknown => Err(Error::unimplemented(format!(
                "there is no action {unknown:?}; there are {}",
                action_types().map(|action| action.r#type).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    async fn drop_dataset(
        &self,
        request: proto::DropDatasetRequest,
        rpc: &Rpc,
    ) -> Result<proto::DropDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        let dropped = dataset.clone();
        let options = DropOptions {
            if_version: (!request.if_version.is_empty()).then_some(request.if_version),
            keep_other_files: request.keep_other_files,
        };
        let dropped = blocking(move || catalog.drop_dataset(&dropped, &options)).await?;
        let version = dropped.version.map(|version| version.to_string()).unwrap_or_default();
        let kept = dropped.kept.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let (name, schema) = names(&dataset);
        Ok(proto::DropDatasetResponse {
            name,
            schema,
            version,
            kept,
            trashed: (!dropped.trashed).then_some(false),
        })
    }

    async fn register_dataset(
        &self,
        request: proto::RegisterDatasetRequest,
        rpc: &Rpc,
    ) -> Result<proto::RegisterDatasetResponse> {
        let dataset = DatasetRef::parse(&request.schema, &request.name)?;
        rpc.about(&dataset.to_string());
        let catalog = Arc::clone(self.engine.catalog());
        let registered =
            blocking(move || catalog.register_dataset(&dataset, &request.path, request.replace)).await?;
        let (name, schema) = names(&registered.reference);
        Ok(proto::RegisterDatasetResponse {
            name,
            schema,
            version: registered.version().to_string(),
            rows: registered.rows(),
            files: registered.parts.len() as u64,
        })
    }

    async fn rename_dataset(
        &self,
        request: proto::RenameDatasetRequest,
        rpc: &Rpc,
    ) -> Result<proto::RenameDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        let schema = match request.new_schema.as_str() {
            "" => dataset.schema.clone(),
            schema => SchemaName::parse(schema)?,
        };
        let to = DatasetRef { schema, ..DatasetRef::parse("", &request.new_name)? };
        let (name, schema) = names(&to);
        let version = blocking(move || catalog.rename_dataset(&dataset, &to)).await?;
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        Ok(proto::RenameDatasetResponse { name, schema, version })
    }

    async fn optimize_dataset(
        &self,
        request: proto::OptimizeDatasetRequest,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<proto::OptimizeDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        let (name, schema) = names(&dataset);
        let activity = self.begin_action(OPTIMIZE, &dataset, client, rpc)?;
        let deadline = rpc.deadline(self.options.query_timeout);
        let done = self.engine.optimize(&activity, &dataset, request.z_order_by, deadline).await?;
        Ok(proto::OptimizeDatasetResponse {
            name,
            schema,
            version: done.version.to_string(),
            files_removed: done.files_removed,
            files_added: done.files_added,
        })
    }

    async fn vacuum_dataset(
        &self,
        request: proto::VacuumDatasetRequest,
        rpc: &Rpc,
    ) -> Result<proto::VacuumDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        let retention = match request.retention.as_str() {
            "" => None,
            text => Some(humantime::parse_duration(text).map_err(|error| {
                Error::invalid(format!("a retention is written as 7days or 36h, not {text:?}: {error}"))
            })?),
        };
        let (name, schema) = names(&dataset);
        let dry_run = request.dry_run;
        let files = blocking(move || catalog.vacuum_dataset(&dataset, retention, dry_run)).await?.files;
        Ok(proto::VacuumDatasetResponse { name, schema, files })
    }

    async fn restore_dataset(
        &self,
        request: proto::RestoreDatasetRequest,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<proto::RestoreDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        let to = AtVersion::parse(&request.to).ok_or_else(|| {
            Error::invalid(format!(
                "`to` is a version's number or a time as 2026-01-31T12:00:00Z, not {:?}",
                request.to
            ))
        })?;
        let (name, schema) = names(&dataset);
        let activity = self.begin_action(RESTORE, &dataset, client, rpc)?;
        let deadline = rpc.deadline(self.options.query_timeout);
        let version = self.engine.restore(&activity, &dataset, to, deadline).await?.to_string();
        Ok(proto::RestoreDatasetResponse { name, schema, version })
    }

    /// Notes that work on a whole table begins: it is seen among the queries, and is stopped as they are.
    fn begin_action(
        &self,
        action: &str,
        dataset: &DatasetRef,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Arc<Activity>> {
        Ok(Arc::new(self.engine.begin(rpc.id(), &client.user, &format!("{action} {dataset}"))?))
    }

    async fn describe_dataset(
        &self,
        request: proto::DescribeDatasetRequest,
        rpc: &Rpc,
    ) -> Result<proto::DescribeDatasetResponse> {
        let catalog = Arc::clone(self.engine.catalog());
        let dataset = named(&request.schema, &request.name, &catalog).await?;
        rpc.about(&dataset.to_string());
        blocking(move || describe(&catalog, &dataset)).await
    }
}

/// What the catalog knows of `dataset`; of a damaged one, at least what it is and what is wrong.
fn describe(catalog: &Catalog, dataset: &DatasetRef) -> Result<proto::DescribeDatasetResponse> {
    let (name, schema) = names(dataset);
    let table = dataset.name.as_str().to_owned();
    let described = catalog.describe(dataset).and_then(|found| Ok((found.column_stats()?, found)));
    match described {
        Ok((stats, found)) => {
            let commits = catalog.history(dataset, COMMITS)?.into_iter().map(commit).collect();
            Ok(proto::DescribeDatasetResponse { commits, ..description(&found, &stats, name, schema, table) })
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) && !catalog.exists(dataset)? => Err(error),
        Err(error) => {
            catalog.check_format(dataset)?;
            let kind = catalog.kind(dataset).map_or(proto::DatasetKind::Unspecified, |kind| kind_of(&kind));
            let damage = error.message().to_owned();
            let kind = i32::from(kind);
            Ok(proto::DescribeDatasetResponse { name, schema, table, kind, damage, ..Default::default() })
        }
    }
}

fn description(
    dataset: &Dataset,
    stats: &[ColumnStats],
    name: String,
    schema: String,
    table: String,
) -> proto::DescribeDatasetResponse {
    let columns = dataset.schema.fields().iter().zip(stats).map(|(field, stats)| proto::Column {
        name: field.name().clone(),
        r#type: field.data_type().to_string(),
        nullable: field.is_nullable(),
        null_count: stats.null_count,
        min: stats.min.as_ref().map(ToString::to_string),
        max: stats.max.as_ref().map(ToString::to_string),
        distinct_count: stats.distinct_count,
        extension: field.extension_type_name().unwrap_or_default().to_owned(),
        extension_metadata: field.metadata().get(EXTENSION_METADATA).cloned().unwrap_or_default(),
    });
    let path = match &dataset.kind {
        Kind::Registered(path) => path.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    proto::DescribeDatasetResponse {
        name,
        schema,
        table,
        kind: kind_of(&dataset.kind).into(),
        version: dataset.version().to_string(),
        modified: dataset.parts.iter().map(|part| part.stat.modified()).max().and_then(timestamp),
        created: dataset.parts.iter().filter_map(|part| part.stat.created).min().and_then(timestamp),
        rows: dataset.rows(),
        bytes: dataset.bytes(),
        files: dataset.parts.len() as u64,
        row_groups: dataset.row_groups(),
        codecs: dataset.codecs(),
        columns: columns.collect(),
        partition_columns: dataset.partition_fields.iter().map(|field| field.name().clone()).collect(),
        arrow_schema: dataset.ipc_schema(),
        path,
        damage: String::new(),
        delta_version: dataset.delta.as_ref().map(|delta| delta.version),
        commits: Vec::new(),
    }
}

fn commit(commit: CommitSummary) -> proto::Commit {
    let time = std::time::Duration::from_millis(u64::try_from(commit.timestamp).unwrap_or(0));
    proto::Commit {
        version: commit.version,
        time: timestamp(std::time::UNIX_EPOCH + time),
        operation: commit.operation,
        parameters: commit.parameters,
        files_added: commit.files_added,
        bytes_added: commit.bytes_added,
        files_removed: commit.files_removed,
    }
}

fn names(dataset: &DatasetRef) -> (String, String) {
    (dataset.name.to_wire(), dataset.schema.as_str().to_owned())
}

fn kind_of(kind: &Kind) -> proto::DatasetKind {
    match kind {
        Kind::File => proto::DatasetKind::File,
        Kind::Directory => proto::DatasetKind::Directory,
        Kind::Registered(_) => proto::DatasetKind::Registered,
        Kind::Delta => proto::DatasetKind::Delta,
    }
}

pub(in crate::server) fn timestamp(time: std::time::SystemTime) -> Option<pbjson_types::Timestamp> {
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    let nanos = i32::try_from(since.subsec_nanos()).ok()?;
    Some(pbjson_types::Timestamp { seconds: i64::try_from(since.as_secs()).ok()?, nanos })
}

/// How a body was encoded, and so how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Encoding {
    Protobuf,
    Json,
}

/// Reads a message: JSON if it starts with `{`, protobuf otherwise.
fn decode<M: Message + Default + DeserializeOwned>(body: &Bytes) -> Result<(M, Encoding)> {
    if body.first() == Some(&b'{') {
        return Ok((lenient::from_json(body, "the action's body")?, Encoding::Json));
    }
    let message = M::decode(body.clone()).map_err(|error| {
        Error::invalid(format!(
            "the action's body is neither JSON (it starts with a brace) nor protobuf: {error}"
        ))
    })?;
    Ok((message, Encoding::Protobuf))
}

/// The same where a bare name will do. A message's first byte is the tag of one of its fields, a
/// control character, which no name has.
pub(in crate::server) fn decode_or_name<M: Message + Default + DeserializeOwned>(
    body: &Bytes,
    of_name: impl FnOnce(String) -> M,
) -> Result<(M, Encoding)> {
    match body.first() {
        None | Some(0..0x20 | b'{') => decode(body),
        Some(_) => {
            let name = std::str::from_utf8(body).map_err(|_| Error::invalid("the name is not UTF-8"))?;
            Ok((of_name(name.to_owned()), Encoding::Json))
        }
    }
}

pub(in crate::server) fn encode(message: &(impl Message + Serialize), encoding: Encoding) -> Result<Bytes> {
    match encoding {
        Encoding::Protobuf => Ok(message.encode_to_vec().into()),
        Encoding::Json => serde_json::to_vec(message)
            .map(Bytes::from)
            .map_err(|error| Error::internal(format!("writing an answer: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_name(body: &[u8]) -> Result<(proto::DropDatasetRequest, Encoding)> {
        let of_name = |name| proto::DropDatasetRequest { name, ..Default::default() };
        decode_or_name(&Bytes::copy_from_slice(body), of_name)
    }

    #[test]
    fn a_body_is_a_name_json_or_protobuf() {
        let request = proto::DropDatasetRequest { name: "a".into(), ..Default::default() };
        assert_eq!(by_name(b"a").unwrap(), (request.clone(), Encoding::Json));
        assert_eq!(by_name(br#"{"name":"a"}"#).unwrap(), (request.clone(), Encoding::Json));
        assert_eq!(by_name(&request.encode_to_vec()).unwrap(), (request, Encoding::Protobuf));
        assert!(by_name(br#"{"nome":"a"}"#).is_err());
        assert!(by_name(b"\xff\xfe").is_err());
    }

    proptest! {
        #[test]
        fn requests_survive_both_encodings(name in "\\PC{0,20}", path in "\\PC{0,20}", replace in any::<bool>()) {
            let request = proto::RegisterDatasetRequest { name, schema: String::new(), path, replace };
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let body = encode(&request, encoding).unwrap();
                if !body.is_empty() {
                    prop_assert_eq!(&decode(&body).unwrap(), &(request.clone(), encoding));
                }
            }
        }
    }
}
