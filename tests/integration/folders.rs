//! Folders that other programs made: what is a dataset, what is refused by name, and what is never removed.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::FlightClient;
use tonic::Code;

use crate::flight_sql::{sql, update};
use crate::harness::{Server, act, assert_error, batch, count, get, names, number, put};

/// Writes a Parquet file where another program would.
async fn write(server: &Server, client: &mut FlightClient, file: &str, rows: RecordBatch) {
    put(client, "moved", vec![rows]).await.unwrap();
    place(server, file, &std::fs::read(server.root().join("moved.parquet")).unwrap());
    std::fs::remove_file(server.root().join("moved.parquet")).unwrap();
}

fn place(server: &Server, file: &str, content: &[u8]) {
    let path = server.root().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn exists(server: &Server, file: &str) -> bool {
    server.root().join(file).exists()
}

/// The names below a folder, sorted.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

/// All that could serve, list, change or remove the folder `name` fails, and leaves it as it is.
async fn is_refused(server: &Server, name: &str, code: Code, part: &str) {
    let mut client = server.client().await;
    let before = tree(&server.root().join(name));
    assert_error(get(&mut client, name.to_owned()).await, code, part);
    assert_error(get(&mut client, format!("select * from {name}")).await, code, part);
    assert_error(act(&mut client, "describe_dataset", name.to_owned()).await, code, part);
    assert_error(act(&mut client, "drop_dataset", name.to_owned()).await, code, part);
    let renaming = format!(r#"{{"name":"{name}","newName":"other"}}"#);
    assert_error(act(&mut client, "rename_dataset", renaming).await, code, part);
    assert_error(put(&mut client, name, vec![batch(1, 1)]).await, code, part);
    for statement in [format!("insert into {name} values (1, 1, 'x')"), format!("drop table {name}")] {
        assert_error(update(&mut sql(server).await, &statement).await, code, part);
    }
    let mut appending = server.client().await;
    appending.add_header("x-airstrip-mode", "append").unwrap();
    assert_error(put(&mut appending, name, vec![batch(1, 1)]).await, code, part);
    let listed = format!("select count(*) from information_schema.tables where table_name = '{name}'");
    assert_eq!(number(&mut client, &listed).await, 0);
    assert!(!names(&mut client, "").await.contains(&name.to_owned()));
    assert_eq!(tree(&server.root().join(name)), before);
}

#[tokio::test]
async fn a_folder_that_is_another_formats_table_is_refused_by_its_name() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "good", vec![batch(1, 3)]).await.unwrap();
    let layouts: [(&str, &str, &str, &[&str]); 6] = [
        ("iceberg", "Apache Iceberg", "data/0.parquet", &["metadata/00000-a.metadata.json"]),
        (
            "hudi",
            "Apache Hudi",
            "k=1/0.parquet",
            &[".hoodie/hoodie.properties", "k=1/.hoodie_partition_metadata"],
        ),
        ("hudi_part", "Apache Hudi", "0.parquet", &[".hoodie_partition_metadata"]),
        (
            "paimon",
            "Apache Paimon",
            "bucket-0/0.parquet",
            &["schema/schema-0", "snapshot/LATEST", "manifest/m-0"],
        ),
        (
            "lake",
            "DuckLake",
            "ducklake-01912345-89ab-7def-8123-456789abcdef.parquet",
            &["ducklake-01912345-89ab-7def-8123-456789abcde0-delete.parquet"],
        ),
        ("lance", "Lance", "0.parquet", &["_versions/1.manifest", "_transactions/0.txn", "data/0.lance"]),
    ];
    for (name, _, rows, marks) in layouts {
        write(&server, &mut client, &format!("{name}/{rows}"), batch(1, 3)).await;
        for mark in marks {
            place(&server, &format!("{name}/{mark}"), b"{}");
        }
    }
    for (name, format, _, _) in layouts {
        is_refused(&server, name, Code::Unimplemented, format).await;
    }
    // A warehouse of them too.
    for (name, format, rows, _) in layouts {
        let warehouse = format!("warehouse_of_{name}");
        std::fs::create_dir(server.root().join(&warehouse)).unwrap();
        std::fs::rename(server.root().join(name), server.root().join(&warehouse).join("t")).unwrap();
        assert!(exists(&server, &format!("{warehouse}/t/{rows}")));
        is_refused(&server, &warehouse, Code::Unimplemented, format).await;
    }
    assert_eq!(names(&mut client, "").await, ["good"]);
}

#[tokio::test]
async fn a_folder_of_delta_tables_is_none_itself() {
    let server = Server::start();
    let mut client = server.client().await;
    for name in ["a", "b"] {
        let mut appending = server.client().await;
        appending.add_header("x-airstrip-mode", "append").unwrap();
        put(&mut appending, name, vec![batch(1, 3)]).await.unwrap();
        std::fs::create_dir_all(server.root().join("bronze")).unwrap();
        std::fs::rename(server.root().join(name), server.root().join("bronze").join(name)).unwrap();
    }
    is_refused(&server, "bronze", Code::FailedPrecondition, "bronze.db").await;
    std::fs::rename(server.root().join("bronze"), server.root().join("bronze.db")).unwrap();
    assert_eq!(count(&mut client, "select * from bronze.a").await.unwrap(), 3);
}

#[tokio::test]
async fn a_folder_of_several_tables_is_not_glued_together() {
    let server = Server::start();
    let mut client = server.client().await;
    let numbers = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let orders = [("id", numbers()), ("customer", numbers()), ("total", numbers())];
    let customers = [("id", numbers()), ("name", numbers()), ("city", numbers())];
    write(&server, &mut client, "shop/orders.parquet", RecordBatch::try_from_iter(orders).unwrap()).await;
    write(&server, &mut client, "shop/customers.parquet", RecordBatch::try_from_iter(customers).unwrap())
        .await;
    for part in ["shop.db", "register_dataset", "CREATE EXTERNAL TABLE"] {
        assert_error(get(&mut client, "shop").await, Code::FailedPrecondition, part);
    }
    assert_eq!(names(&mut client, "").await, Vec::<String>::new());
    // Whoever names the folder may mean one of them, and not all.
    let part = "files of several tables";
    assert_error(put(&mut client, "shop", vec![batch(1, 1)]).await, Code::FailedPrecondition, part);
    assert_error(act(&mut client, "drop_dataset", "shop").await, Code::FailedPrecondition, part);
    let keeping = r#"{"name":"shop","keepOtherFiles":true}"#;
    assert_error(act(&mut client, "drop_dataset", keeping).await, Code::FailedPrecondition, part);
    let registration = r#"{"name":"orders","path":"shop/orders.parquet"}"#;
    act(&mut client, "register_dataset", registration).await.unwrap();
    assert_eq!(count(&mut client, "select total from orders").await.unwrap(), 1);
    std::fs::rename(server.root().join("shop"), server.root().join("shop.db")).unwrap();
    assert_eq!(count(&mut client, "select city from shop.customers").await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_not_the_datasets_own_outlives_it() {
    let server = Server::start();
    let mut client = server.client().await;
    for name in ["dropped", "replaced"] {
        write(&server, &mut client, &format!("{name}/k=1/0.parquet"), batch(1, 3)).await;
        for (file, text) in [("README.md", "read me"), ("k=1/notes/a.csv", "1,2"), ("_SUCCESS", "")] {
            place(&server, &format!("{name}/{file}"), text.as_bytes());
        }
    }
    let (refused, way_out) = (Code::FailedPrecondition, "keepOtherFiles");
    for part in ["dropped/README.md", way_out] {
        assert_error(act(&mut client, "drop_dataset", "dropped").await, refused, part);
        assert_error(update(&mut sql(&server).await, "drop table dropped").await, refused, part);
    }
    for part in ["replaced/README.md", "x-airstrip-keep-other-files"] {
        assert_error(put(&mut client, "replaced", vec![batch(2, 5)]).await, refused, part);
    }
    for name in ["dropped", "replaced"] {
        assert_eq!(count(&mut client, name).await.unwrap(), 3);
        assert!(exists(&server, &format!("{name}/README.md")));
    }
    let keeping = r#"{"name":"dropped","keepOtherFiles":true}"#;
    let dropped = act(&mut client, "drop_dataset", keeping).await.unwrap();
    let kept = ["dropped/README.md", "dropped/k=1/notes/a.csv"];
    assert_eq!(dropped["kept"], serde_json::json!(kept));
    let mut keeping = server.client().await;
    keeping.add_header("x-airstrip-keep-other-files", "true").unwrap();
    put(&mut keeping, "replaced", vec![batch(2, 5)]).await.unwrap();
    for name in ["dropped", "replaced"] {
        let folder = server.root().join(name);
        assert_eq!(std::fs::read_to_string(folder.join("README.md")).unwrap(), "read me");
        assert_eq!(std::fs::read_to_string(folder.join("k=1/notes/a.csv")).unwrap(), "1,2");
        assert!(!folder.join("k=1/0.parquet").exists());
        assert!(!folder.join("_SUCCESS").exists());
    }
    assert_eq!(names(&mut client, "").await.len(), 1);
    assert_eq!(count(&mut client, "select * from replaced").await.unwrap(), 5);
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn a_folder_that_an_upload_would_take_the_place_of_keeps_its_notes() {
    let server = Server::start();
    let mut client = server.client().await;
    write(&server, &mut client, "t.parquet/0.parquet", batch(1, 3)).await;
    place(&server, "t.parquet/README.md", b"read me");
    let mut keeping = server.client().await;
    keeping.add_header("x-airstrip-keep-other-files", "true").unwrap();
    for client in [&mut client, &mut keeping] {
        let refused = put(client, "t", vec![batch(2, 5)]).await;
        assert_error(refused, Code::FailedPrecondition, "README.md");
    }
    assert!(exists(&server, "t.parquet/README.md") && exists(&server, "t.parquet/0.parquet"));
    std::fs::remove_file(server.root().join("t.parquet/README.md")).unwrap();
    put(&mut client, "t", vec![batch(2, 5)]).await.unwrap();
}

#[tokio::test]
async fn a_schema_with_other_files_is_not_dropped_with_them() {
    let server = Server::start();
    let mut client = server.client().await;
    write(&server, &mut client, "s.db/t.parquet", batch(1, 3)).await;
    write(&server, &mut client, "s.db/ice/data/0.parquet", batch(1, 3)).await;
    place(&server, "s.db/ice/metadata/v1.metadata.json", b"{}");
    let mut session = sql(&server).await;
    let dropping = "drop schema s cascade";
    assert_error(update(&mut session, dropping).await, Code::Unimplemented, "Iceberg");
    assert!(exists(&server, "s.db/ice/data/0.parquet") && exists(&server, "s.db/t.parquet"));
    std::fs::remove_dir_all(server.root().join("s.db/ice")).unwrap();
    place(&server, "s.db/notes.txt", b"x");
    assert_error(update(&mut session, dropping).await, Code::FailedPrecondition, "notes.txt");
    std::fs::remove_file(server.root().join("s.db/notes.txt")).unwrap();
    update(&mut session, dropping).await.unwrap();
    assert!(!exists(&server, "s.db"));
    assert_eq!(names(&mut client, "").await, Vec::<String>::new());
}

#[tokio::test]
async fn keys_in_folders_and_files_are_one_column() {
    let server = Server::start();
    let mut client = server.client().await;
    let rows = |id: i64, key: &str| {
        let id: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let key: ArrayRef = Arc::new(StringArray::from(vec![key]));
        let n: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        RecordBatch::try_from_iter([("id", id), ("k", key), ("n", n)]).unwrap()
    };
    // As text, which the folders' names alone would not be.
    write(&server, &mut client, "p/k=01/0.parquet", rows(1, "01")).await;
    write(&server, &mut client, "p/k=2/0.parquet", rows(2, "2")).await;
    let found = get(&mut client, "p").await.unwrap();
    let schema = found[0].schema();
    let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, ["id", "k", "n"]);
    for _ in 0..3 {
        for (query, expected) in [
            ("select id from p where k = '01'", 1),
            ("select id from p where k = '2' or id = 1", 2),
            ("select id from p where k = '2' and n = 7", 1),
            ("select id from p where k > '01'", 1),
            ("select a.id from p a join p b using (k)", 2),
        ] {
            assert_eq!(count(&mut client, query).await.unwrap(), expected, "{query}");
        }
        let keys = get(&mut client, "select k, id, n from p order by k").await.unwrap();
        let keys = keys[0].column(0).as_any().downcast_ref::<StringArray>().unwrap().clone();
        assert_eq!(keys.iter().flatten().collect::<Vec<_>>(), ["01", "2"]);
    }
    let mut appending = server.client().await;
    appending.add_header("x-airstrip-mode", "append").unwrap();
    put(&mut appending, "p", vec![rows(3, "3")]).await.unwrap();
    assert_eq!(count(&mut client, "select id from p where k in ('01', '3')").await.unwrap(), 2);

    write(&server, &mut client, "wrong/k=a/0.parquet", rows(1, "b")).await;
    assert_error(get(&mut client, "wrong").await, Code::FailedPrecondition, "contradicts itself");
}

#[tokio::test]
async fn a_root_that_is_a_table_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("_delta_log")).unwrap();
    let output = crate::harness::command().arg("serve").arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("Delta table itself"), "{text}");
}
