//! The trash: what was dropped or replaced comes back, also after a crash.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow_flight::{FlightClient, Ticket};
use futures::TryStreamExt;
use serde_json::{Value, json};
use tonic::Code;

use crate::flight_sql::{query, sql, update};
use crate::harness::{
    PATIENCE, Server, act, assert_error, batch, count, eventually, get, names, number, put,
};

const TRASH: &str = ".airstrip/trash";

/// What the trash has: kind, name, why, the newest first.
async fn trash(client: &mut FlightClient) -> Vec<(String, String, String)> {
    let answer = act(client, "list_trash", "").await.unwrap();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = answer["entries"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "kind"), text(entry, "name"), text(entry, "why"))).collect()
}

async fn versions(client: &mut FlightClient, name: &str) -> Vec<String> {
    let answer = act(client, "list_trash", json!({ "name": name }).to_string()).await.unwrap();
    let entries = answer["entries"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["version"].as_str().unwrap_or_default().to_owned()).collect()
}

fn entry(kind: &str, name: &str, why: &str) -> (String, String, String) {
    (kind.to_owned(), name.to_owned(), why.to_owned())
}

/// The files in the trash's directory.
fn files(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(TRASH)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether a file of the trash says what another one was.
fn is_record(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "json")
}

async fn appender(server: &Server) -> FlightClient {
    let mut client = server.client().await;
    client.add_header("x-airstrip-mode", "append").unwrap();
    client
}

async fn keeper(server: &Server) -> FlightClient {
    let mut client = server.client().await;
    client.add_header("x-airstrip-keep-other-files", "true").unwrap();
    client
}

/// A folder of two parts, and files that are not the dataset's.
async fn folder(server: &Server, name: &str, others: &[&str]) {
    let mut client = server.client().await;
    put(&mut client, "part", vec![batch(1, 3)]).await.unwrap();
    let part = server.root().join("part.parquet");
    let folder = server.root().join(name);
    for key in ["k=1", "k=2"] {
        fs::create_dir_all(folder.join(key)).unwrap();
        fs::copy(&part, folder.join(key).join("0.parquet")).unwrap();
    }
    fs::write(folder.join("_SUCCESS"), "").unwrap();
    for other in others {
        let path = folder.join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, *other).unwrap();
    }
    fs::remove_file(part).unwrap();
}

#[tokio::test]
async fn a_file_that_was_replaced_or_dropped_comes_back() {
    let server = Server::start();
    let mut client = server.client().await;
    let first = put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    let second = put(&mut client, "t", vec![batch(2, 20)]).await.unwrap();
    assert_eq!((&first["trashed"], &second["trashed"]), (&Value::Null, &Value::Null));
    let dropped = act(&mut client, "drop_dataset", "t").await.unwrap();
    assert_eq!(dropped["trashed"], Value::Null);
    assert_eq!(
        trash(&mut client).await,
        [entry("dataset", "t", "dropped"), entry("dataset", "t", "replaced")]
    );
    let known: Vec<_> =
        [&second, &first].iter().map(|put| put["version"].as_str().unwrap().to_owned()).collect();
    assert_eq!(versions(&mut client, "t").await, known);

    // The newest, as it was.
    let back = act(&mut client, "undrop_dataset", "t").await.unwrap();
    assert_eq!(back, json!({ "name": "t", "schema": "public", "version": second["version"] }));
    assert_eq!(count(&mut client, "t").await.unwrap(), 20);
    // An earlier one, beside it.
    let earlier = json!({ "name": "t.parquet", "version": first["version"] }).to_string();
    assert_error(act(&mut client, "undrop_dataset", earlier).await, Code::AlreadyExists, "newName");
    let earlier = json!({ "name": "t", "version": first["version"], "newName": "u" }).to_string();
    act(&mut client, "undrop_dataset", earlier.clone()).await.unwrap();
    assert_eq!(number(&mut client, "select max(v) from u").await, 1);
    assert_error(act(&mut client, "undrop_dataset", earlier).await, Code::NotFound, "the trash has no t");
    assert!(trash(&mut client).await.is_empty());
    assert_eq!((files(server.root()), server.staged()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_reader_of_what_is_displaced_reads_on() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", (0..20).map(|_| batch(1, 100_000)).collect()).await.unwrap();
    let mut stream = client.do_get(Ticket::new("t")).await.unwrap();
    let mut rows = stream.try_next().await.unwrap().unwrap().num_rows();
    put(&mut client, "t", vec![batch(2, 1)]).await.unwrap();
    act(&mut client, "drop_dataset", "t").await.unwrap();
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 2_000_000);
}

#[tokio::test]
async fn every_way_to_displace_something_leaves_it_in_the_trash() {
    let server = Server::start();
    let (mut client, mut session) = (server.client().await, sql(&server).await);
    let mut expected = Vec::new();
    let mut found = |what: (String, String, String)| {
        expected.insert(0, what);
        expected.clone()
    };
    for name in ["dropped", "replaced", "emptied"] {
        folder(&server, name, &[]).await;
    }
    act(&mut client, "drop_dataset", "dropped").await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "dropped", "dropped")));
    put(&mut client, "replaced", vec![batch(2, 1)]).await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "replaced", "replaced")));
    update(&mut session, "truncate table emptied").await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "emptied", "replaced")));
    update(&mut session, "create or replace table replaced as select 1 as a").await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "replaced", "replaced")));

    // Of a registration only the registration goes, and comes back.
    folder(&server, "lake", &[]).await;
    let register = |path: &str| json!({ "name": "taxi", "path": path, "replace": true }).to_string();
    act(&mut client, "register_dataset", register("lake")).await.unwrap();
    act(&mut client, "register_dataset", register("lake/k=1")).await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "taxi", "replaced")));
    act(&mut client, "drop_dataset", "taxi").await.unwrap();
    assert_eq!(trash(&mut client).await, found(entry("dataset", "taxi", "dropped")));
    assert_eq!(count(&mut client, "lake").await.unwrap(), 6);
    act(&mut client, "undrop_dataset", r#"{"name":"taxi"}"#).await.unwrap();
    assert_eq!(count(&mut client, "taxi").await.unwrap(), 3);
    update(&mut session, "undrop table dropped").await.unwrap();
    assert_eq!(number(&mut client, "select count(distinct k) from dropped").await, 2);
    assert_eq!(trash(&mut client).await.len(), 4);

    // In a schema, and with it.
    update(&mut session, "create schema fin").await.unwrap();
    update(&mut session, "create table fin.t as select 1 as a").await.unwrap();
    act(&mut client, "drop_dataset", "fin.t").await.unwrap();
    act(&mut client, "undrop_dataset", "fin.t").await.unwrap();
    update(&mut session, "drop schema fin cascade").await.unwrap();
    assert_eq!(trash(&mut client).await[0], entry("schema", "", "dropped"));
    let whole = r#"{"schema":"fin","newName":"finance"}"#;
    let refused = act(&mut client, "undrop_dataset", r#"{"schema":"fin","name":"t"}"#).await;
    assert_error(refused, Code::NotFound, "UNDROP SCHEMA fin");
    assert_eq!(act(&mut client, "undrop_dataset", whole).await.unwrap()["schema"], "finance");
    assert_eq!(count(&mut client, "select * from finance.t").await.unwrap(), 1);
    assert!(server.root().join("finance.db/t.parquet").exists());
}

#[tokio::test]
async fn the_history_of_a_delta_table_comes_back_with_it() {
    let server = Server::start();
    let (mut client, mut session) = (server.client().await, sql(&server).await);
    for version in 1..=3 {
        put(&mut appender(&server).await, "t", vec![batch(version, 10)]).await.unwrap();
    }
    update(&mut session, "update t set n = n + 1 where v = 1").await.unwrap();
    update(&mut session, "delete from t where v = 3").await.unwrap();
    put(&mut client, "t", vec![batch(9, 1)]).await.unwrap();
    update(&mut session, "truncate table t").await.unwrap();
    act(&mut client, "restore_dataset", r#"{"name":"t","to":"4"}"#).await.unwrap();
    assert!(trash(&mut client).await.is_empty(), "changes stay in the table's own history");
    let history = number(&mut client, "select count(*) from history('t')").await;

    act(&mut client, "drop_dataset", "t").await.unwrap();
    assert!(!server.root().join("t").exists());
    assert_error(count(&mut client, "t@1").await, Code::NotFound, "t");
    let back = act(&mut client, "undrop_dataset", r#"{"name":"t","newName":"u"}"#).await.unwrap();
    assert_eq!(back["name"], "u");
    assert_eq!(number(&mut client, "select count(*) from history('u')").await, history);
    assert_eq!(count(&mut client, "u").await.unwrap(), 20);
    assert_eq!(count(&mut client, "u@2").await.unwrap(), 30);
    // It goes on as before.
    put(&mut appender(&server).await, "u", vec![batch(4, 5)]).await.unwrap();
    assert_eq!(count(&mut client, "u").await.unwrap(), 25);
}

#[tokio::test]
async fn without_a_retention_nothing_is_kept_and_the_answer_says_so() {
    let server = Server::with_args(&["--trash-retention", "0s"]);
    let mut client = server.client().await;
    folder(&server, "noted", &["README.md"]).await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    assert_eq!(put(&mut client, "t", vec![batch(2, 2)]).await.unwrap()["trashed"], false);
    assert_eq!(act(&mut client, "drop_dataset", "t").await.unwrap()["trashed"], false);
    let keeping = r#"{"name":"noted","keepOtherFiles":true}"#;
    assert_eq!(act(&mut client, "drop_dataset", keeping).await.unwrap()["trashed"], false);
    assert_eq!(fs::read_to_string(server.root().join("noted/README.md")).unwrap(), "README.md");
    assert!(names(&mut client, "").await.is_empty() && files(server.root()).is_empty());
    eventually(PATIENCE, || server.staged() == 0).await;

    let server = Server::with_args(&["--trash-entries", "0"]);
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    assert_eq!(put(&mut client, "t", vec![batch(2, 2)]).await.unwrap()["trashed"], false);
    assert_eq!(act(&mut client, "drop_dataset", "t").await.unwrap()["trashed"], false);
}

#[tokio::test]
async fn the_oldest_goes_first_and_what_is_too_large_alone_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let size = {
        let server = Server::on(dir.path(), &[]);
        let receipt = put(&mut server.client().await, "t", vec![batch(1, 1000)]).await.unwrap();
        receipt["bytes"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let limit = (2 * size + size / 2).to_string();
    let server = Server::on(dir.path(), &["--trash-limit", &limit]);
    let mut client = server.client().await;
    let mut known = Vec::new();
    for version in 2..=5 {
        let receipt = put(&mut client, "t", vec![batch(version, 1000)]).await.unwrap();
        assert_eq!(receipt["trashed"], Value::Null);
        known.push(receipt["version"].as_str().unwrap().to_owned());
    }
    assert_eq!(versions(&mut client, "t").await, [known[2].clone(), known[1].clone()]);
    put(&mut client, "large", vec![batch(1, 100_000)]).await.unwrap();
    assert_eq!(act(&mut client, "drop_dataset", "large").await.unwrap()["trashed"], false);
    // Nothing had to go for it.
    assert_eq!(versions(&mut client, "t").await, [known[2].clone(), known[1].clone()]);
    drop(server);
    // Fewer are a limit of its own.
    let server = Server::on(dir.path(), &["--trash-entries", "1"]);
    let mut client = server.client().await;
    let start = SystemTime::now();
    while versions(&mut client, "t").await != [known[2].clone()] {
        assert!(start.elapsed().unwrap() < PATIENCE, "the sweeper does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_sweeper_removes_what_is_over_its_time_and_touches_nothing_else() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path(), &["--trash-retention", "5s"]);
    let mut client = server.client().await;
    let trash_dir = dir.path().join(TRASH);
    fs::write(trash_dir.join("notes.txt"), "x").unwrap();
    fs::create_dir(trash_dir.join("mine")).unwrap();
    fs::write(trash_dir.join("mine/a"), "x").unwrap();
    symlink(outside.path(), trash_dir.join("link")).unwrap();
    let foreign = ["link", "mine", "notes.txt"];
    // A link in a folder, and one that is a dataset: the link goes, and never what it leads to.
    folder(&server, "linked", &[]).await;
    symlink(outside.path(), dir.path().join("linked/out")).unwrap();
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    symlink("t.parquet", dir.path().join("alias.parquet")).unwrap();
    for name in ["linked", "alias"] {
        let dropping = json!({ "name": name, "keepOtherFiles": true }).to_string();
        act(&mut client, "drop_dataset", dropping).await.unwrap();
    }
    assert_eq!(files(dir.path()).len(), foreign.len() + 4);
    eventually(PATIENCE, || files(dir.path()) == foreign).await;
    eventually(PATIENCE, || server.staged() == 0).await;
    assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "x");
    assert_eq!(fs::read_to_string(trash_dir.join("mine/a")).unwrap(), "x");
    assert_eq!(count(&mut client, "t").await.unwrap(), 1);
}

#[tokio::test]
async fn files_that_are_not_the_datasets_own_stay_and_it_comes_back_among_them() {
    let server = Server::start();
    let mut client = server.client().await;
    let others = ["README.md", "k=1/notes/a.csv", ".hidden/b.pdf"];
    folder(&server, "sales", &others).await;
    let base = server.root().join("sales");
    let inode = |other: &str| fs::metadata(base.join(other)).unwrap().ino();
    let inodes = others.map(inode);
    let refused = act(&mut client, "drop_dataset", "sales").await;
    assert_error(refused, Code::FailedPrecondition, "sales/k=1/notes/a.csv");
    assert_error(put(&mut client, "sales", vec![batch(1, 1)]).await, Code::FailedPrecondition, "README.md");
    assert_eq!(count(&mut client, "sales").await.unwrap(), 6);
    assert!(trash(&mut client).await.is_empty());

    let keeping = r#"{"name":"sales","keepOtherFiles":true}"#;
    for round in 0..2 {
        act(&mut client, "drop_dataset", keeping).await.unwrap();
        assert_eq!(others.map(inode), inodes, "round {round}");
        assert!(!base.join("_SUCCESS").exists() && !base.join("k=2").exists());
        let listed = files(server.root());
        let [record, thing] = &listed[..] else { panic!("one entry, not {listed:?}") };
        assert!(record.starts_with(&thing[..32]) || thing.starts_with(&record[..32]));
        let thing = server.root().join(TRASH).join(if is_record(thing) { record } else { thing });
        assert!(thing.join("k=2/0.parquet").exists() && thing.join("_SUCCESS").exists());
        assert!(!thing.join("README.md").exists() && !thing.join(".hidden").exists());
        assert!(!thing.join("k=1/notes").exists());
        // Somebody goes on with the notes meanwhile.
        fs::write(base.join("README.md"), format!("round {round}")).unwrap();
        act(&mut client, "undrop_dataset", "sales").await.unwrap();
        assert_eq!(count(&mut client, "sales").await.unwrap(), 6);
        assert_eq!(others.map(inode), inodes, "round {round}");
        assert_eq!(fs::read_to_string(base.join("README.md")).unwrap(), format!("round {round}"));
        assert!(files(server.root()).is_empty());
    }
    put(&mut keeper(&server).await, "sales", vec![batch(1, 1)]).await.unwrap();
    assert_eq!(others.map(inode), inodes);
    assert_eq!(count(&mut client, "sales").await.unwrap(), 1);
    assert_eq!(trash(&mut client).await, [entry("dataset", "sales", "replaced")]);
    act(&mut client, "undrop_dataset", r#"{"name":"sales","newName":"old"}"#).await.unwrap();
    assert_eq!(count(&mut client, "old").await.unwrap(), 6);
    assert!(!server.root().join("old/README.md").exists());
    eventually(PATIENCE, || server.staged() == 0).await;
}

#[tokio::test]
async fn of_a_link_to_a_folder_the_link_goes_and_comes_back() {
    let server = Server::start();
    let mut client = server.client().await;
    folder(&server, "lake", &["README.md"]).await;
    symlink("lake", server.root().join("alias")).unwrap();
    act(&mut client, "drop_dataset", "alias").await.unwrap();
    assert_eq!(count(&mut client, "lake").await.unwrap(), 6);
    assert_eq!(trash(&mut client).await, [entry("dataset", "alias", "dropped")]);
    act(&mut client, "undrop_dataset", "alias").await.unwrap();
    assert_eq!(count(&mut client, "alias").await.unwrap(), 6);
    assert!(server.root().join("alias").is_symlink());
}

/// A record as a server writes it before anything moves.
fn record(root: &Path, id: u32, from: &str, more: &Value) -> String {
    let id = format!("01930000000070008000{id:012x}");
    let mut record = json!({
        "schema": "public",
        "name": from.split('.').next().unwrap(),
        "from": from,
        "file": from,
        "when": "2999-01-01T00:00:00Z",
        "why": "replaced",
        "bytes": 1000,
    });
    record.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    fs::create_dir_all(root.join(TRASH)).unwrap();
    fs::write(root.join(TRASH).join(format!("{id}.json")), record.to_string()).unwrap();
    id
}

/// What tells a file that is to take a place.
fn mark(path: &Path) -> Value {
    let found = fs::metadata(path).unwrap();
    if found.is_dir() {
        return json!({ "inode": found.ino() });
    }
    json!({ "inode": found.ino(), "modified": [found.mtime(), found.mtime_nsec()] })
}

#[tokio::test]
async fn what_a_crash_cut_off_is_taken_back_or_brought_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    {
        let server = Server::on(root, &[]);
        let mut client = server.client().await;
        for name in ["t", "u", "new"] {
            put(&mut client, name, vec![batch(1, 3)]).await.unwrap();
        }
        folder(&server, "noted", &["README.md", "a/b.csv"]).await;
    }
    let trash_dir = root.join(TRASH);
    let slot = |id: &str, name: &str| trash_dir.join(format!("{id}-{name}"));
    // A record alone: nothing was moved.
    record(root, 1, "t.parquet", &json!({}));
    // An upload that waited for its exchange, which did not come.
    let file = root.join("new.parquet");
    let waiting = record(root, 2, "t.parquet", &json!({ "replacedBy": mark(&file) }));
    fs::rename(&file, slot(&waiting, "t.parquet")).unwrap();
    // One whose exchange came: what lies there is what was displaced.
    let done = record(root, 3, "u.parquet", &json!({ "replacedBy": { "inode": 1, "modified": [1, 2] } }));
    fs::rename(root.join("u.parquet"), slot(&done, "u.parquet")).unwrap();
    // A folder that changed places with one that has its other files, which are in both still.
    let parted = record(root, 4, "noted", &json!({ "keepsOthers": true, "replacedBy": { "inode": 1 } }));
    fs::rename(root.join("noted"), slot(&parted, "noted")).unwrap();
    fs::create_dir_all(root.join("noted/a")).unwrap();
    for other in ["README.md", "a/b.csv"] {
        fs::hard_link(slot(&parted, "noted").join(other), root.join("noted").join(other)).unwrap();
    }
    // One that was written anew in the moment between, and one that came then.
    let newer = slot(&parted, "noted").join("README.md");
    fs::remove_file(&newer).unwrap();
    fs::write(&newer, "newer").unwrap();
    let later = FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(60));
    File::options().write(true).open(&newer).unwrap().set_times(later).unwrap();
    fs::write(slot(&parted, "noted").join("came.txt"), "came").unwrap();
    // What nobody can tell, and what is damaged.
    fs::write(slot("01930000000070008000000000000005", "x.parquet"), "x").unwrap();
    fs::write(trash_dir.join("01930000000070008000000000000006.json"), "{").unwrap();
    fs::write(slot("01930000000070008000000000000006", "y.parquet"), "y").unwrap();

    let server = Server::on(root, &[]);
    let mut client = server.client().await;
    assert_eq!(count(&mut client, "t").await.unwrap(), 3);
    assert_eq!(
        trash(&mut client).await,
        [entry("dataset", "noted", "replaced"), entry("dataset", "u", "replaced")]
    );
    let left = files(root);
    for id in ["0001", "0002"] {
        assert!(!left.iter().any(|file| file[..32].ends_with(id)), "{left:?}");
    }
    for (id, files) in [("0003", 2), ("0004", 2), ("0005", 1), ("0006", 2)] {
        assert_eq!(left.iter().filter(|file| file[..32].ends_with(id)).count(), files, "{left:?}");
    }
    for (other, text) in [("README.md", "newer"), ("a/b.csv", "a/b.csv"), ("came.txt", "came")] {
        assert_eq!(fs::read_to_string(root.join("noted").join(other)).unwrap(), text);
        assert!(!slot(&parted, "noted").join(other).exists(), "{other}");
    }
    act(&mut client, "undrop_dataset", "u").await.unwrap();
    act(&mut client, "undrop_dataset", "noted").await.unwrap();
    assert_eq!(count(&mut client, "u").await.unwrap(), 3);
    assert_eq!(count(&mut client, "noted").await.unwrap(), 6);
    assert_eq!(fs::read_to_string(root.join("noted/README.md")).unwrap(), "newer");
}

#[tokio::test]
async fn a_killed_server_has_it_where_it_was_or_in_the_trash() {
    let dir = tempfile::tempdir().unwrap();
    {
        let server = Server::on(dir.path(), &[]);
        put(&mut server.client().await, "t", vec![batch(0, 5)]).await.unwrap();
    }
    for cycle in 1..=30_u64 {
        let server = Server::on(dir.path(), &[]);
        let mut client = server.client().await;
        let working = tokio::spawn(async move {
            for version in 1.. {
                let done = match version % 3 {
                    0 => act(&mut client, "drop_dataset", "t").await.map(|_| ()),
                    1 => put(&mut client, "t", vec![batch(version, 5)]).await.map(|_| ()),
                    _ => {
                        let dropped = act(&mut client, "drop_dataset", "t").await;
                        match dropped {
                            Ok(_) => act(&mut client, "undrop_dataset", "t").await.map(|_| ()),
                            Err(error) => Err(error),
                        }
                    }
                };
                if done.is_err() {
                    return;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(5 + cycle * 7 % 120)).await;
        drop(server); // SIGKILL
        let _ = working.await;

        let server = Server::on(dir.path(), &[]);
        let mut client = server.client().await;
        if names(&mut client, "").await.is_empty() {
            act(&mut client, "undrop_dataset", "t").await.unwrap();
        }
        assert_eq!(count(&mut client, "t").await.unwrap(), 5, "cycle {cycle}");
        assert_eq!(server.staged(), 0, "cycle {cycle} left litter");
        // All that is there is whole.
        let records = files(dir.path()).iter().filter(|file| is_record(file)).count();
        assert_eq!(files(dir.path()).len(), 2 * records, "cycle {cycle}");
        assert_eq!(trash(&mut client).await.len(), records, "cycle {cycle}");
    }
}

#[tokio::test]
async fn a_reader_of_the_root_lists_the_trash_and_takes_nothing_out_of_it() {
    let writer = Server::start();
    let mut client = writer.client().await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    act(&mut client, "drop_dataset", "t").await.unwrap();
    let reader = Server::on(writer.root(), &["--read-only"]);
    let mut reading = reader.client().await;
    assert_eq!(trash(&mut reading).await, [entry("dataset", "t", "dropped")]);
    let undropping = act(&mut reading, "undrop_dataset", "t").await;
    assert_error(undropping, Code::FailedPrecondition, "read-only");
    // What is cleaned up by hand is gone.
    for file in files(writer.root()) {
        fs::remove_file(writer.root().join(TRASH).join(file)).unwrap();
    }
    assert!(trash(&mut reading).await.is_empty() && trash(&mut client).await.is_empty());
    assert_error(act(&mut client, "undrop_dataset", "t").await, Code::NotFound, "the trash has no t");
    let listed = query(&mut sql(&writer).await, "select * from system.trash").await.unwrap();
    assert_eq!(listed.num_rows(), 0);
    assert!(get(&mut client, "undrop table t").await.is_err());
}
