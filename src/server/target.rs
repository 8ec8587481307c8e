//! What a descriptor or a ticket asks for, read once.

use std::sync::Arc;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightDescriptor, Ticket};
use bytes::Bytes;
use prost::Message;

use crate::catalog::{Catalog, DatasetName, DatasetRef};
use crate::engine::TypeProfile;
use crate::error::{Error, ErrorKind, Result};
use crate::proto;
use crate::storage::blocking;

const TICKET_TYPE: &str = "type.googleapis.com/airstrip.v1.Ticket";
const FLIGHT_SQL_TYPES: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// A dataset's raw stream, or the result of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Dataset(DatasetRef),
    Query(SqlQuery),
}

/// Where bytes came from. A command of several words that names no dataset is SQL, however it begins;
/// a ticket may be the name of a dataset that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Ticket,
    Command,
}

/// A SQL text and what its result must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlQuery {
    pub(super) sql: String,
    pub(super) profile: TypeProfile,
    /// The schema that the client was shown, if it was shown one.
    pub(super) schema_digest: Option<Vec<u8>>,
}

impl Target {
    /// Reads a ticket: one of ours; else a dataset's name; else SQL.
    pub(super) async fn of_ticket(
        ticket: &Ticket,
        profile: TypeProfile,
        catalog: &Arc<Catalog>,
    ) -> Result<Self> {
        Self::of_bytes(&ticket.ticket, Reading::Ticket, profile, catalog).await
    }

    /// Reads a descriptor: a path names a dataset, a command is read like a ticket.
    pub(super) async fn of_descriptor(
        descriptor: &FlightDescriptor,
        profile: TypeProfile,
        catalog: &Arc<Catalog>,
    ) -> Result<Self> {
        match descriptor.r#type() {
            DescriptorType::Path => Ok(Self::Dataset(DatasetRef::from_path(&descriptor.path)?)),
            DescriptorType::Cmd => Self::of_bytes(&descriptor.cmd, Reading::Command, profile, catalog).await,
            DescriptorType::Unknown => Err(Error::invalid("the descriptor is neither a path nor a command")),
        }
    }

    async fn of_bytes(
        bytes: &Bytes,
        reading: Reading,
        profile: TypeProfile,
        catalog: &Arc<Catalog>,
    ) -> Result<Self> {
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
        let words = text.split_whitespace().count();
        if !looks_like_sql(text) && (reading == Reading::Ticket || words == 1) {
            // Taken for a name: the error of a missing dataset, or of a text that is no name, says so.
            return Ok(Self::Dataset(DatasetRef::in_default(DatasetName::parse(text)?)));
        }
        Ok(Self::Query(SqlQuery { sql: text.to_owned(), profile, schema_digest: None }))
    }

    /// The target as the log shows it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Dataset(dataset) => dataset.to_string(),
            Self::Query(query) => query.sql.clone(),
        }
    }
}

/// The message inside a `google.protobuf.Any` whose type we know. That the bytes decode says nothing:
/// those of the name `users` are a valid `Any` too. The type's URL is what tells.
fn known_message(bytes: &Bytes) -> Result<Option<Target>> {
    let Ok(any) = arrow_flight_any(bytes) else { return Ok(None) };
    if any.type_url.starts_with(FLIGHT_SQL_TYPES) {
        let command = any.type_url.trim_start_matches(FLIGHT_SQL_TYPES);
        return Err(Error::unimplemented(format!(
            "the Flight SQL command {command} is not served; send the SQL text itself as command or ticket"
        )));
    }
    if any.type_url != TICKET_TYPE {
        return Ok(None);
    }
    let damaged = || Error::invalid("the ticket is damaged; ask for a new one (GetFlightInfo)");
    let ticket = proto::Ticket::decode(any.value).map_err(|_| damaged())?;
    Ok(Some(match ticket.kind.ok_or_else(damaged)? {
        proto::ticket::Kind::Dataset(dataset) => {
            Target::Dataset(DatasetRef::parse(&dataset.schema, &dataset.name)?)
        }
        proto::ticket::Kind::Query(query) => Target::Query(SqlQuery {
            sql: query.sql,
            profile: TypeProfile::parse(&query.types)?,
            schema_digest: (!query.schema_digest.is_empty()).then(|| query.schema_digest.to_vec()),
        }),
    }))
}

fn arrow_flight_any(bytes: &Bytes) -> Result<pbjson_types::Any, prost::DecodeError> {
    pbjson_types::Any::decode(bytes.clone())
}

/// The dataset that `text` names, plainly or as `schema.name`, if it is there.
pub(super) async fn existing(text: &str, catalog: &Arc<Catalog>) -> Result<Option<DatasetRef>> {
    let plain = DatasetName::parse(text).ok().map(DatasetRef::in_default);
    let candidates: Vec<_> = plain.into_iter().chain(DatasetRef::split_dotted(text)).collect();
    if candidates.is_empty() {
        return Ok(None);
    }
    let catalog = Arc::clone(catalog);
    blocking(move || Ok(candidates.into_iter().find(|dataset| catalog.exists(dataset)))).await
}

/// The dataset that a message's two fields name; without a schema also by `schema.name`.
pub(super) async fn named(schema: &str, name: &str, catalog: &Arc<Catalog>) -> Result<DatasetRef> {
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
    const OPENERS: [&str; 38] = [
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
pub(super) fn dataset_ticket(dataset: &DatasetRef) -> Ticket {
    if dataset.schema.is_default() {
        return Ticket::new(dataset.name.to_wire());
    }
    let kind = proto::ticket::Kind::Dataset(proto::DatasetTicket {
        schema: dataset.schema.as_str().to_owned(),
        name: dataset.name.to_wire(),
    });
    encode(kind)
}

/// The ticket of a query.
pub(super) fn query_ticket(query: &SqlQuery) -> Ticket {
    encode(proto::ticket::Kind::Query(proto::QueryTicket {
        sql: query.sql.clone(),
        types: query.profile.as_str().to_owned(),
        schema_digest: query.schema_digest.clone().unwrap_or_default().into(),
    }))
}

fn encode(kind: proto::ticket::Kind) -> Ticket {
    let value = proto::Ticket { kind: Some(kind) }.encode_to_vec().into();
    let any = pbjson_types::Any { type_url: TICKET_TYPE.to_owned(), value };
    Ticket::new(any.encode_to_vec())
}

/// Fails if a query's result is not what the client was shown.
pub(super) fn check_schema_digest(wanted: Option<&[u8]>, have: &[u8]) -> Result<()> {
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
        fn tickets_survive_the_wire(sql in any::<String>(), native in any::<bool>(), digest in any::<[u8; 4]>()) {
            let profile = if native { TypeProfile::Native } else { TypeProfile::Compatible };
            let query = SqlQuery { sql, profile, schema_digest: Some(digest.to_vec()) };
            prop_assert_eq!(known(&query_ticket(&query)), Some(Target::Query(query)));
        }

        #[test]
        fn tickets_of_schemas_survive_the_wire(schema in "[a-z]{1,8}", name in "[a-z.]{1,8}") {
            if let Ok(dataset) = DatasetRef::parse(&schema, &name) {
                let ticket = dataset_ticket(&dataset);
                if !dataset.schema.is_default() {
                    prop_assert_eq!(known(&ticket), Some(Target::Dataset(dataset)));
                }
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
            let _ = known_message(&Bytes::from(bytes));
        }
    }
}
