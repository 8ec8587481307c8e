//! Many clients at once on few names.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::FlightClient;
use arrow_flight::error::FlightError;
use arrow_flight::sql::CommandStatementIngest;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use futures::StreamExt;
use tonic::Code;

use crate::harness::{Server, act, batch, get, names, number, put};

const CLIENTS: usize = 32;
const ROUNDS: usize = 12;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Rows of a version: different ones differ, and all have several batches.
fn rows_of(version: i64) -> i64 {
    10_000 + version * 7
}

fn not_found(error: &FlightError) -> bool {
    matches!(error, FlightError::Tonic(status) if status.code() == Code::NotFound)
}

/// Checks that `batches` are exactly one version.
fn assert_one_version(batches: &[RecordBatch]) {
    let values = |name: &str| -> Vec<i64> {
        batches
            .iter()
            .flat_map(|batch| {
                batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
            })
            .collect()
    };
    let versions = values("v");
    let version = versions[0];
    assert!(versions.iter().all(|other| *other == version), "a read mixes versions");
    let mut numbers = values("n");
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..rows_of(version)), "a read of version {version} is not whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_is_exactly_one_version() {
    let server = Arc::new(Server::start());
    let versions = Arc::new(AtomicI64::new(1));
    let clients = (0..CLIENTS).map(|index| {
        let (server, versions) = (Arc::clone(&server), Arc::clone(&versions));
        tokio::spawn(async move {
            let mut client = server.client().await;
            let mut reads = 0;
            for round in 0..ROUNDS {
                let name = NAMES[(index + round) % NAMES.len()];
                match (index * 7 + round * 3) % 8 {
                    0 | 1 => {
                        let version = versions.fetch_add(1, Ordering::Relaxed);
                        put(&mut client, name, vec![batch(version, rows_of(version))]).await.unwrap();
                    }
                    2 => match act(&mut client, "drop_dataset", name).await {
                        Ok(_) => {}
                        Err(error) => assert!(not_found(&error), "{error}"),
                    },
                    other => {
                        let ticket =
                            if other % 2 == 0 { name.to_owned() } else { format!("select * from {name}") };
                        match get(&mut client, ticket).await {
                            Ok(batches) => {
                                assert_one_version(&batches);
                                reads += 1;
                            }
                            Err(error) => assert!(not_found(&error), "{error}"),
                        }
                    }
                }
            }
            reads
        })
    });
    let mut reads = 0;
    for client in clients.collect::<Vec<_>>() {
        reads += client.await.unwrap();
    }
    assert!(reads > 20, "only {reads} reads found a dataset");
    assert_eq!(server.staged(), 0);
}

/// What changes a table finds it there or fails: it never makes one anew of the rows that it adds.
#[tokio::test(flavor = "multi_thread")]
async fn rows_do_not_bring_a_table_back_that_is_gone() {
    let server = Server::start();
    let mut sql = FlightSqlServiceClient::new(server.channel().await);
    let mut other = server.client().await;
    for round in 0..20 {
        sql.execute_update("create table t (n bigint, v bigint)".to_owned(), None).await.unwrap();
        let mut inserting = FlightSqlServiceClient::new(server.channel().await);
        let inserts = tokio::spawn(async move {
            while inserting.execute_update("insert into t values (1, 1)".to_owned(), None).await.is_ok() {}
        });
        tokio::time::sleep(Duration::from_millis(30 + round)).await;
        act(&mut other, "drop_dataset", "t").await.unwrap();
        inserts.await.unwrap();
        assert_eq!(names(&mut other, "t").await, Vec::<String>::new(), "round {round}");
    }
}

#[tokio::test]
async fn an_append_that_needs_its_table_fails_when_that_is_dropped_meanwhile() {
    let server = Server::start();
    let mut sql = FlightSqlServiceClient::new(server.channel().await);
    let mut other = server.client().await;
    put(&mut other, "t", vec![batch(1, 3)]).await.unwrap();
    let definition = TableDefinitionOptions {
        if_not_exist: TableNotExistOption::Fail.into(),
        if_exists: TableExistsOption::Append.into(),
    };
    let command = CommandStatementIngest {
        table_definition_options: Some(definition),
        table: "t".to_owned(),
        ..CommandStatementIngest::default()
    };
    let channel = server.channel().await;
    let batches = futures::stream::iter([1, 2]).then(move |version| {
        let mut dropping = FlightClient::new(channel.clone());
        async move {
            if version == 2 {
                act(&mut dropping, "drop_dataset", "t").await.unwrap();
            }
            Ok(batch(version, 5))
        }
    });
    assert!(sql.execute_ingest(command, batches).await.is_err());
    assert_eq!(names(&mut other, "").await, Vec::<String>::new());
    assert_eq!(server.staged(), 0);
}

/// Emptying a table takes along what comes meanwhile, and never fails for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_beside_inserts_is_done() {
    let server = Server::start();
    let mut sql = FlightSqlServiceClient::new(server.channel().await);
    sql.execute_update("create table t (n bigint)".to_owned(), None).await.unwrap();
    let mut inserting = FlightSqlServiceClient::new(server.channel().await);
    let inserts = tokio::spawn(async move {
        for _ in 0..60 {
            inserting.execute_update("insert into t values (1)".to_owned(), None).await.unwrap();
        }
    });
    while !inserts.is_finished() {
        sql.execute_update("truncate table t".to_owned(), None).await.unwrap();
    }
    inserts.await.unwrap();
    sql.execute_update("truncate table t".to_owned(), None).await.unwrap();
    assert_eq!(number(&mut server.client().await, "select count(*) from t").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creates_wins() {
    let server = Arc::new(Server::start());
    let creates = (0..8).map(|version| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut client = server.client().await;
            client.add_header("x-airstrip-mode", "create").unwrap();
            put(&mut client, "t", vec![batch(version, rows_of(version))]).await.is_ok()
        })
    });
    let mut won = 0;
    for create in creates.collect::<Vec<_>>() {
        won += usize::from(create.await.unwrap());
    }
    assert_eq!(won, 1);
}
