//! Results flow while they are made, and stop when nobody wants them.

use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::{Code, Request};

use crate::harness::{PATIENCE, Server, batch, count, cpu_ticks, eventually, number, put};

/// Runs for days, and gives rows from the start.
const ENDLESS: &str = "select a.value from range(100000000) a, range(100000000) b";
/// Runs for hours inside of one join, and gives none.
const STUCK: &str = "select count(*) from range(10000000) a, range(10000000) b where a.value + b.value = -1";

/// The same where a batch of one side has many rows of the other.
const STUCK_IN_A_FILTER: &str = "select count(*) from range(100000) a join range(100000) b \
                                 on a.value % 3 = b.value % 5 where a.value + b.value = -1";
/// Runs for minutes in an aggregate that asks one join for rows, and gives none.
const ABSORBED: &str = "select sum(a.value * b.value % 7) from range(100000) a join range(100000) b \
                        on a.value % 3 = b.value % 5";

/// Asserts that the server comes to rest within about a second.
async fn assert_rests(server: &Server) {
    let start = Instant::now();
    loop {
        let before = cpu_ticks(server.pid());
        tokio::time::sleep(Duration::from_millis(200)).await;
        if cpu_ticks(server.pid()) - before <= 4 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "the work goes on");
    }
}

#[tokio::test]
async fn the_first_rows_come_while_the_query_runs_and_the_work_ends_with_its_client() {
    let server = Server::start();
    let mut client = server.client().await;
    let mut stream =
        tokio::time::timeout(PATIENCE, client.do_get(Ticket::new(ENDLESS))).await.unwrap().unwrap();
    let first = tokio::time::timeout(PATIENCE, stream.try_next()).await.unwrap().unwrap();
    assert!(first.unwrap().num_rows() > 0);
    drop(stream);
    assert_rests(&server).await;
    assert_eq!(number(&mut client, "select 1").await, 1);
}

#[tokio::test]
async fn a_join_that_never_returns_is_stopped_too() {
    let server = Server::start();
    let channel = server.channel().await;
    let work = tokio::spawn(async move {
        let mut client = FlightServiceClient::new(channel);
        let mut stream = client.do_get(Ticket::new(STUCK)).await.unwrap().into_inner();
        while stream.message().await.unwrap().is_some() {}
    });
    let mut client = server.client().await;
    eventually(PATIENCE, || cpu_ticks(server.pid()) > 50).await;
    let start = Instant::now();
    assert_eq!(number(&mut client, "select 1").await, 1);
    assert!(start.elapsed() < Duration::from_secs(5), "others had to wait {:?}", start.elapsed());
    work.abort();
    assert_rests(&server).await;
}

#[tokio::test]
async fn deadlines_of_the_client_and_of_the_server_hold() {
    let server = Server::with_args(&["--query-timeout", "1s"]);
    let mut client = FlightServiceClient::new(server.channel().await);
    for sql in [ENDLESS, STUCK, STUCK_IN_A_FILTER, ABSORBED] {
        for own in [Some(Duration::from_millis(500)), None] {
            let mut request = Request::new(Ticket::new(sql));
            if let Some(own) = own {
                request.set_timeout(own);
            }
            let start = Instant::now();
            let outcome = async {
                let mut stream = client.do_get(request).await?.into_inner();
                while stream.message().await?.is_some() {}
                Ok::<_, tonic::Status>(())
            };
            let status = tokio::time::timeout(PATIENCE, outcome).await.unwrap().unwrap_err();
            assert!(
                matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
                "{sql} {own:?}: {status}"
            );
            assert!(start.elapsed() < Duration::from_secs(10), "{sql} {own:?} took {:?}", start.elapsed());
        }
    }
    assert_rests(&server).await;
}

#[tokio::test]
async fn a_change_that_never_returns_is_stopped_by_its_deadline_and_with_its_client() {
    let (impatient, patient) = (Server::with_args(&["--query-timeout", "1s"]), Server::start());
    let merge = "set datafusion.optimizer.prefer_hash_join = false";
    let hash = "set datafusion.optimizer.prefer_hash_join = true";
    for (join, query) in [
        (hash, STUCK),
        (hash, STUCK_IN_A_FILTER),
        (merge, STUCK_IN_A_FILTER),
        (hash, ABSORBED),
        (merge, ABSORBED),
    ] {
        let change = format!("create table slow as {query}");
        let mut client = FlightSqlServiceClient::new(impatient.channel().await);
        client.execute_update(join.to_owned(), None).await.unwrap();
        let failed = tokio::time::timeout(PATIENCE, client.execute_update(change.clone(), None)).await;
        assert!(failed.unwrap().unwrap_err().to_string().contains("query-timeout"), "{query}");
        assert_rests(&impatient).await;

        let mut client = FlightSqlServiceClient::new(patient.channel().await);
        client.execute_update(join.to_owned(), None).await.unwrap();
        let before = cpu_ticks(patient.pid());
        let work = tokio::spawn(async move { client.execute_update(change, None).await });
        eventually(PATIENCE, || cpu_ticks(patient.pid()) > before + 50).await;
        work.abort();
        assert_rests(&patient).await;
    }
}

#[tokio::test]
async fn a_stalled_client_loses_its_stream_and_the_query_its_place() {
    let server =
        Server::with_args(&["--idle-timeout", "300ms", "--max-queries", "1", "--queue-timeout", "30s"]);
    let mut stalled = server.client().await;
    let mut stream = stalled.do_get(Ticket::new(ENDLESS)).await.unwrap();
    stream.try_next().await.unwrap();
    // The stalled query holds the only place; the next one gets it when the patience is over.
    let mut other = server.client().await;
    assert_eq!(number(&mut other, "select 1").await, 1);
    let rest: Result<Vec<_>, _> = stream.try_collect().await;
    assert!(rest.is_err(), "a cut stream must not look whole");
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let server = Server::with_args(&["--max-queries", "1", "--max-queued", "1", "--queue-timeout", "500ms"]);
    let mut first = server.client().await;
    let mut holding = first.do_get(Ticket::new(ENDLESS)).await.unwrap();
    holding.try_next().await.unwrap();
    let mut second = server.client().await;
    let waits = tokio::spawn(async move { count(&mut second, "select 1").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = server.client().await;
    crate::harness::assert_error(count(&mut third, "select 1").await, Code::ResourceExhausted, "max-queued");
    crate::harness::assert_error(waits.await.unwrap(), Code::ResourceExhausted, "queue-timeout");
    drop(holding);
    assert_eq!(number(&mut third, "select 1").await, 1);
}

#[tokio::test]
async fn queries_that_need_more_memory_spill_or_fail_by_name() {
    // So little that what a sort keeps leaves room for merging it, also where its two halves are merged at once.
    let server = Server::with_args(&["--memory-limit", "40MiB"]);
    let mut client = server.client().await;
    put(&mut client, "t", (0..20).map(|_| batch(1, 100_000)).collect()).await.unwrap();
    let sorted = count(&mut client, "select s, n from t order by s, n").await.unwrap();
    assert_eq!(sorted, 2_000_000, "a sort spills");
    let spill = server.root().join(".airstrip/spill");
    eventually(PATIENCE, || {
        let left = std::fs::read_dir(&spill).unwrap().flatten();
        left.map(|dir| std::fs::read_dir(dir.path()).map_or(0, Iterator::count)).sum::<usize>() == 0
    })
    .await;
    let hog = "select array_agg(s), array_agg(s || s), array_agg(s || n) from t";
    crate::harness::assert_error(count(&mut client, hog).await, Code::ResourceExhausted, "memory-limit");
    assert_eq!(number(&mut client, "select count(*) from t").await, 2_000_000);
}
