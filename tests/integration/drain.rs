//! A server that is told to end while much is going on: what was begun is done, and nothing else is.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::future::join_all;
use rustix::process::Signal;

use crate::harness::{Server, batch, count, get, number, put};

const CYCLES: u64 = 4;
const WRITERS: i64 = 4;
/// Of the dataset that is read meanwhile.
const ROWS: i64 = 300_000;

/// Appends rows with numbers of its own to a Delta table, one by one, and says how many it was told are there.
async fn append(mut client: FlightClient, writer: i64) -> i64 {
    client.add_header("x-airstrip-mode", "append").unwrap();
    let mut done = 0;
    while put(&mut client, "appended", vec![batch(writer * 1_000_000 + done, 1)]).await.is_ok() {
        done += 1;
    }
    done
}

/// Inserts rows by SQL, and says how many it was told are there.
async fn insert(server: &Server) -> i64 {
    let mut client = FlightSqlServiceClient::new(server.channel().await);
    let mut done = 0;
    while client.execute_update(format!("insert into inserted values ({done})"), None).await.is_ok() {
        done += 1;
    }
    done
}

/// Replaces a dataset, and says which version it was told is there.
async fn replace(mut client: FlightClient) -> i64 {
    let mut version = 0;
    while put(&mut client, "replaced", vec![batch(version + 1, 5000)]).await.is_ok() {
        version += 1;
    }
    version
}

/// Reads until it cannot any more, and says how often it got all rows.
async fn read(mut client: FlightClient) -> usize {
    let mut whole = 0;
    while let Ok(batches) = get(&mut client, "read").await {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(i64::try_from(rows), Ok(ROWS), "an answer is short");
        whole += 1;
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_ends_with_all_that_it_has_acknowledged_and_nothing_else() {
    for cycle in 0..CYCLES {
        let root = tempfile::tempdir().unwrap();
        let mut server = Server::on(root.path(), &["--drain-timeout", "1m"]);
        let mut client = server.client().await;
        put(&mut client, "read", (0..3).map(|_| batch(1, ROWS / 3)).collect()).await.unwrap();
        let mut sql = FlightSqlServiceClient::new(server.channel().await);
        sql.execute_update("create table inserted (n bigint)".to_owned(), None).await.unwrap();
        let channels = join_all((0..WRITERS + 2).map(|_| server.client())).await;
        let mut clients = channels.into_iter();
        let appends = (0..WRITERS).map(|writer| append(clients.next().unwrap(), writer)).collect::<Vec<_>>();
        let (replacing, reading) = (replace(clients.next().unwrap()), read(clients.next().unwrap()));
        let signal = async {
            tokio::time::sleep(Duration::from_millis(400 + 170 * cycle)).await;
            server.signal(Signal::TERM);
        };
        let (appended, version, whole, inserted, ()) =
            tokio::join!(join_all(appends), replacing, reading, insert(&server), signal);
        drop((client, sql));
        assert_eq!(server.wait().await.code(), Some(0), "cycle {cycle}");
        assert!(appended.iter().all(|done| *done > 0) && version > 0 && inserted > 0 && whole > 0);

        let server = Server::on(root.path(), &[]);
        let mut client = server.client().await;
        for (writer, done) in (0..WRITERS).zip(appended) {
            let first = writer * 1_000_000;
            let sql = format!("select v from appended where v between {first} and {first} + 999999");
            let found = count(&mut client, &sql).await.unwrap();
            assert_eq!(i64::try_from(found), Ok(done), "cycle {cycle}, writer {writer}");
        }
        assert_eq!(number(&mut client, "select count(distinct n) from inserted").await, inserted);
        assert_eq!(number(&mut client, "select count(*) from inserted").await, inserted);
        assert_eq!(number(&mut client, "select max(v) from replaced").await, version, "cycle {cycle}");
        assert_eq!(server.staged(), 0, "cycle {cycle}");
    }
}
