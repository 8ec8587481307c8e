//! Files that are damaged, or are no files: refused by name, or read right, and never as less than they were.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::error::FlightError;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::timeout;
use tonic::Code;

use crate::delta::appender;
use crate::flight_sql::{number, query, sql, update};
use crate::harness::{Server, act, batch, count, get, path as descriptor, put};

/// What waits for longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the libraries call themselves and their errors.
const INSIDES: [&str; 6] = ["kernel", "Kernel", "Generic", "Delta library", "Arrow error", "Parquet error"];

fn entry(number: usize) -> PathBuf {
    Path::new("t/_delta_log").join(format!("{number:020}.json"))
}

fn fifo(at: &Path) {
    let _ = std::fs::remove_file(at);
    mknodat(CWD, at, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn copy_of(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for found in std::fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let (path, copy) = (found.path(), to.join(found.file_name()));
        if path.is_dir() {
            copy_of(&path, &copy);
        } else {
            std::fs::copy(path, copy).unwrap();
        }
    }
}

/// A root with the Delta table `t`, which has three versions of ten rows more each.
async fn table() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let server = Server::on(root.path(), &["--compact-files", "0"]);
    let mut client = appender(&server).await;
    for version in 0..3 {
        put(&mut client, "t", vec![batch(version, 10)]).await.unwrap();
    }
    assert!(root.path().join(entry(2)).exists());
    root
}

/// The number of rows of `t` in `root` by SQL, which must be that of a download.
async fn rows(root: &Path) -> Result<i64, (Code, String)> {
    let server = Server::on(root, &["--compact-files", "0"]);
    let (mut sql, mut client) = (sql(&server).await, server.client().await);
    let counted = timeout(PATIENCE, query(&mut sql, "select count(*) from t")).await.expect("it hangs");
    let downloaded = timeout(PATIENCE, get(&mut client, "t")).await.expect("it hangs");
    match (counted, downloaded) {
        (Ok(counted), Ok(downloaded)) => {
            let rows = downloaded.iter().map(RecordBatch::num_rows).sum::<usize>();
            assert_eq!(number(&counted), i64::try_from(rows).unwrap());
            Ok(number(&counted))
        }
        (Err(FlightError::Tonic(one)), Err(FlightError::Tonic(other))) => {
            assert_eq!((one.code(), one.message()), (other.code(), other.message()));
            Err((one.code(), one.message().to_owned()))
        }
        other => panic!("{other:?}"),
    }
}

/// What happened to a log in the root, the answer's code, and what its message has.
type Damage = (&'static str, fn(&Path), Code, &'static [&'static str]);

const DAMAGES: [Damage; 9] = [
    (
        "the last one is empty",
        |root| std::fs::write(root.join(entry(2)), "").unwrap(),
        Code::DataLoss,
        &["00002.json", "is empty"],
    ),
    (
        "one before is empty",
        |root| std::fs::write(root.join(entry(1)), "").unwrap(),
        Code::DataLoss,
        &["00001.json", "is empty"],
    ),
    (
        "the last one is torn",
        |root| {
            let text = std::fs::read(root.join(entry(2))).unwrap();
            std::fs::write(root.join(entry(2)), &text[..text.len() / 2]).unwrap();
        },
        Code::DataLoss,
        &["00002.json", "cut off"],
    ),
    (
        "one before is torn",
        |root| {
            let text = std::fs::read(root.join(entry(1))).unwrap();
            std::fs::write(root.join(entry(1)), &text[..text.len() / 2]).unwrap();
        },
        Code::DataLoss,
        &["00001.json", "cut off"],
    ),
    (
        "one is missing",
        |root| std::fs::remove_file(root.join(entry(1))).unwrap(),
        Code::DataLoss,
        &["00001.json", "is missing"],
    ),
    (
        "no JSON",
        |root| std::fs::write(root.join(entry(2)), "not {json}\n").unwrap(),
        Code::DataLoss,
        &["00002.json", "line 1"],
    ),
    (
        "a checkpoint that is none",
        |root| {
            let name = format!("t/_delta_log/{:020}.checkpoint.parquet", 1);
            std::fs::write(root.join(name), "PAR1 and no more").unwrap();
        },
        Code::DataLoss,
        &["00001.checkpoint.parquet"],
    ),
    (
        "a FIFO",
        |root| fifo(&root.join(entry(2))),
        Code::FailedPrecondition,
        &["00002.json", "no regular file"],
    ),
    (
        "a link out of the table",
        |root| {
            std::fs::rename(root.join(entry(2)), root.join("elsewhere.json")).unwrap();
            std::os::unix::fs::symlink("../../elsewhere.json", root.join(entry(2))).unwrap();
        },
        Code::FailedPrecondition,
        &["00002.json", "link"],
    ),
];

#[tokio::test]
async fn a_log_that_is_not_whole_is_refused_by_name() {
    let root = table().await;
    assert_eq!(rows(root.path()).await, Ok(30));
    for (name, damage, code, parts) in DAMAGES {
        let copy = tempfile::tempdir().unwrap();
        copy_of(root.path(), copy.path());
        damage(copy.path());
        let (found, message) = rows(copy.path()).await.expect_err(name);
        assert_eq!(found, code, "{name}: {message}");
        for part in parts {
            assert!(message.contains(part), "{name}: {message} lacks {part}");
        }
        assert!(!INSIDES.iter().any(|inside| message.contains(inside)), "{name}: {message}");
    }
}

#[tokio::test]
async fn a_note_of_a_checkpoint_that_is_not_there_is_no_harm() {
    let root = table().await;
    for hint in [r#"{"version":77,"size":3}"#, r#"{"version":1,"size":3}"#, "", "{", "[]"] {
        std::fs::write(root.path().join("t/_delta_log/_last_checkpoint"), hint).unwrap();
        assert_eq!(rows(root.path()).await, Ok(30), "{hint}");
    }
    fifo(&root.path().join("t/_delta_log/_last_checkpoint"));
    let (code, message) = rows(root.path()).await.unwrap_err();
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("_last_checkpoint"), "{message}");
}

#[tokio::test]
async fn a_data_file_that_is_none_is_refused_by_name() {
    let root = table().await;
    let part = || {
        let mut files = std::fs::read_dir(root.path().join("t")).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|ending| ending == "parquet")).unwrap()
    };
    let part = part();
    let (name, kept) = (part.file_name().unwrap().to_str().unwrap().to_owned(), root.path().join("kept"));
    std::fs::rename(&part, &kept).unwrap();
    fifo(&part);
    let (code, message) = rows(root.path()).await.unwrap_err();
    assert!(code == Code::FailedPrecondition && message.contains(&name), "{code:?} {message}");
    std::fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink("../kept", &part).unwrap();
    let (code, message) = rows(root.path()).await.unwrap_err();
    assert!(code == Code::FailedPrecondition && message.contains(&name), "{code:?} {message}");
    std::fs::remove_file(&part).unwrap();
    let (code, message) = rows(root.path()).await.unwrap_err();
    assert!(code == Code::DataLoss && message.contains(&name), "{code:?} {message}");
    std::fs::rename(&kept, &part).unwrap();
    assert_eq!(rows(root.path()).await, Ok(30));
}

#[tokio::test]
async fn what_only_has_the_name_of_a_file_is_refused_and_nobody_waits_for_it() {
    let server = Server::start();
    let (mut client, mut sql) = (server.client().await, sql(&server).await);
    put(&mut client, "a", vec![batch(1, 10)]).await.unwrap();
    let root = server.root();
    std::fs::create_dir(root.join("parts")).unwrap();
    std::fs::copy(root.join("a.parquet"), root.join("parts/x.parquet")).unwrap();
    // A link within the root is followed.
    std::os::unix::fs::symlink("../a.parquet", root.join("parts/y.parquet")).unwrap();
    let parts = "select count(*) from parts";
    assert_eq!(number(&query(&mut sql, parts).await.unwrap()), 20);
    // One that leads nowhere or to another folder is not left out.
    for (link, target) in
        [("none.parquet", "../none.parquet"), ("up", ".."), ("out.parquet", "/etc/hostname")]
    {
        std::os::unix::fs::symlink(target, root.join("parts").join(link)).unwrap();
        crate::harness::assert_error(query(&mut sql, parts).await, Code::FailedPrecondition, link);
        std::fs::remove_file(root.join("parts").join(link)).unwrap();
    }
    fifo(&root.join("parts/z.parquet"));
    fifo(&root.join("f.parquet"));
    fifo(&root.join("v.view.json"));
    fifo(&root.join("r.dataset.json"));
    for (name, file) in
        [("parts", "z.parquet"), ("f", "f.parquet"), ("v", "v.view.json"), ("r", "r.dataset.json")]
    {
        let text = format!("select count(*) from {name}");
        let asked = timeout(PATIENCE, query(&mut sql, &text)).await.expect("it hangs");
        crate::harness::assert_error(asked, Code::FailedPrecondition, file);
    }
    // Nor does an upload take its place.
    let upload = timeout(PATIENCE, put(&mut client, "f", vec![batch(1, 10)])).await.expect("it hangs");
    crate::harness::assert_error(upload, Code::FailedPrecondition, "f.parquet");
    let info = timeout(PATIENCE, client.get_flight_info(descriptor("a"))).await.expect("it hangs");
    assert_eq!(info.unwrap().total_records, 10);
}

#[tokio::test]
async fn a_flipped_bit_is_never_other_rows() {
    let server = Server::with_args(&["--footer-cache", "0", "--column-cache", "0", "--frame-cache", "0"]);
    let (mut client, mut sql) = (server.client().await, sql(&server).await);
    put(&mut client, "t", vec![batch(1, 500)]).await.unwrap();
    let file = server.root().join("t.parquet");
    let whole = std::fs::read(&file).unwrap();
    let described = act(&mut client, "describe_dataset", "t").await.unwrap();
    assert_eq!(described["rows"], "500");
    let text = "select sum(n), sum(v), count(s), min(s), max(s), sum(length(s)) from t where n >= 0";
    let right = query(&mut sql, text).await.unwrap();
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let mut refused = 0;
    // Pages, and behind them what only makes queries faster.
    for at in (4..whole.len() - footer - 8).step_by(17) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&file, &damaged).unwrap();
        for answer in
            [query(&mut sql, text).await, get(&mut client, "t").await.map(|rows| summed(&rows, &right))]
        {
            match answer {
                Ok(rows) => assert_eq!(rows, right, "byte {at}"),
                Err(FlightError::Tonic(status)) => {
                    assert_eq!(status.code(), Code::DataLoss, "byte {at}: {status}");
                    assert!(status.message().contains("t.parquet"), "byte {at}: {status}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused > 50, "{refused}");
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(query(&mut sql, text).await.unwrap(), right);
}

/// The answer `right` if the rows are those of it.
fn summed(rows: &[RecordBatch], right: &RecordBatch) -> RecordBatch {
    let n = rows.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values()).copied();
    let s = rows.iter().flat_map(|batch| batch.column(2).as_string::<i32>()).flatten();
    assert!(n.eq(0..500) && s.eq((0..500).map(|row| format!("row {row}"))), "other rows");
    right.clone()
}

#[tokio::test]
async fn statements_about_what_may_be_there_do_not_race() {
    let server = Server::start();
    for round in 0..10_usize {
        let before = round.saturating_sub(1);
        let statements = [
            format!("create table if not exists made{round} as select 1 as n"),
            format!("create table if not exists empty{round} (n bigint)"),
            format!("create schema if not exists shop{round}"),
            format!("create view if not exists seen{round} as select 1 as n"),
            format!("drop table if exists made{before}"),
            format!("drop schema if exists shop{before}"),
            format!("truncate table if exists empty{before}"),
            format!("drop table if exists empty{before}"),
        ];
        let mut running = Vec::new();
        // Two that empty a table at once may well be in each other's way.
        let times = |statement: &String| if statement.starts_with("truncate") { 1 } else { 4 };
        for statement in statements.iter().flat_map(|statement| vec![statement; times(statement)]) {
            let (mut sql, statement) = (sql(&server).await, statement.clone());
            running.push(tokio::spawn(async move { (update(&mut sql, &statement).await, statement) }));
        }
        for run in running {
            let (done, statement) = run.await.unwrap();
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_no_request() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let server = Server::logging_to(full);
    let mut client = server.client().await;
    for _ in 0..3 {
        put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
        assert_eq!(count(&mut client, "select * from t").await.unwrap(), 10);
        count(&mut client, "select nothing from t").await.unwrap_err();
    }
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_told_and_leaves_nothing() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let server = Server::start();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let limit = |bytes| prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    let mut client = appender(&server).await;
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    limit(Some(2000));
    for rows in [2000, 20_000] {
        let refused = put(&mut client, "t", vec![batch(1, rows)]).await;
        crate::harness::assert_error(refused, Code::ResourceExhausted, "ulimit -f");
    }
    limit(None);
    assert_eq!(server.staged(), 0);
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    let files = std::fs::read_dir(server.root().join("t")).unwrap();
    assert_eq!(files.count(), 3, "a log and two files");
}

#[tokio::test]
async fn a_damaged_view_can_be_replaced_and_dropped() {
    let server = Server::start();
    let mut client = sql(&server).await;
    let file = server.root().join("seen.view.json");
    for mended_by in ["create or replace view seen as select 2 as n", "drop view seen"] {
        update(&mut client, "create or replace view seen as select 1 as n").await.unwrap();
        std::fs::write(&file, "{").unwrap();
        let error = query(&mut client, "select n from seen").await.unwrap_err().to_string();
        assert!(error.contains("DROP VIEW"), "{error}");
        update(&mut client, mended_by).await.unwrap();
    }
    assert!(!file.exists());
}
