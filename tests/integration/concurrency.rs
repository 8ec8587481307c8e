//! Many clients at once on few names.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::error::FlightError;
use tonic::Code;

use crate::harness::{Server, act, batch, get, put};

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
