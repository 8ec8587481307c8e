//! What is done to the store while its system calls fail, and how to tell whether it was done.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::FlightClient;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{act, batch, put};
use crate::inject::Traced;
use crate::statements::{Run, Statement};

/// Rows of an upload.
const ROWS: i64 = 3;

/// An operation on a dataset of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Replace,
    Drop,
    Rename,
    Append,
    Promote,
    Insert,
    Delete,
    Update,
    Register,
    CreateView,
    CreateSchema,
    Vacuum,
    /// One that is told by a number.
    Statement(&'static Statement),
}

/// The clients of a server.
pub(crate) struct Clients {
    plain: FlightClient,
    appending: FlightClient,
    sql: FlightSqlServiceClient<Channel>,
}

impl Clients {
    pub(crate) async fn of(server: &Traced) -> Self {
        Self::over(server.channel().await)
    }

    pub(crate) fn over(channel: Channel) -> Self {
        let mut appending = FlightClient::new(channel.clone());
        appending.add_header("x-airstrip-mode", "append").unwrap();
        let sql = FlightSqlServiceClient::new(channel.clone());
        Self { plain: FlightClient::new(channel), appending, sql }
    }

    pub(crate) async fn change(&mut self, sql: &str) -> Result<(), FlightError> {
        self.sql.execute_update(sql.to_owned(), None).await.map(|_| ())
    }

    /// The one number that a query gives; `None` where there is no such table.
    async fn number(&mut self, sql: &str) -> Option<i64> {
        match self.try_number(sql).await {
            Ok(number) => Some(number),
            Err(error) if code(&error) == Some(Code::NotFound) => None,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    async fn try_number(&mut self, sql: &str) -> Result<i64, FlightError> {
        let info = self.sql.execute(sql.to_owned(), None).await?;
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let batches: Vec<_> = self.sql.do_get(ticket).await?.try_collect().await?;
        Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
    }

    /// Makes datasets of all sorts.
    pub(crate) async fn make_some(&mut self) {
        self.put("plain", 1, ROWS).await;
        put(&mut self.appending, "table", vec![batch(1, ROWS)]).await.unwrap();
        self.change("create view seen as select n from plain").await.unwrap();
        self.change("create schema shop").await.unwrap();
    }

    /// What is there: as Flight lists it, and as SQL does.
    pub(crate) async fn listing(&mut self) -> Result<(Vec<String>, i64), FlightError> {
        let infos: Vec<_> = self.plain.list_flights(String::new()).await?.try_collect().await?;
        let mut paths: Vec<_> =
            infos.into_iter().map(|info| info.flight_descriptor.unwrap().path.join("/")).collect();
        paths.sort_unstable();
        let columns = "select count(*) from information_schema.columns where table_catalog = 'airstrip'";
        Ok((paths, self.try_number(columns).await?))
    }

    /// Something small that is written.
    pub(crate) async fn probe(&mut self) -> Result<(), FlightError> {
        self.change("create or replace view probe as select 1 as n").await
    }

    async fn put(&mut self, name: &str, version: i64, rows: i64) {
        put(&mut self.plain, name, vec![batch(version, rows)]).await.unwrap();
    }

    /// Makes a table that has two files to be removed. It keeps them for no time at all, which its owner has set with
    /// another program.
    async fn make_to_vacuum(&mut self, root: &Path) {
        self.drop_if_there("swept").await;
        self.change("create table swept (n bigint)").await.unwrap();
        let log = root.join("swept/_delta_log");
        let first = std::fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
        let mut actions = first.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut action = actions.find(|action| action.get("metaData").is_some()).unwrap();
        action["metaData"]["configuration"]["delta.deletedFileRetentionDuration"] =
            "interval 0 seconds".into();
        std::fs::write(log.join("00000000000000000001.json"), action.to_string()).unwrap();
        self.change("insert into swept values (1)").await.unwrap();
        self.change("insert into swept values (2)").await.unwrap();
        act(&mut self.plain, "optimize_dataset", r#"{"name": "swept"}"#).await.unwrap();
    }

    async fn drop_if_there(&mut self, name: &str) {
        self.change(&format!("drop table if exists {name}")).await.unwrap();
    }
}

/// The status code of an error; Flight SQL's client has it in an Arrow error's text.
pub(crate) fn code(error: &FlightError) -> Option<Code> {
    if let FlightError::Tonic(status) = error {
        return Some(status.code());
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(status) = error.downcast_ref::<tonic::Status>() {
            return Some(status.code());
        }
        source = error.source();
    }
    None
}

impl Operation {
    /// The names in the root that the operation's datasets may have.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["created.parquet"],
            Self::Replace => &["replaced.parquet"],
            Self::Drop => &["dropped.parquet"],
            Self::Rename => &["before.parquet", "after.parquet"],
            Self::Append => &["appended", "appended.parquet"],
            Self::Promote => &["promoted", "promoted.parquet"],
            Self::Insert => &["inserted", "inserted.parquet"],
            Self::Delete => &["deleted", "deleted.parquet"],
            Self::Update => &["updated", "updated.parquet"],
            Self::Register => &["registered.dataset.json", "lake"],
            Self::CreateView => &["seen.view.json"],
            Self::CreateSchema => &["shop.db"],
            Self::Vacuum => &["swept"],
            Self::Statement(statement) => statement.names,
        }
    }

    /// Makes what the operation needs, and says in what state it is. The number of a state is the operation's own.
    pub(crate) async fn prepare(self, clients: &mut Clients, root: &Path) -> i64 {
        let state = self.state(clients).await;
        match (self, state) {
            (Self::Create, 1) => clients.drop_if_there("created").await,
            (Self::Replace, 0) => clients.put("replaced", 1, ROWS).await,
            (Self::Drop, 0) => clients.put("dropped", 1, ROWS).await,
            (Self::Rename, 0 | 2) => {
                clients.drop_if_there("after").await;
                clients.put("before", 1, ROWS).await;
            }
            (Self::Append, 0) => {
                put(&mut clients.appending, "appended", vec![batch(1, ROWS)]).await.unwrap();
            }
            // Each time it is plain again.
            (Self::Promote, _) => {
                clients.drop_if_there("promoted").await;
                clients.put("promoted", 1, ROWS).await;
            }
            (Self::Insert, 0) => clients.change("create table inserted (n bigint)").await.unwrap(),
            (Self::Delete, state) if state < 2 => {
                clients.drop_if_there("deleted").await;
                clients.put("deleted", 1, 40).await;
                clients.change("delete from deleted where n = 39").await.unwrap();
            }
            (Self::Update, 0) => {
                clients.put("updated", 1, ROWS).await;
                clients.change("update updated set v = v + 1").await.unwrap();
            }
            (Self::Register, 1) => clients.drop_if_there("registered").await,
            (Self::CreateView, 1) => clients.change("drop view seen").await.unwrap(),
            (Self::CreateSchema, 1) => clients.change("drop schema shop").await.unwrap(),
            (Self::Vacuum, _) => clients.make_to_vacuum(root).await,
            (Self::Statement(statement), _) => statement.prepare(clients).await,
            _ => {}
        }
        let part = root.join("lake/x.parquet");
        if self == Self::Register && !part.exists() {
            clients.put("lake", 1, ROWS).await;
            std::fs::rename(root.join("lake.parquet"), root.join("x")).unwrap();
            std::fs::create_dir(root.join("lake")).unwrap();
            std::fs::rename(root.join("x"), part).unwrap();
        }
        self.state(clients).await
    }

    /// The state that the operation makes of this one.
    pub(crate) fn next(self, state: i64) -> i64 {
        match self {
            Self::Create | Self::Register | Self::CreateView | Self::CreateSchema => 1,
            Self::Drop => 0,
            Self::Rename => 2,
            Self::Replace | Self::Insert => state + 1,
            Self::Append | Self::Promote | Self::Update => state + ROWS,
            Self::Delete => state - 1,
            Self::Vacuum => state,
            Self::Statement(statement) => statement.states.1,
        }
    }

    pub(crate) async fn run(self, clients: &mut Clients, state: i64) -> Result<(), FlightError> {
        match self {
            Self::Create => put(&mut clients.plain, "created", vec![batch(1, ROWS)]).await.map(|_| ()),
            Self::Replace => {
                put(&mut clients.plain, "replaced", vec![batch(state + 1, ROWS)]).await.map(|_| ())
            }
            Self::Drop => clients.change("drop table dropped").await,
            Self::Rename => {
                let body = r#"{"name": "before", "newName": "after"}"#;
                act(&mut clients.plain, "rename_dataset", body).await.map(|_| ())
            }
            Self::Append => put(&mut clients.appending, "appended", vec![batch(1, ROWS)]).await.map(|_| ()),
            Self::Promote => put(&mut clients.appending, "promoted", vec![batch(1, ROWS)]).await.map(|_| ()),
            Self::Insert => clients.change("insert into inserted values (1)").await,
            Self::Delete => clients.change(&format!("delete from deleted where n = {}", state - 1)).await,
            Self::Update => clients.change("update updated set v = v + 1").await,
            Self::Register => {
                let body = r#"{"name": "registered", "path": "lake/x.parquet"}"#;
                act(&mut clients.plain, "register_dataset", body).await.map(|_| ())
            }
            Self::CreateView => clients.change("create view seen as select 1 as n").await,
            Self::CreateSchema => clients.change("create schema shop").await,
            Self::Vacuum => {
                let answer = act(&mut clients.plain, "vacuum_dataset", r#"{"name": "swept"}"#).await?;
                assert_eq!(answer["files"].as_array().map(Vec::len), Some(2), "{answer}");
                Ok(())
            }
            Self::Statement(Statement { run: Run::Sql(sql), .. }) => clients.change(sql).await,
            Self::Statement(Statement { run: Run::Action(action, body), .. }) => {
                act(&mut clients.plain, action, *body).await.map(|_| ())
            }
        }
    }

    /// Whether it puts what was there into the trash.
    pub(crate) fn displaces(self) -> bool {
        matches!(self, Self::Replace | Self::Drop)
    }

    /// How much the trash holds of what the operation displaces.
    pub(crate) async fn kept(self, clients: &mut Clients) -> i64 {
        let name = match self {
            Self::Replace => "replaced",
            Self::Drop => "dropped",
            _ => return 0,
        };
        clients.number(&format!("select count(*) from system.trash where name = '{name}'")).await.unwrap()
    }

    pub(crate) async fn state(self, clients: &mut Clients) -> i64 {
        let rows = |name: &str| format!("select count(*) from {name}");
        match self {
            Self::Create => whole(clients.number(&rows("created")).await),
            Self::Drop => whole(clients.number(&rows("dropped")).await),
            Self::Register => whole(clients.number(&rows("registered")).await),
            Self::Replace => {
                let version = clients.number("select sum(v) / count(*) from replaced where n < 3").await;
                let other = clients.number("select count(distinct v) from replaced").await;
                assert!(other.is_none_or(|versions| versions == 1), "rows of two versions");
                version.unwrap_or(0)
            }
            Self::Rename => {
                let before = whole(clients.number(&rows("before")).await);
                let after = whole(clients.number(&rows("after")).await);
                before + 2 * after
            }
            Self::Append => clients.number(&rows("appended")).await.unwrap_or(0),
            Self::Promote => clients.number(&rows("promoted")).await.unwrap_or(0),
            Self::Insert => clients.number(&rows("inserted")).await.map_or(0, |rows| rows + 1),
            Self::Delete => clients.number(&rows("deleted")).await.unwrap_or(0),
            Self::Update => clients.number("select sum(v) from updated").await.unwrap_or(0),
            Self::CreateView => clients.number("select n from seen").await.unwrap_or(0),
            Self::CreateSchema => {
                let schemas = "select count(*) from information_schema.schemata where schema_name = 'shop'";
                clients.number(schemas).await.unwrap_or(0)
            }
            Self::Vacuum => clients.number("select sum(n) from swept").await.unwrap_or(0),
            Self::Statement(statement) => clients.number(statement.state).await.unwrap_or(0),
        }
    }
}

/// 1 for a dataset that has all of its rows, 0 for none.
fn whole(rows: Option<i64>) -> i64 {
    assert!(rows.is_none_or(|rows| rows == ROWS), "{rows:?} rows are no version");
    i64::from(rows.is_some())
}
