//! Delta tables: datasets that are added to and changed, with a history, while others read them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightClient, FlightDescriptor};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::endings::{ENDINGS, Ending, frames_of, upload};
use crate::harness::{
    PATIENCE, Server, act, assert_error, count, eventually, get, memory_kib, names, number, path, put,
};

/// Rows of these ids, with the same `x` in all.
pub(crate) fn rows(ids: Range<i64>, x: i64) -> RecordBatch {
    let xs: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.clone().map(|_| x)));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids), ("x", xs)]).unwrap()
}

/// A client whose uploads are appends.
pub(crate) async fn appender(server: &Server) -> FlightClient {
    let mut client = server.client().await;
    client.add_header("x-airstrip-mode", "append").unwrap();
    client
}

/// Runs a statement that changes something.
pub(crate) async fn change(server: &Server, sql: &str) -> Result<i64, FlightError> {
    let mut client = FlightSqlServiceClient::new(server.channel().await);
    client.execute_update(sql.to_owned(), None).await
}

/// The values of a column in the order in which they come.
fn values(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let values = |batch: &RecordBatch| {
        batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
    };
    batches.iter().flat_map(values).collect()
}

async fn ids(client: &mut FlightClient, ticket: &str) -> Vec<i64> {
    values(&get(client, ticket.to_owned()).await.unwrap(), "id")
}

/// The numbers of the versions in a table's history, the first one first.
async fn versions(client: &mut FlightClient, table: &str) -> Vec<i64> {
    let sql = format!("select version from history('{table}') order by version");
    values(&get(client, sql).await.unwrap(), "version")
}

async fn describe(client: &mut FlightClient, name: &str) -> Value {
    act(client, "describe_dataset", name.to_owned()).await.unwrap()
}

/// Asks again until the answer is yes.
async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A directory dataset with folders for two years, in each of which are the rows of `seed.parquet`.
fn hive(root: &Path, name: &str) {
    for year in ["2024", "2025"] {
        let folder = root.join(name).join(format!("year={year}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(root.join("seed.parquet"), folder.join("part.parquet")).unwrap();
    }
}

fn with_years(batch: &RecordBatch, years: impl Fn(usize) -> i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..batch.num_rows()).map(years)));
    RecordBatch::try_from_iter([
        ("id", Arc::clone(batch.column(0))),
        ("x", Arc::clone(batch.column(1))),
        ("year", column),
    ])
    .unwrap()
}

/// Reads `ticket` again and again until `over`: first `before`, from some moment on `after`, each of them the
/// rows' number and the sum of `x`. Gives how many reads there were.
async fn read_through(
    server: Arc<Server>,
    ticket: String,
    before: (usize, i64),
    after: (usize, i64),
    over: Arc<AtomicBool>,
) -> usize {
    let mut client = server.client().await;
    let (mut reads, mut is_changed) = (0, false);
    loop {
        let last = over.load(Ordering::Acquire);
        let batches = get(&mut client, ticket.clone()).await.unwrap();
        let xs = values(&batches, "x");
        let seen = (xs.len(), xs.iter().sum::<i64>());
        is_changed |= seen == after;
        let expected = if is_changed { after } else { before };
        assert_eq!(seen, expected, "{ticket}, read {reads}");
        reads += 1;
        if last {
            assert!(is_changed, "{ticket} never changed");
            return reads;
        }
    }
}

/// What happens to a dataset that becomes a table.
#[derive(Debug, Clone, Copy)]
enum First {
    Append,
    Update,
}

async fn promoted_under_readers(first: First, in_folders: bool) {
    let server = Arc::new(Server::start());
    let mut client = server.client().await;
    put(&mut client, "seed", vec![rows(0..500, 1)]).await.unwrap();
    let mut reads = 0;
    for round in 0..6 {
        let name = format!("t{round}");
        if in_folders {
            hive(server.root(), &name);
        } else {
            put(&mut client, &name, vec![rows(0..500, 1), rows(500..1000, 1)]).await.unwrap();
        }
        let after = match first {
            First::Append => (1100, 1000 + 100 * 7),
            First::Update => (1000, 3000),
        };
        let over = Arc::new(AtomicBool::new(false));
        let tickets = [name.clone(), format!("select * from {name}"), format!("select x from {name}")];
        let readers = tickets.map(|ticket| {
            tokio::spawn(read_through(Arc::clone(&server), ticket, (1000, 1000), after, Arc::clone(&over)))
        });
        match first {
            First::Append => {
                let batch = rows(1000..1100, 7);
                let batch = if in_folders { with_years(&batch, |row| [2024, 2026][row % 2]) } else { batch };
                put(&mut appender(&server).await, &name, vec![batch]).await.unwrap();
            }
            First::Update => {
                let changed = change(&server, &format!("update {name} set x = 3")).await.unwrap();
                assert_eq!(changed, 1000);
            }
        }
        over.store(true, Ordering::Release);
        for reader in readers {
            reads += reader.await.unwrap();
        }
        assert_eq!(describe(&mut client, &name).await["kind"], "DATASET_KIND_DELTA");
    }
    assert!(reads > 30, "only {reads} reads");
    eventually(PATIENCE, || server.staged() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_served_as_one_or_the_other_while_it_becomes_a_table() {
    promoted_under_readers(First::Append, false).await;
    promoted_under_readers(First::Update, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_served_as_one_or_the_other_while_it_becomes_a_table() {
    promoted_under_readers(First::Append, true).await;
    promoted_under_readers(First::Update, true).await;
}

const WRITERS: i64 = 16;

/// Appends 20 batches of distinct ids in four uploads.
async fn write_twenty(server: Arc<Server>, writer: i64) {
    let mut client = appender(&server).await;
    for upload in 0..4 {
        let first = (writer * 4 + upload) * 50;
        let batches = (0..5).map(|batch| rows(first + batch * 10..first + batch * 10 + 10, 0)).collect();
        let receipt = put(&mut client, "t", batches).await.unwrap();
        assert_eq!(receipt["rows"], "50");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_many_writers_are_all_there_once() {
    for is_there in [true, false] {
        let server = Arc::new(Server::with_args(&["--compact-files", "0"]));
        let mut client = server.client().await;
        let appended = WRITERS * 200;
        if is_there {
            put(&mut client, "t", vec![rows(appended..appended + 10, 0)]).await.unwrap();
        }
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write_twenty(Arc::clone(&server), writer)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let mut found = ids(&mut client, "t").await;
        found.sort_unstable();
        let all = appended + if is_there { 10 } else { 0 };
        assert!(found.into_iter().eq(0..all), "rows are lost or doubled");
        // The version that was there before, or the first of the appends, has the number 0.
        let commits = WRITERS * 4 + i64::from(is_there);
        assert!(versions(&mut client, "t").await.into_iter().eq(0..commits));
        assert_eq!(server.staged(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_changes_and_compactions_go_together() {
    let server = Arc::new(Server::with_args(&["--compact-files", "6"]));
    let mut client = server.client().await;
    // Rows that are updated have x below zero, those that are deleted 1000, and those that are appended 0.
    let base = 100_000;
    let seed = vec![rows(base..base + 500, -1000), rows(base + 500..base + 520, 1000)];
    put(&mut appender(&server).await, "t", seed).await.unwrap();
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write_twenty(Arc::clone(&server), writer)));
    let writers: Vec<_> = writers.collect();
    let updaters = (0..3).map(|_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for _ in 0..5 {
                let rows = change(&server, "update t set x = x + 1 where x < 0").await.unwrap();
                assert_eq!(rows, 500);
            }
        })
    });
    let updaters: Vec<_> = updaters.collect();
    let deleter = {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for id in base + 500..base + 520 {
                assert_eq!(change(&server, &format!("delete from t where id = {id}")).await.unwrap(), 1);
            }
        })
    };
    let optimizer = {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut client = server.client().await;
            for _ in 0..8 {
                act(&mut client, "optimize_dataset", r#"{"name":"t"}"#).await.unwrap();
            }
        })
    };
    for task in writers.into_iter().chain(updaters).chain([deleter, optimizer]) {
        task.await.unwrap();
    }
    let mut found = ids(&mut client, "t").await;
    found.sort_unstable();
    assert!(found.into_iter().eq((0..WRITERS * 200).chain(base..base + 500)), "rows are lost or doubled");
    assert_eq!(number(&mut client, "select sum(x) from t").await, (-1000 + 15) * 500);
    let versions = versions(&mut client, "t").await;
    assert!(versions.iter().copied().eq(0..i64::try_from(versions.len()).unwrap()));
    eventually(PATIENCE, || server.staged() == 0).await;
}

#[tokio::test]
async fn an_append_that_does_not_end_well_adds_nothing() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut appender(&server).await, "t", vec![rows(0..7, 0)]).await.unwrap();
    let version = describe(&mut client, "t").await["version"].clone();
    let frames = frames_of("t", (0..3).map(|batch| rows(batch * 100..batch * 100 + 100, 1)).collect()).await;
    let append = [("x-airstrip-mode", "append")];
    for whole in 0..=frames.len() {
        let mut cut = frames[..whole].to_vec();
        for ending in ENDINGS {
            if ending != Ending::True {
                upload(&server, &cut, ending, &append).await;
            }
        }
        if let Some(next) = frames.get(whole) {
            cut.push(next.slice(..next.len() - 1));
            for ending in ENDINGS {
                assert_ne!(upload(&server, &cut, ending, &append).await.as_deref(), Some("0"));
            }
        }
    }
    // Other columns in mid-stream, and other values than the columns can hold.
    let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x"]));
    let other = frames_of("t", vec![RecordBatch::try_from_iter([("id", text)]).unwrap()]).await;
    let changing: Vec<_> = frames[..3].iter().chain(&other).cloned().collect();
    let status = upload(&server, &changing, Ending::True, &append).await;
    assert_ne!(status.as_deref(), Some("0"), "a stream of two schemas");
    // Long enough for a commit that must not come.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(count(&mut client, "t").await.unwrap(), 7);
    assert_eq!(describe(&mut client, "t").await["version"], version);
    eventually(PATIENCE, || server.staged() == 0).await;
    assert_eq!(upload(&server, &frames, Ending::True, &append).await.as_deref(), Some("0"));
    assert_eq!(count(&mut client, "t").await.unwrap(), 307);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_with_all_others_of_their_upload() {
    let server = Server::start();
    let mut client = server.client().await;
    change(&server, "create table t (id int not null, x bigint)").await.unwrap();
    let mut append = appender(&server).await;
    put(&mut append, "t", vec![rows(0..10, 1)]).await.unwrap();
    let wide = put(&mut append, "t", vec![rows(10..20, 1), rows(1 << 40..(1 << 40) + 1, 1)]).await;
    assert_error(wide, Code::InvalidArgument, "\"id\"");
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let nulls = put(&mut append, "t", vec![RecordBatch::try_from_iter([("id", nulls)]).unwrap()]).await;
    assert_error(nulls, Code::InvalidArgument, "NOT NULL");
    let extra = with_years(&rows(10..20, 1), |_| 2024);
    assert_error(put(&mut append, "t", vec![extra.clone()]).await, Code::InvalidArgument, "no column");
    assert_eq!(count(&mut client, "t").await.unwrap(), 10);
    append.add_header("x-airstrip-schema", "merge").unwrap();
    put(&mut append, "t", vec![extra]).await.unwrap();
    assert_eq!(number(&mut client, "select count(*) from t where year is null").await, 10);
}

/// An upload whose batches are sent one by one.
struct Slow {
    batches: mpsc::Sender<RecordBatch>,
    ended: tokio::task::JoinHandle<Result<(), FlightError>>,
}

impl Slow {
    /// Begins, and waits until the server has the first batch.
    async fn begin(server: &Server, mut client: FlightClient, first: RecordBatch) -> Self {
        let staged = server.staged();
        let (batches, receiver) = mpsc::channel(4);
        let stream = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(path("t")))
            .with_schema(first.schema())
            .build(ReceiverStream::new(receiver).map(Ok));
        batches.send(first).await.unwrap();
        let ended =
            tokio::spawn(
                async move { client.do_put(stream).await?.try_collect::<Vec<_>>().await.map(|_| ()) },
            );
        eventually(PATIENCE, || server.staged() > staged).await;
        Self { batches, ended }
    }

    async fn end(self) -> Result<(), FlightError> {
        drop(self.batches);
        self.ended.await.unwrap()
    }
}

#[tokio::test]
async fn an_append_does_not_go_into_another_table_of_that_name() {
    let server = Server::start();
    let mut client = server.client().await;
    for as_delta in [true, false] {
        for first in 0..3 {
            put(&mut appender(&server).await, "t", vec![rows(first * 10..first * 10 + 10, 0)]).await.unwrap();
        }
        let slow = Slow::begin(&server, appender(&server).await, rows(100..110, 0)).await;
        act(&mut client, "drop_dataset", "t").await.unwrap();
        let create =
            if as_delta { "create table t (a varchar)" } else { "create table t as select 'x' as a" };
        change(&server, create).await.unwrap();
        assert_error(slow.end().await, Code::FailedPrecondition, "columns of dataset t have changed");
        let batches = get(&mut client, "select * from t").await.unwrap();
        assert!(batches.iter().all(|batch| batch.num_columns() == 1));
        act(&mut client, "drop_dataset", "t").await.unwrap();
    }
}

#[tokio::test]
async fn columns_that_two_uploads_add_at_once_are_not_lost() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![rows(0..10, 0)]).await.unwrap();
    let mut append = appender(&server).await;
    append.add_header("x-airstrip-schema", "merge").unwrap();
    let slow = Slow::begin(&server, append, with_years(&rows(10..20, 0), |_| 2024)).await;
    change(&server, "alter table t add column y bigint").await.unwrap();
    change(&server, "update t set y = 5").await.unwrap();
    assert_error(slow.end().await, Code::FailedPrecondition, "try again");
    assert_eq!(number(&mut client, "select sum(y) from t").await, 50);
}

/// Puts an entry into a table's log as another program does.
fn commit_by_hand(table: &Path, number: u64, actions: &[Value]) {
    let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
    let text = lines.join("\n");
    let entry = table.join(format!("_delta_log/{number:020}.json"));
    let draft = entry.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    // Fails where there is such a version: a test that comes too late is to say so.
    std::fs::hard_link(&draft, entry).unwrap();
    std::fs::remove_file(draft).unwrap();
}

/// The actions of an entry.
fn entry(table: &Path, number: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(table.join(format!("_delta_log/{number:020}.json"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn action<'a>(actions: &'a [Value], name: &str) -> &'a Value {
    actions.iter().find_map(|action| action.get(name)).unwrap()
}

fn commit_info(operation: &str, mode: &str) -> Value {
    json!({"commitInfo": {"timestamp": 1, "operation": operation, "operationParameters": {"mode": mode},
        "engineInfo": "another program/9"}})
}

/// It takes so long that others can come before it ends.
const SLOW: &str = "delete from t where id < 5 and id not in \
                    (select max(a.value * b.value % 1009) + 10 from range(200) a, range(100000) b)";

/// Waits until [`SLOW`] has its place and its turn.
async fn until_slow_runs(server: &Server) {
    until("the statement begins", || async {
        let running = "select count(*) from system.queries where sql like 'delete%' and state = 'running'";
        number(&mut server.client().await, running).await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordering_and_statements_do_not_wait_for_each_other() {
    let server = Server::with_args(&["--max-queries", "2", "--queue-timeout", "20s"]);
    put(&mut appender(&server).await, "t", vec![rows(0..10, 0)]).await.unwrap();
    let server = &server;
    let optimize = async {
        let body = json!({"name": "t", "zOrderBy": ["id"]}).to_string();
        act(&mut server.client().await, "optimize_dataset", body).await
    };
    let later = |id: u64| async move {
        tokio::time::sleep(Duration::from_millis(20 * id)).await;
        change(server, &format!("delete from t where id = {id}")).await
    };
    let others = async {
        until_slow_runs(server).await;
        tokio::join!(optimize, later(5), later(6))
    };
    let (slow, (ordered, one, other)) = tokio::join!(change(server, SLOW), others);
    ordered.unwrap();
    assert_eq!((slow.unwrap(), one.unwrap(), other.unwrap()), (5, 1, 1));
    assert_eq!(count(&mut server.client().await, "t").await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_another_program_meanwhile_is_a_conflict_where_it_matters() {
    for other in ["DELETE", "SET TBLPROPERTIES", "MERGE", "WRITE"] {
        let server = Arc::new(Server::start());
        let mut client = server.client().await;
        put(&mut appender(&server).await, "t", vec![rows(0..10, 0)]).await.unwrap();
        let statement = {
            let server = Arc::clone(&server);
            tokio::spawn(async move { change(&server, SLOW).await })
        };
        until_slow_runs(&server).await;
        let table = server.root().join("t");
        let first = entry(&table, 0);
        let add = action(&first, "add").clone();
        let copy = table.join("copy.parquet");
        std::fs::copy(table.join(add["path"].as_str().unwrap()), &copy).unwrap();
        let mut copied = add.clone();
        copied["path"] = json!("copy.parquet");
        let actions = match other {
            "DELETE" => vec![
                json!({"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": true}}),
                commit_info(other, ""),
            ],
            "SET TBLPROPERTIES" => {
                vec![json!({"metaData": action(&first, "metaData")}), commit_info(other, "")]
            }
            _ => vec![json!({"add": copied}), commit_info(other, "Append")],
        };
        commit_by_hand(&table, 1, &actions);
        let done = statement.await.unwrap();
        if other == "WRITE" {
            assert_eq!(done.unwrap(), 5);
            assert_eq!(count(&mut client, "t").await.unwrap(), 15);
        } else {
            assert_error(done, Code::FailedPrecondition, &format!("{other} by another program/9"));
            let expected = match other {
                "DELETE" => 0,
                "MERGE" => 20,
                _ => 10,
            };
            assert_eq!(count(&mut client, "t").await.unwrap(), expected);
        }
        eventually(PATIENCE, || server.staged() == 0).await;
    }
}

#[tokio::test]
async fn small_files_become_few_and_the_log_gets_checkpoints() {
    let server = Server::with_args(&["--compact-files", "8"]);
    let mut client = server.client().await;
    let mut append = appender(&server).await;
    for first in (0..400).step_by(10) {
        put(&mut append, "t", vec![rows(first..first + 10, 0)]).await.unwrap();
    }
    until("few files", || async {
        let described = describe(&mut server.client().await, "t").await;
        described["files"].as_str().unwrap().parse::<u64>().unwrap() < 16
    })
    .await;
    assert!(ids(&mut client, "t").await.into_iter().eq(0..400), "rows came out of order");
    for first in (400..1300).step_by(10) {
        put(&mut append, "t", vec![rows(first..first + 10, 0)]).await.unwrap();
    }
    let is_checkpoint = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().ends_with(".checkpoint.parquet")
    };
    let log = server.root().join("t/_delta_log");
    eventually(PATIENCE, || std::fs::read_dir(&log).unwrap().any(is_checkpoint)).await;
    assert!(ids(&mut client, "t").await.into_iter().eq(0..1300), "rows came out of order");
    let version = describe(&mut client, "t").await["deltaVersion"].clone();
    let again = Server::on(server.root(), &["--read-only"]);
    let mut reader = again.client().await;
    assert!(ids(&mut reader, "t").await.into_iter().eq(0..1300));
    assert!(describe(&mut reader, "t").await["deltaVersion"].as_str() >= version.as_str());
}

#[tokio::test]
async fn earlier_versions_can_be_read_and_restored() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![rows(0..10, 1)]).await.unwrap();
    assert_error(count(&mut client, "t@0").await, Code::FailedPrecondition, "no versions");
    change(&server, "update t set x = 2 where id < 5").await.unwrap();
    change(&server, "delete from t where id >= 5").await.unwrap();
    change(&server, "alter table t add column y int").await.unwrap();
    put(&mut client, "t", vec![rows(0..2, 9)]).await.unwrap();
    let sums = [(0, 10, 10), (1, 10, 15), (2, 5, 10), (3, 5, 10), (4, 2, 18)];
    for (version, rows, sum) in sums {
        let sql = format!("select sum(x) from at('t', {version})");
        assert_eq!(number(&mut client, &sql).await, sum, "version {version}");
        assert_eq!(count(&mut client, &format!("t@{version}")).await.unwrap(), rows, "version {version}");
    }
    assert!(count(&mut client, "t@5").await.is_err());
    let restored = act(&mut client, "restore_dataset", r#"{"name":"t","to":"1"}"#).await.unwrap();
    assert_eq!(describe(&mut client, "t").await["version"], restored["version"]);
    assert_eq!(number(&mut client, "select sum(x) from t").await, 15);
    assert_eq!(versions(&mut client, "t").await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_read_only_server_serves_tables_and_changes_none() {
    let writer = Server::start();
    put(&mut appender(&writer).await, "t", vec![rows(0..10, 0)]).await.unwrap();
    change(&writer, "update t set x = 1").await.unwrap();
    put(&mut writer.client().await, "plain", vec![rows(0..3, 0)]).await.unwrap();
    let server = Server::on(writer.root(), &["--read-only"]);
    let mut client = server.client().await;
    assert_eq!(count(&mut client, "t").await.unwrap(), 10);
    assert_eq!(number(&mut client, "select sum(x) from at('t', 0)").await, 0);
    assert_eq!(versions(&mut client, "t").await, [0, 1]);
    for name in ["t", "plain", "new"] {
        let put = put(&mut appender(&server).await, name, vec![rows(0..1, 0)]).await;
        assert_error(put, Code::FailedPrecondition, "read-only");
    }
    for sql in [
        "insert into t values (1, 1)",
        "insert overwrite t values (1, 1)",
        "update t set x = 2",
        "update plain set x = 2",
        "delete from t",
        "merge into t using plain as s on t.id = s.id when matched then delete",
        "alter table t add column y int",
        "truncate table t",
        "create table new (a int) partitioned by (b int)",
    ] {
        assert_error(change(&server, sql).await, Code::FailedPrecondition, "read-only");
    }
    for (action, body) in [
        ("optimize_dataset", r#"{"name":"t"}"#),
        ("vacuum_dataset", r#"{"name":"t"}"#),
        ("restore_dataset", r#"{"name":"t","to":"0"}"#),
    ] {
        assert_error(act(&mut client, action, body).await, Code::FailedPrecondition, "read-only");
    }
    // What the other server commits shows here at once.
    change(&writer, "insert into t values (10, 1)").await.unwrap();
    assert_eq!(number(&mut client, "select sum(x) from t").await, 11);
}

#[tokio::test]
async fn a_table_is_renamed_and_dropped_with_its_history() {
    let server = Server::start();
    let mut client = server.client().await;
    let mut append = appender(&server).await;
    put(&mut append, "t", vec![rows(0..10, 0)]).await.unwrap();
    let receipt = put(&mut append, "t", vec![rows(10..20, 0)]).await.unwrap();
    let renamed = act(&mut client, "rename_dataset", r#"{"name":"t","newName":"u"}"#).await.unwrap();
    assert_eq!(renamed["version"], receipt["version"]);
    assert_eq!(names(&mut client, "").await, ["u"]);
    put(&mut append, "u", vec![rows(20..30, 0)]).await.unwrap();
    assert_eq!(versions(&mut client, "u").await, [0, 1, 2]);
    assert_eq!(count(&mut client, "u@1").await.unwrap(), 20);

    // Another table under the first name.
    put(&mut append, "t", vec![rows(0..1, 0)]).await.unwrap();
    assert_eq!(versions(&mut client, "t").await, [0]);
    assert_eq!(count(&mut client, "u").await.unwrap(), 30);
    act(&mut client, "drop_dataset", "u").await.unwrap();
    assert_error(count(&mut client, "u").await, Code::NotFound, "dataset u");
    assert!(!server.root().join("u").exists());
    for round in 1..4 {
        change(&server, "drop table t").await.unwrap();
        change(&server, &format!("create table t (id bigint, c{round} int)")).await.unwrap();
        change(&server, "insert into t values (7, 8)").await.unwrap();
        let sql = format!("select sum(c{round} + id) from t");
        assert_eq!(number(&mut client, &sql).await, 15, "round {round}");
        assert_eq!(versions(&mut client, "t").await, [0, 1]);
    }
    // A plain dataset takes its place only under the same name once it is gone.
    change(&server, "drop table t").await.unwrap();
    put(&mut client, "t", vec![rows(0..4, 0)]).await.unwrap();
    assert_eq!(describe(&mut client, "t").await["kind"], "DATASET_KIND_FILE");
    assert_eq!(count(&mut client, "t").await.unwrap(), 4);
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn tables_of_other_schemas_are_changed_like_others() {
    let server = Server::start();
    let mut client = server.client().await;
    change(&server, "create schema fin").await.unwrap();
    change(&server, "create table fin.t (id bigint, x bigint)").await.unwrap();
    let in_schema = FlightDescriptor::new_path(vec!["fin".into(), "t".into()]);
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(in_schema))
        .build(futures::stream::iter([Ok(rows(0..10, 1))]));
    appender(&server).await.do_put(stream).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(change(&server, "insert into fin.t values (10, 1), (11, 1)").await.unwrap(), 2);
    assert_eq!(change(&server, "update fin.t set x = x + 1 where id < 3").await.unwrap(), 3);
    assert_eq!(change(&server, "delete from fin.t where id = 5").await.unwrap(), 1);
    assert_eq!(change(&server, "update airstrip.fin.t set x = 5 where id = 0").await.unwrap(), 1);
    assert_eq!(count(&mut client, "fin.t").await.unwrap(), 11);
    assert_eq!(number(&mut client, "select sum(x) from fin.t").await, 5 + 2 + 2 + 8);
    assert_eq!(number(&mut client, "select count(*) from history('fin.t')").await, 6);
    assert_eq!(number(&mut client, "select sum(x) from at('fin.t', 1)").await, 10);
    act(&mut client, "rename_dataset", r#"{"name":"fin.t","newName":"t","newSchema":"public"}"#)
        .await
        .unwrap();
    assert_eq!(change(&server, "delete from t").await.unwrap(), 11);
    assert_error(count(&mut client, "fin.t").await, Code::NotFound, "fin.t");
}

#[tokio::test]
async fn tickets_of_endpoints_are_good_after_later_commits() {
    let server = Server::with_args(&["--compact-files", "0"]);
    let mut client = server.client().await;
    let mut append = appender(&server).await;
    for first in 0..6 {
        put(&mut append, "t", vec![rows(first * 100..first * 100 + 100, 0)]).await.unwrap();
    }
    client.add_header("x-airstrip-endpoints", "4").unwrap();
    let info = client.get_flight_info(path("t")).await.unwrap();
    assert!((2..=4).contains(&info.endpoint.len()));
    let tickets: Vec<_> = info.endpoint.into_iter().map(|endpoint| endpoint.ticket.unwrap().ticket).collect();
    for sql in [
        "insert into t values (1000, 1)",
        "update t set x = 1 where id % 7 = 0",
        "delete from t where id < 50",
        "alter table t add column y int",
        "truncate table t",
    ] {
        change(&server, sql).await.unwrap();
        let mut found = Vec::new();
        for ticket in &tickets {
            let part = get(&mut client, ticket.clone()).await.unwrap();
            assert!(part.iter().all(|batch| batch.num_columns() == 2));
            found.extend(values(&part, "id"));
        }
        assert!(found.into_iter().eq(0..600), "after {sql}");
    }
    act(&mut client, "drop_dataset", "t").await.unwrap();
    put(&mut append, "t", vec![rows(0..10, 0)]).await.unwrap();
    for ticket in &tickets {
        let again = get(&mut client, ticket.clone()).await;
        assert_error(again, Code::FailedPrecondition, "new tickets");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_a_transaction_is_stored_once() {
    let server = Arc::new(Server::start());
    let same = (0..8).map(|_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut client = appender(&server).await;
            client.add_header("x-airstrip-txn", "loader,1").unwrap();
            put(&mut client, "t", vec![rows(0..10, 0)]).await.unwrap()
        })
    });
    let mut answers = BTreeSet::new();
    for answer in same.collect::<Vec<_>>() {
        answers.insert(answer.await.unwrap().to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let mut client = server.client().await;
    assert_eq!(count(&mut client, "t").await.unwrap(), 10);
    let mut append = appender(&server).await;
    append.add_header("x-airstrip-txn", "loader,0").unwrap();
    let late = put(&mut append, "t", vec![rows(0..10, 0)]).await;
    assert_error(late, Code::FailedPrecondition, "later transaction");
}

/// Rows are written while they come: what an append takes does not grow with it.
#[tokio::test]
async fn a_long_append_takes_constant_memory() {
    const BATCHES: u32 = 96;
    const ROWS: i64 = 1 << 19;
    let server = Server::start();
    let mut client = appender(&server).await;
    put(&mut client, "long", vec![rows(0..1, 0)]).await.unwrap();
    let batch = noise(ROWS);
    let bytes = batch.get_array_memory_size() as u64 * u64::from(BATCHES);
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("long")))
        .with_schema(batch.schema())
        .build(futures::stream::iter((0..BATCHES).map(move |_| Ok(batch.clone()))));
    let answers: Vec<_> = client.do_put(stream).await.unwrap().try_collect().await.unwrap();
    assert!(!answers.is_empty());
    // About 240 MB, most of it taken by the first few batches; gathered, the rows alone would take all of `bytes`.
    let peak = memory_kib(server.pid(), "VmHWM") << 10;
    assert!(peak < bytes / 2, "{bytes} bytes were appended, and the server had {peak}");
    let counted = number(&mut client, "select count(*) from long").await;
    assert_eq!(counted, ROWS * i64::from(BATCHES) + 1);
}

/// Rows that no encoding makes smaller.
fn noise(count: i64) -> RecordBatch {
    let mixed = |n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|n| mixed(mixed(n) >> 9))));
    let xs: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|n| mixed(mixed(n) >> 7))));
    RecordBatch::try_from_iter([("id", ids), ("x", xs)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_put_in_order_within_the_memory_of_queries() {
    let server = Server::with_args(&["--memory-limit", "24MiB"]);
    let mut client = server.client().await;
    let rows = "select value as id, value * 7919 % 300000 as k, value % 3 as p, \
                concat('a customer name of number ', value) as s from range(300000)";
    for (table, partitions) in [("plain", ""), ("parted", "partitioned by (p)")] {
        change(&server, &format!("create table {table} {partitions} as {rows}")).await.unwrap();
        change(&server, &format!("delete from {table} where id = 7")).await.unwrap();
        let sums = format!("select sum(id) + sum(k) + sum(length(s)) from {table}");
        let before = number(&mut client, &sums).await;
        let body = json!({"name": table, "zOrderBy": ["k"]}).to_string();
        let done = act(&mut client, "optimize_dataset", body).await.unwrap();
        assert_ne!(done["filesRemoved"], "0", "{done}");
        assert_eq!(number(&mut client, &sums).await, before);
        // Of one column Z-order is its order, within each partition.
        let batches = get(&mut client, table).await.unwrap();
        let (keys, parts) = (values(&batches, "k"), values(&batches, "p"));
        for part in 0..3 {
            let of_part = keys.iter().zip(&parts).filter(|(_, p)| table == "plain" || **p == part);
            assert!(of_part.map(|(k, _)| *k).is_sorted(), "partition {part} of {table}");
        }
    }
    // Statements that store rows, which want more memory than there is as well.
    for sql in [
        "create table sorted as select * from plain order by s",
        "insert into sorted select * from plain order by s",
    ] {
        assert_eq!(change(&server, sql).await.unwrap(), 299_999, "{sql}");
    }
    for (by, code, text) in [
        (json!(["nothing"]), Code::InvalidArgument, "\"nothing\""),
        (json!(["p"]), Code::InvalidArgument, "partitioned by"),
    ] {
        let body = json!({"name": "parted", "zOrderBy": by}).to_string();
        assert_error(act(&mut client, "optimize_dataset", body).await, code, text);
    }
    let seen =
        "select count(*) from system.queries where sql like 'optimize_dataset %' and state = 'finished'";
    assert_eq!(number(&mut client, seen).await, 2);
}
