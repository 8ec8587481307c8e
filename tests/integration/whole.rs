//! What makes an upload whole besides its stream's end, and what it may not replace by accident.

use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightData};
use futures::TryStreamExt;
use tonic::Code;

use crate::endings::{Ending, frames_of, upload};
use crate::harness::{Server, act, assert_error, batch, count, eventually, path, put};

/// A client that sends these headers.
async fn with_headers(server: &Server, headers: &[(&'static str, &str)]) -> FlightClient {
    let mut client = server.client().await;
    for (name, value) in headers {
        client.add_header(name, value).unwrap();
    }
    client
}

/// Uploads `batches`, with messages of metadata alone before and after them.
async fn put_between(
    client: &mut FlightClient,
    name: &str,
    before: &[&'static str],
    batches: Vec<RecordBatch>,
    after: &[&'static str],
) -> Result<serde_json::Value, FlightError> {
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(name)))
        .with_schema(batches[0].schema())
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let mut messages: Vec<FlightData> = stream.try_collect().await?;
    let says = |text: &&'static str| FlightData::new().with_app_metadata(*text);
    // After the schema.
    let rows = messages.split_off(1);
    messages.extend(before.iter().map(says));
    messages.extend(rows);
    messages.extend(after.iter().map(says));
    let answers = client.do_put(futures::stream::iter(messages.into_iter().map(Ok))).await?;
    let answers: Vec<_> = answers.try_collect().await?;
    assert_eq!(answers.len(), 1, "what is meant for the server is not sent back");
    Ok(serde_json::from_slice(&answers[0].app_metadata).unwrap())
}

const EXPLICIT: (&str, &str) = ("x-airstrip-commit", "explicit");
const EXPLICIT_JSON: &str = r#"{"x-airstrip-commit": "explicit"}"#;

#[tokio::test]
async fn an_explicit_commit_is_needed_where_it_is_asked_for() {
    let server = Server::start();
    let mut plain = server.client().await;
    put(&mut plain, "t", vec![batch(1, 7)]).await.unwrap();
    for (mut client, before) in
        [(with_headers(&server, &[EXPLICIT]).await, &[][..]), (server.client().await, &[EXPLICIT_JSON][..])]
    {
        let half = put_between(&mut client, "t", before, vec![batch(2, 100)], &[]).await;
        assert_error(half, Code::Aborted, "without a last message whose app_metadata is `commit`");
        let late = put_between(&mut client, "t", before, vec![batch(2, 100)], &["commit", "commit"]).await;
        assert_error(late, Code::InvalidArgument, "has to be the last");
        let commit = r#"{"commit": true, "rows": 99}"#;
        let other = put_between(&mut client, "t", before, vec![batch(2, 100)], &[commit]).await;
        assert_error(other, Code::InvalidArgument, "100 rows arrived, the commit says 99");
        assert_eq!(count(&mut plain, "t").await.unwrap(), 7);
        let commit = r#"{"commit": true, "rows": 100}"#;
        for (rows, commit) in [(100, commit), (50, "commit")] {
            let whole = put_between(&mut client, "t", before, vec![batch(2, rows)], &[commit]).await;
            assert_eq!(whole.unwrap()["rows"], rows.to_string());
        }
        put(&mut plain, "t", vec![batch(1, 7)]).await.unwrap();
    }
    eventually(Duration::from_secs(5), || server.staged() == 0).await;
}

#[tokio::test]
async fn a_server_can_require_that_uploads_say_when_they_are_whole() {
    let server = Server::with_args(&["--require-commit"]);
    let mut plain = server.client().await;
    assert_error(put(&mut plain, "t", vec![batch(1, 7)]).await, Code::InvalidArgument, "require-commit");
    assert_error(count(&mut plain, "t").await, Code::NotFound, "no dataset");
    let mut expecting = with_headers(&server, &[("x-airstrip-expected-rows", "7")]).await;
    put(&mut expecting, "t", vec![batch(1, 7)]).await.unwrap();
    let before = [EXPLICIT_JSON];
    put_between(&mut plain, "u", &before, vec![batch(1, 7)], &["commit"]).await.unwrap();
    assert_eq!(count(&mut plain, "u").await.unwrap(), 7);
}

fn other_columns() -> RecordBatch {
    let column: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..100));
    RecordBatch::try_from_iter([("something_else", column)]).unwrap()
}

#[tokio::test]
async fn accidents_that_show_in_what_was_there_are_refused_where_the_server_is_asked_to() {
    let server = Server::with_args(&["--max-shrink", "0.5", "--strict-replace"]);
    let mut client = server.client().await;
    let mut meant = with_headers(&server, &[("x-airstrip-allow", "shrink, other-schema")]).await;
    // A plain dataset, and a Delta table.
    for name in ["plain", "table"] {
        put(&mut client, name, vec![batch(1, 100)]).await.unwrap();
        if name == "table" {
            let mut appending = with_headers(&server, &[("x-airstrip-mode", "append")]).await;
            put(&mut appending, name, vec![batch(1, 1)]).await.unwrap();
        }
        let few = put(&mut client, name, vec![batch(2, 10)]).await;
        assert_error(few, Code::FailedPrecondition, "x-airstrip-allow: shrink");
        let other = put(&mut client, name, vec![other_columns()]).await;
        assert_error(other, Code::FailedPrecondition, "x-airstrip-allow: other-schema");
        assert!(count(&mut client, name).await.unwrap() >= 100);
        put(&mut client, name, vec![batch(2, 60)]).await.unwrap();
        put(&mut meant, name, vec![batch(3, 1)]).await.unwrap();
        put(&mut meant, name, vec![other_columns()]).await.unwrap();
        assert_eq!(count(&mut client, name).await.unwrap(), 100);
    }
    // What says what it does is not asked again.
    act(&mut client, "drop_dataset", "plain").await.unwrap();
    put(&mut client, "plain", vec![batch(1, 1)]).await.unwrap();
    eventually(Duration::from_secs(5), || server.staged() == 0).await;
}

#[tokio::test]
async fn a_reset_after_the_end_of_a_proxys_stream_publishes_nothing() {
    let server = Server::with_args(&["--publish-delay", "100ms"]);
    let mut client = server.client().await;
    let frames = frames_of("t", vec![batch(2, 100); 3]).await;
    let proxy = [("x-forwarded-for", "::1")];
    for pause in [0, 0, 0, 0, 0, 1, 3, 8] {
        put(&mut client, "t", vec![batch(1, 7)]).await.unwrap();
        upload(&server, &frames, Ending::TrueThenReset(Duration::from_millis(pause)), &proxy).await;
        // Long enough for a commit that must not come.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(count(&mut client, "t").await.unwrap(), 7, "reset {pause} ms after its end");
    }
    assert_eq!(upload(&server, &frames, Ending::True, &proxy).await.as_deref(), Some("0"));
    assert_eq!(count(&mut client, "t").await.unwrap(), 300);
    eventually(Duration::from_secs(5), || server.staged() == 0).await;
}
