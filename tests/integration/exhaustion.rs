//! What many clients at once can use up, and what is left to another one meanwhile.

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;

use crate::harness::{Server, batch, eventually, number, open_descriptors, put};

/// Connections that do nothing.
const IDLE: usize = 1024;
/// Downloads that nobody reads on.
const STALLED: usize = 200;
/// One of so many of them is a query's: fewer than run at once.
const QUERIES: usize = 25;
/// Queries of somebody else meanwhile.
const PROBES: usize = 100;

/// A process may open as many files as the system lets it.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// The slowest but one of a hundred queries.
async fn p99(server: &Server) -> Duration {
    let mut client = server.client().await;
    let mut took = Vec::new();
    for _ in 0..PROBES {
        let started = Instant::now();
        assert_eq!(number(&mut client, "select sum(v) from small").await, 9);
        took.push(started.elapsed());
    }
    took.sort_unstable();
    took[PROBES * 99 / 100 - 1]
}

#[tokio::test]
async fn a_query_is_answered_beside_idle_connections_and_stalled_readers() {
    raise_descriptors();
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "small", vec![batch(1, 9)]).await.unwrap();
    put(&mut client, "large", vec![batch(1, 1_000_000)]).await.unwrap();
    let before = open_descriptors(server.pid());

    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&server.address).await.unwrap());
    }
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let ticket = if number % QUERIES == 0 { "select * from large order by n desc" } else { "large" };
        let mut client = FlightServiceClient::new(server.channel().await);
        // Those that find no place are told so, which is an answer too.
        if let Ok(answer) = client.do_get(Ticket::new(ticket)).await {
            let mut stream: tonic::Streaming<FlightData> = answer.into_inner();
            let _ = tokio::time::timeout(Duration::from_millis(20), stream.message()).await;
            stalled.push((client, stream));
        }
    }
    let slowest = p99(&server).await;
    eprintln!("beside {IDLE} idle connections and {} stalled readers: p99 {slowest:?}", stalled.len());
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    drop((idle, stalled));
    eventually(Duration::from_secs(10), || open_descriptors(server.pid()) <= before + 8).await;
    assert_eq!(server.staged(), 0);
}
