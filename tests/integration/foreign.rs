//! What is not gRPC, or not the gRPC that a method takes, and what the log says of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::harness::{Server, act, batch, count, eventually, framed, get, put};

/// A server whose log is kept.
struct Logged {
    server: Server,
    log: Arc<Mutex<String>>,
}

impl Logged {
    fn start() -> Self {
        let (server, mut stderr) = Server::logged();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { server, log }
    }

    /// Waits for a line of the log that has all these parts.
    async fn line(&self, parts: &[&str]) -> String {
        let find = || {
            let log = self.log.lock().unwrap();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        eventually(Duration::from_secs(10), || find().is_some()).await;
        find().unwrap()
    }
}

/// Sends bytes over a connection of its own, and gives all that comes back.
fn said(address: &str, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    connection.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn http1_and_tls_are_told_what_is_spoken_here() {
    let server = Logged::start();
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n"] {
        let answer = said(&server.server.address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("gRPC"), "{answer}");
    }
    // The beginning of a client's hello.
    for _ in 0..3 {
        assert_eq!(said(&server.server.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "");
    }
    server.line(&["WARN", "speaks HTTP/1.1", "peer=127.0.0.1:"]).await;
    server.line(&["WARN", "speaks TLS", "grpc://"]).await;
    assert_eq!(server.log.lock().unwrap().matches("WARN").count(), 2, "one line of each sort a minute");
    let mut client = server.server.client().await;
    put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
    assert_eq!(count(&mut client, "t").await.unwrap(), 7);
}

#[tokio::test]
async fn the_log_tells_who_did_what_and_why_it_failed_and_no_secrets() {
    let server = Logged::start();
    let mut client = server.server.client().await;
    // "me:secret"
    client.add_header("authorization", "Basic bWU6c2VjcmV0").unwrap();
    client.add_header("cookie", "arrow_flight_session_id=hidden").unwrap();
    put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
    server.line(&[r#"method="DoPut""#, r#"about="t""#, r#"outcome="Ok""#, "rows=7", "received="]).await;
    assert_eq!(get(&mut client, "t").await.unwrap().len(), 1);
    server.line(&[r#"method="DoGet""#, r#"about="t""#, "rows=7", " bytes=", " ms="]).await;
    act(&mut client, "drop_dataset", "t").await.unwrap();
    server.line(&[r#"action="drop_dataset""#, r#"user="me""#, r#"about="t""#, "peer=127.0.0.1:"]).await;
    act(&mut client, "drop_dataset", "t").await.unwrap_err();
    let line = server.line(&[r#"action="drop_dataset""#, r#"outcome="NotFound""#, "error="]).await;
    assert!(line.contains("there is no dataset"), "{line}");
    get(&mut client, format!("select {}", "x".repeat(3000))).await.unwrap_err();
    let line = server.line(&[r#"method="DoGet""#, r#"outcome="InvalidArgument""#]).await;
    assert!(line.len() < 1200, "{line}");
    let log = server.log.lock().unwrap();
    assert!(!log.contains("secret") && !log.contains("hidden") && !log.contains("bWU6"), "{log}");
}

/// The status that a method gives to a request of these bytes.
async fn status_of(address: &str, method: &str, bytes: Bytes, encoding: Option<&'static str>) -> String {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}/arrow.flight.protocol.FlightService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding).header("grpc-accept-encoding", encoding);
    }
    let (response, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
    sender.send_data(bytes, true).unwrap();
    let response = response.await.unwrap();
    assert!(!response.headers().contains_key("grpc-encoding"), "answers are not compressed");
    if let Some(status) = response.headers().get("grpc-status") {
        return status.to_str().unwrap().to_owned();
    }
    let mut body = response.into_body();
    while body.data().await.is_some() {}
    body.trailers().await.unwrap().unwrap()["grpc-status"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_clients_error() {
    let server = Server::start();
    let methods = [
        "GetFlightInfo",
        "GetSchema",
        "DoGet",
        "DoAction",
        "ListFlights",
        "PollFlightInfo",
        "DoPut",
        "DoExchange",
    ];
    for method in methods {
        for bytes in [framed(0, b"\xff\xff\xff\xff"), framed(7, b""), framed(1, b"")] {
            assert_eq!(status_of(&server.address, method, bytes, None).await, "3", "{method}");
        }
    }
}

#[tokio::test]
async fn messages_may_be_compressed_by_gzip() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
    // The ticket `t` (its first field is the name), compressed.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x03\x00\xfc\xff\x0a\x01\x74\xa0\xd8\xa5\xbc\x03\x00\x00\x00";
    let message = framed(1, gzip);
    assert_eq!(status_of(&server.address, "DoGet", message, Some("gzip")).await, "0");
    let damaged = framed(1, b"no gzip");
    assert_eq!(status_of(&server.address, "DoGet", damaged, Some("gzip")).await, "3");
}
