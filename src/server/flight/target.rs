//! What a descriptor or a ticket asks for, read once.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{FlightDescriptor, FlightEndpoint, Ticket};
use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::catalog::{AtVersion, Catalog, DatasetName, DatasetRef};
use crate::engine::{Bound, Scope, Source, TypeProfile, near_verb};
use crate::error::{Error, ErrorKind, Result};
use crate::proto;
use crate::server::ipc::{pack, unpack};
use crate::storage::blocking;

const TICKET_TYPE: &str = "type.googleapis.com/airstrip.v1.Ticket";
const FLIGHT_SQL_TYPES: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A dataset's raw stream.
    Dataset(DatasetRef),
    /// The raw stream of an earlier version of a dataset.
    Version(DatasetRef, AtVersion),
    /// A part of a dataset's raw stream.
    RowGroups(RowGroups),
    /// The result of a query.
    Query(SqlQuery),
    /// The count of a statement that has been run already.
    Change {
        /// Rows that it stored.
        rows: i64,
    },
    /// What a command of Flight SQL says.
    Command(Command),
}

/// Row groups of one version of a dataset, counted over its files in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowGroups {
    pub(in crate::server) dataset: DatasetRef,
    pub(in crate::server) version: String,
    pub(in crate::server) range: Range<u64>,
}

/// Where bytes came from. A command of several words that names no dataset is SQL, however it begins;
/// a ticket may be the name of a dataset that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Ticket,
    Command,
}

/// A query, what it runs in, and what its result must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SqlQuery {
    pub(in crate::server) source: Source,
    /// The options of the session that asked.
    pub(in crate::server) scope: Scope,
    /// Values of its parameters.
    pub(in crate::server) bound: Option<Bound>,
    /// The schema that the client was shown, if it was shown one.
    pub(in crate::server) schema_digest: Option<Vec<u8>>,
    /// What it can be cancelled by.
    pub(in crate::server) id: String,
    /// When its ticket expires, in nanoseconds since the epoch.
    expires: Option<i64>,
}

impl SqlQuery {
    /// A query that nobody has asked about yet.
    pub(in crate::server) fn new(source: impl Into<Source>, scope: Scope, bound: Option<Bound>) -> Self {
        let id = Uuid::new_v4().to_string();
        Self { source: source.into(), scope, bound, schema_digest: None, id, expires: None }
    }

    /// The query for a client that was shown a schema, until a point in time.
    pub(in crate::server) fn promised(self, schema_digest: Vec<u8>, until: SystemTime) -> Self {
        Self { schema_digest: Some(schema_digest), expires: Some(nanos(until)), ..self }
    }

    /// Fails if the query's ticket has expired.
    pub(in crate::server) fn check_expiry(&self) -> Result<()> {
        match self.expires {
            Some(expires) if expires < nanos(SystemTime::now()) => Err(Error::precondition(
                "the ticket has expired; ask for a new one (GetFlightInfo), or renew it in time \
                 (RenewFlightEndpoint)",
            )),
            _ => Ok(()),
        }
    }
}

fn nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Characters of a text that an error shows.
const SHOWN: usize = 100;

impl Target {
    /// Reads a ticket: one of ours or of Flight SQL's; else a dataset's name; else SQL.
    pub(crate) async fn of_ticket(ticket: &Ticket, scope: Scope, catalog: &Arc<Catalog>) -> Result<Self> {
        Self::of_bytes(&ticket.ticket, Reading::Ticket, scope, catalog).await
    }

    /// Reads a descriptor: a path names a dataset, a command is read like a ticket.
    pub(crate) async fn of_descriptor(
        descriptor: &FlightDescriptor,
        scope: Scope,
        catalog: &Arc<Catalog>,
    ) -> Result<Self> {
        match descriptor.r#type() {
            DescriptorType::Path => {
                let dataset = DatasetRef::from_path(&descriptor.path)?;
                if let Some((dataset, at)) = version_of(&dataset, catalog).await? {
                    return Ok(Self::Version(dataset, at));
                }
                match view(&dataset, &scope, catalog).await? {
                    Some(query) => Ok(Self::Query(query)),
                    None => Ok(Self::Dataset(dataset)),
                }
            }
            DescriptorType::Cmd => Self::of_bytes(&descriptor.cmd, Reading::Command, scope, catalog).await,
            DescriptorType::Unknown => Err(Error::invalid("the descriptor is neither a path nor a command")),
        }
    }

    async fn of_bytes(bytes: &Bytes, reading: Reading, scope: Scope, catalog: &Arc<Catalog>) -> Result<Self> {
        if let Some(target) = known_message(bytes)? {
            return Ok(target);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Error::invalid(
                "these bytes are neither a ticket of this server, nor the name of a dataset, nor SQL",
            ));
        };
        if let Some(dataset) = existing(text, catalog).await? {
            return Ok(Self::Dataset(dataset));
        }
        for dataset in readings(text) {
            if let Some((dataset, at)) = version_of(&dataset, catalog).await? {
                return Ok(Self::Version(dataset, at));
            }
            if let Some(query) = view(&dataset, &scope, catalog).await? {
                return Ok(Self::Query(query));
            }
        }
        let words = text.split_whitespace().count();
        if !looks_like_sql(text) && (reading == Reading::Ticket || words == 1) {
            if words > 1
                && let Some(verb) = near_verb(text)
            {
                let text: String = text.chars().take(SHOWN).collect();
                return Err(Error::not_found(format!(
                    "there is no dataset {text:?}; if it is SQL: did you mean {verb}?"
                )));
            }
            // Taken for a name: the error of a missing dataset, or of a text that is no name, says so.
            return Ok(Self::Dataset(DatasetRef::in_default(DatasetName::parse(text)?)));
        }
        Ok(Self::Query(SqlQuery::new(text.to_owned(), scope, None)))
    }

    /// The target as the log shows it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Dataset(dataset) | Self::RowGroups(RowGroups { dataset, .. }) => dataset.to_string(),
            Self::Version(dataset, _) => format!("{dataset} at an earlier version"),
            Self::Query(query) => query.source.to_string(),
            Self::Change { .. } => "a count".to_owned(),
            Self::Command(command) => command.type_url().to_owned(),
        }
    }
}

/// The dataset and version that a name like `events@3` means, where there is no dataset of that very name.
async fn version_of(named: &DatasetRef, catalog: &Arc<Catalog>) -> Result<Option<(DatasetRef, AtVersion)>> {
    let Some((name, at)) = named.name.as_str().rsplit_once('@') else { return Ok(None) };
    let (Ok(dataset), Some(at)) = (DatasetRef::parse(named.schema.as_str(), name), AtVersion::parse(at))
    else {
        return Ok(None);
    };
    let (catalog, named) = (Arc::clone(catalog), named.clone());
    blocking(move || {
        let is_version = !catalog.exists(&named)? && catalog.exists(&dataset)?;
        Ok(is_version.then_some((dataset, at)))
    })
    .await
}

/// The query of all rows of a view, if there is one of this name: what a client gets that asks for it as
/// if it were a dataset.
async fn view(dataset: &DatasetRef, scope: &Scope, catalog: &Arc<Catalog>) -> Result<Option<SqlQuery>> {
    let (catalog, wanted) = (Arc::clone(catalog), dataset.clone());
    if blocking(move || catalog.view(&wanted)).await?.is_none() {
        return Ok(None);
    }
    let quoted = |text: &str| text.replace('"', "\"\"");
    let (schema, name) = (quoted(dataset.schema.as_str()), quoted(dataset.name.as_str()));
    Ok(Some(SqlQuery::new(format!("SELECT * FROM \"{schema}\".\"{name}\""), scope.clone(), None)))
}

/// The message inside a `google.protobuf.Any` whose type we know. That the bytes decode says nothing:
/// those of the name `users` are a valid `Any` too. The type's URL is what tells.
fn known_message(bytes: &Bytes) -> Result<Option<Target>> {
    let Ok(any) = Any::decode(bytes.clone()) else { return Ok(None) };
    if any.type_url.starts_with(FLIGHT_SQL_TYPES) {
        let command = Command::try_from(any);
        return command
            .map(|command| Some(Target::Command(command)))
            .map_err(|error| Error::invalid(format!("the command of Flight SQL is damaged: {error}")));
    }
    if any.type_url != TICKET_TYPE {
        return Ok(None);
    }
    let ticket = proto::Ticket::decode(any.value).map_err(|_| damaged())?;
    Ok(Some(match ticket.kind.ok_or_else(damaged)? {
        proto::ticket::Kind::Dataset(ticket) => {
            let dataset = DatasetRef::parse(&ticket.schema, &ticket.name)?;
            if ticket.version.is_empty() {
                return Ok(Some(Target::Dataset(dataset)));
            }
            let first = ticket.first_row_group;
            let range = first..first.checked_add(ticket.row_groups).ok_or_else(damaged)?;
            Target::RowGroups(RowGroups { dataset, version: ticket.version, range })
        }
        proto::ticket::Kind::Query(query) => Target::Query(query_of(query)?),
        proto::ticket::Kind::Change(change) => Target::Change { rows: change.rows },
    }))
}

fn damaged() -> Error {
    Error::invalid("the ticket is damaged; ask for a new one (GetFlightInfo)")
}

fn query_of(query: proto::QueryTicket) -> Result<SqlQuery> {
    let mut scope = Scope::default();
    scope.types = TypeProfile::parse(&query.types)?;
    if !query.schema.is_empty() {
        scope.set("schema", &query.schema)?;
    }
    for (name, value) in &query.settings {
        scope.set(name, value)?;
    }
    Ok(SqlQuery {
        source: if query.substrait.is_empty() {
            Source::Sql(query.sql)
        } else {
            Source::Substrait(query.substrait)
        },
        scope,
        bound: unpack(&query.parameters)?.map(Bound::new),
        schema_digest: (!query.schema_digest.is_empty()).then(|| query.schema_digest.to_vec()),
        id: query.id,
        expires: (query.expires != 0).then_some(query.expires),
    })
}

/// What the query of a ticket can be cancelled by, if the ticket is a query's.
pub(in crate::server) fn queries_of(ticket: &Ticket) -> Option<String> {
    match known_message(&ticket.ticket) {
        Ok(Some(Target::Query(query))) => Some(query.id).filter(|id| !id.is_empty()),
        _ => None,
    }
}

/// `endpoint` with a ticket that lasts until a point in time. Tickets that never expire stay as they are.
pub(in crate::server) fn renewed(endpoint: FlightEndpoint, until: SystemTime) -> Result<FlightEndpoint> {
    let ticket = endpoint.ticket.clone().unwrap_or_default();
    match known_message(&ticket.ticket)? {
        Some(Target::Query(query)) => {
            let query = SqlQuery { expires: Some(nanos(until)), ..query };
            lasting(endpoint, &query)
        }
        None if ticket.ticket.is_empty() => Err(Error::invalid("the endpoint has no ticket")),
        _ => Ok(endpoint),
    }
}

/// `endpoint` with the ticket of a query, and when that expires.
pub(in crate::server) fn lasting(endpoint: FlightEndpoint, query: &SqlQuery) -> Result<FlightEndpoint> {
    let expiration_time = query.expires.map(|nanos| prost_types::Timestamp {
        seconds: nanos / 1_000_000_000,
        nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
    });
    Ok(FlightEndpoint { ticket: Some(query_ticket(query)?), expiration_time, ..endpoint })
}

/// The dataset that `text` names, plainly or as `schema.name`, if it is there.
pub(in crate::server) async fn existing(text: &str, catalog: &Arc<Catalog>) -> Result<Option<DatasetRef>> {
    let candidates = readings(text);
    if candidates.is_empty() {
        return Ok(None);
    }
    let catalog = Arc::clone(catalog);
    blocking(move || {
        for dataset in candidates {
            if catalog.exists(&dataset)? {
                return Ok(Some(dataset));
            }
        }
        Ok(None)
    })
    .await
}

/// The datasets that `text` can mean.
fn readings(text: &str) -> Vec<DatasetRef> {
    let plain = DatasetName::parse(text).ok().map(DatasetRef::in_default);
    plain.into_iter().chain(DatasetRef::split_dotted(text)).collect()
}

/// The dataset that a message's two fields name; without a schema also by `schema.name`.
pub(in crate::server) async fn named(schema: &str, name: &str, catalog: &Arc<Catalog>) -> Result<DatasetRef> {
    if schema.is_empty()
        && let Some(dataset) = existing(name, catalog).await?
    {
        return Ok(dataset);
    }
    DatasetRef::parse(schema, name)
}

/// Whether a text that names no dataset was meant as SQL: it has several words, and the first is one
/// that statements begin with.
fn looks_like_sql(text: &str) -> bool {
    const OPENERS: [&str; 39] = [
        "select",
        "with",
        "values",
        "table",
        "show",
        "describe",
        "desc",
        "explain",
        "insert",
        "update",
        "delete",
        "merge",
        "create",
        "drop",
        "alter",
        "copy",
        "set",
        "reset",
        "truncate",
        "undrop",
        "begin",
        "start",
        "commit",
        "rollback",
        "prepare",
        "execute",
        "deallocate",
        "use",
        "grant",
        "revoke",
        "call",
        "analyze",
        "vacuum",
        "declare",
        "load",
        "unload",
        "export",
        "attach",
        "pragma",
    ];
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    if start.starts_with("--") || start.starts_with("/*") {
        return true;
    }
    let word: String = start.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let goes_on = start[word.len()..].starts_with(|c: char| c.is_whitespace() || "(*'\"".contains(c));
    goes_on && OPENERS.contains(&word.as_str())
}

/// The ticket of a dataset: its plain name, as the cookbook's client expects; outside of the default
/// schema a message, since `schema.name` could be a dataset's plain name too.
pub(in crate::server) fn dataset_ticket(dataset: &DatasetRef) -> Ticket {
    if dataset.schema.is_default() {
        return Ticket::new(dataset.name.to_wire());
    }
    let kind = proto::ticket::Kind::Dataset(proto::DatasetTicket {
        schema: dataset.schema.as_str().to_owned(),
        name: dataset.name.to_wire(),
        ..proto::DatasetTicket::default()
    });
    encode(kind)
}

/// The ticket of a part of a dataset.
pub(in crate::server) fn row_groups_ticket(part: &RowGroups) -> Ticket {
    encode(proto::ticket::Kind::Dataset(proto::DatasetTicket {
        schema: part.dataset.schema.as_str().to_owned(),
        name: part.dataset.name.to_wire(),
        version: part.version.clone(),
        first_row_group: part.range.start,
        row_groups: part.range.end - part.range.start,
    }))
}

/// The ticket of a query.
fn query_ticket(query: &SqlQuery) -> Result<Ticket> {
    let (sql, substrait) = match &query.source {
        Source::Sql(sql) => (sql.clone(), Bytes::new()),
        Source::Substrait(plan) => (String::new(), plan.clone()),
    };
    let parameters = query.bound.as_ref().map(|bound| pack(bound.batch())).transpose()?;
    Ok(encode(proto::ticket::Kind::Query(proto::QueryTicket {
        sql,
        substrait,
        types: query.scope.types.as_str().to_owned(),
        schema_digest: query.schema_digest.clone().unwrap_or_default().into(),
        schema: query.scope.schema.as_str().to_owned(),
        settings: query.scope.settings().collect(),
        parameters: parameters.unwrap_or_default(),
        id: query.id.clone(),
        expires: query.expires.unwrap_or_default(),
    })))
}

/// The ticket of a statement that has been run.
pub(in crate::server) fn change_ticket(rows: i64) -> Ticket {
    encode(proto::ticket::Kind::Change(proto::ChangeTicket { rows }))
}

fn encode(kind: proto::ticket::Kind) -> Ticket {
    let value = proto::Ticket { kind: Some(kind) }.encode_to_vec().into();
    let any = Any { type_url: TICKET_TYPE.to_owned(), value };
    Ticket::new(any.encode_to_vec())
}

/// Fails if a query's result is not what the client was shown.
pub(in crate::server) fn check_schema_digest(wanted: Option<&[u8]>, have: &[u8]) -> Result<()> {
    if wanted.is_none_or(|wanted| wanted == have) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::FailedPrecondition,
        "the tables have other columns by now than when this ticket was made; ask for a new one \
         (GetFlightInfo)",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(ticket: &Ticket) -> Option<Target> {
        known_message(&ticket.ticket).unwrap()
    }

    #[test]
    fn names_that_happen_to_be_protobuf_are_names() {
        for name in ["users", "music", "email", "a", "uploaded.parquet"] {
            assert_eq!(known(&Ticket::new(name)), None, "{name}");
        }
    }

    #[test]
    fn sql_is_told_from_names() {
        for sql in [
            "select 1",
            "SELECT*from t",
            "(select 1)",
            "with t as (select 1) select * from t",
            "-- x\nselect 1",
        ] {
            assert!(looks_like_sql(sql), "{sql}");
        }
        for name in ["select", "selection 2024", "sales", "my table", "table", "with-dash", "setup"] {
            assert!(!looks_like_sql(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn tickets_survive_the_wire(
            sql in any::<String>(),
            native in any::<bool>(),
            digest in any::<[u8; 4]>(),
            values in proptest::collection::vec(any::<i64>(), 1..5),
        ) {
            let types = if native { TypeProfile::Native } else { TypeProfile::Compatible };
            let mut scope = Scope::default();
            scope.types = types;
            scope.set("schema", "finance").unwrap();
            scope.set("time_zone", "Europe/Berlin").unwrap();
            let values: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(values));
            let bound = Bound::new(arrow::array::RecordBatch::try_from_iter([("$1", values)]).unwrap());
            let query = SqlQuery::new(sql, scope, Some(bound)).promised(digest.to_vec(), SystemTime::now());
            prop_assert_eq!(known(&query_ticket(&query).unwrap()), Some(Target::Query(query)));
        }

        #[test]
        fn tickets_of_schemas_survive_the_wire(schema in "[a-z]{1,8}", name in "[a-z.]{1,8}") {
            if let Ok(dataset) = DatasetRef::parse(&schema, &name) {
                let ticket = dataset_ticket(&dataset);
                if !dataset.schema.is_default() {
                    prop_assert_eq!(known(&ticket), Some(Target::Dataset(dataset.clone())));
                }
                let part = RowGroups { dataset, version: "v".to_owned(), range: 3..7 };
                prop_assert_eq!(known(&row_groups_ticket(&part)), Some(Target::RowGroups(part)));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
            let _ = known_message(&Bytes::from(bytes));
        }
    }
}
