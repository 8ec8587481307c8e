//! How an upload ends: only the true end of its stream commits.
//!
//! A plain HTTP/2 client, since gRPC clients do not let one choose how a stream is broken.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use bytes::Bytes;
use futures::TryStreamExt;
use h2::{Reason, SendStream};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;

use crate::harness::{Server, batch, count, framed, path, put};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// END_STREAM: the one that counts.
    True,
    /// END_STREAM, and a reset so long after it, as old proxies end streams of clients that died.
    TrueThenReset(Duration),
    Reset(Reason),
    /// The connection goes away.
    Closed,
}

pub(crate) const ENDINGS: [Ending; 5] = [
    Ending::True,
    Ending::Reset(Reason::CANCEL),
    Ending::Reset(Reason::NO_ERROR),
    Ending::Reset(Reason::INTERNAL_ERROR),
    Ending::Closed,
];

/// The gRPC frames of an upload of `batches` to `name`.
pub(crate) async fn frames_of(name: &str, batches: Vec<RecordBatch>) -> Vec<Bytes> {
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(name)))
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let messages: Vec<FlightData> = stream.try_collect().await.unwrap();
    messages.iter().map(|message| framed(0, &message.encode_to_vec())).collect()
}

/// Sends `frames` and ends the stream in the way of `ending`; gives the status if there was one.
pub(crate) async fn upload(
    server: &Server,
    frames: &[Bytes],
    ending: Ending,
    headers: &[(&'static str, &'static str)],
) -> Option<String> {
    let tcp = TcpStream::connect(&server.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut request =
        Request::post(format!("http://{}/arrow.flight.protocol.FlightService/DoPut", server.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, http::HeaderValue::from_static(value));
    }
    let (response, mut sender) = client.send_request(request, false).unwrap();
    for frame in frames {
        send(&mut sender, frame.clone()).await;
    }
    match ending {
        Ending::True => sender.send_data(Bytes::new(), true).unwrap(),
        Ending::TrueThenReset(pause) => {
            sender.send_data(Bytes::new(), true).unwrap();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            sender.send_reset(Reason::CANCEL);
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        Ending::Reset(reason) => {
            // What was sent is on its way before the reset is.
            tokio::time::sleep(Duration::from_millis(20)).await;
            sender.send_reset(reason);
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        Ending::Closed => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            driving.abort();
            return None;
        }
    }
    let mut body = response.await.unwrap().into_body();
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.unwrap().unwrap();
    Some(trailers["grpc-status"].to_str().unwrap().to_owned())
}

async fn send(sender: &mut SendStream<Bytes>, frame: Bytes) {
    sender.reserve_capacity(frame.len());
    futures::future::poll_fn(|cx| sender.poll_capacity(cx)).await;
    sender.send_data(frame, false).unwrap();
}

#[tokio::test]
async fn only_the_true_end_commits() {
    let server = Server::start();
    let mut client = server.client().await;
    let frames = frames_of("t", vec![batch(2, 100); 3]).await;
    // Whole messages, and a piece of the last one: after 0 (no message) to all, and in between.
    let mut offsets: Vec<Vec<Bytes>> = (0..=frames.len()).map(|whole| frames[..whole].to_vec()).collect();
    for whole in 0..frames.len() {
        for part in [3, frames[whole].len() / 2, frames[whole].len() - 1] {
            let mut cut = frames[..whole].to_vec();
            cut.push(frames[whole].slice(..part));
            offsets.push(cut);
        }
    }
    put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
    for sent in &offsets {
        for ending in ENDINGS {
            let whole = sent.iter().zip(&frames).all(|(sent, frame)| sent == frame);
            let commits = ending == Ending::True && whole && !sent.is_empty();
            let status = upload(&server, sent, ending, &[]).await;
            let expected_rows = if commits { 100 * (sent.len() - 1) } else { 7 };
            if ending == Ending::True {
                assert_eq!(status.as_deref() == Some("0"), commits, "{} frames: {status:?}", sent.len());
            } else {
                // Long enough for a commit that must not come.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let rows = count(&mut client, "t").await.unwrap();
            assert_eq!(rows, expected_rows, "{ending:?} after {} frames", sent.len());
            if commits {
                put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
            }
        }
    }
    crate::harness::eventually(Duration::from_secs(5), || server.staged() == 0).await;
}
