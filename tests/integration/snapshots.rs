//! Readers see one version to the end, whatever happens to the name meanwhile.

use std::collections::HashSet;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::Ticket;
use futures::TryStreamExt;
use tonic::Code;

use crate::harness::{Server, act, assert_error, batch, count, get, put};

/// Large enough that the server cannot have sent all of it before the client reads on.
const ROWS: i64 = 1_000_000;

#[tokio::test]
async fn a_replace_or_drop_in_mid_scan_changes_nothing_for_the_reader() {
    for sql in [false, true] {
        for drop in [false, true] {
            let server = Server::start();
            let mut client = server.client().await;
            put(&mut client, "t", (0..4).map(|_| batch(1, ROWS / 4)).collect()).await.unwrap();
            let ticket = if sql { "select v from t" } else { "t" };
            let mut reader = client.do_get(Ticket::new(ticket)).await.unwrap();
            let first = reader.try_next().await.unwrap().unwrap();

            let mut other = server.client().await;
            if drop {
                act(&mut other, "drop_dataset", "t").await.unwrap();
                assert_error(count(&mut other, "t").await, Code::NotFound, "");
            } else {
                put(&mut other, "t", vec![batch(2, 10)]).await.unwrap();
                assert_eq!(count(&mut other, "t").await.unwrap(), 10);
            }
            let mut rows = first.num_rows();
            let mut versions = HashSet::new();
            while let Some(batch) = reader.try_next().await.unwrap() {
                rows += batch.num_rows();
                versions
                    .extend(batch.column_by_name("v").unwrap().as_primitive::<Int64Type>().values().iter());
            }
            assert_eq!(
                (i64::try_from(rows).unwrap(), versions),
                (ROWS, HashSet::from([1])),
                "sql {sql} drop {drop}"
            );
        }
    }
}

#[tokio::test]
async fn one_statement_sees_one_version_of_each_dataset() {
    let server = Server::start();
    let mut writer = server.client().await;
    put(&mut writer, "t", vec![batch(0, 100)]).await.unwrap();
    let writing = tokio::spawn(async move {
        for version in 1..60 {
            put(&mut writer, "t", vec![batch(version, 100)]).await.unwrap();
        }
    });
    let mut client = server.client().await;
    let sql = "select (select max(v) from t) - min(a.v) as d from t a join t b on a.n = b.n \
               having min(a.v) <> max(b.v) or (select max(v) from t) <> min(a.v)";
    while !writing.is_finished() {
        let rows: usize =
            get(&mut client, sql).await.unwrap().iter().map(arrow::array::RecordBatch::num_rows).sum();
        assert_eq!(rows, 0, "two references saw different versions");
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn what_another_program_does_to_the_root_shows_at_once() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "a", vec![batch(1, 10)]).await.unwrap();
    std::fs::copy(server.root().join("a.parquet"), server.root().join("dropped in.parquet")).unwrap();
    assert_eq!(count(&mut client, "dropped in").await.unwrap(), 10);
    put(&mut client, "b", vec![batch(2, 20)]).await.unwrap();
    std::fs::rename(server.root().join("b.parquet"), server.root().join("a.parquet")).unwrap();
    assert_eq!(count(&mut client, "a").await.unwrap(), 20);
    assert_eq!(count(&mut client, "select * from a").await.unwrap(), 20);
    std::fs::remove_file(server.root().join("a.parquet")).unwrap();
    assert_error(count(&mut client, "a").await, Code::NotFound, "dataset a");
    assert_error(count(&mut client, "select * from a").await, Code::NotFound, "dataset a");
}
