//! Input that is made to harm: an error for its sender, and nothing for anybody else.

use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures::{StreamExt, TryStreamExt};
use tonic::Code;

use crate::harness::{
    PATIENCE, Server, assert_error, batch, count, eventually, get, memory_kib, number, path, put,
};

/// Chains of CTEs: each is small, and together they double with every line.
fn doubling(lines: usize) -> String {
    let mut sql = "with c0 as (select 1 as a)".to_owned();
    for line in 1..=lines {
        let before = line - 1;
        sql += &format!(", c{line} as (select a.a from c{before} a cross join c{before} b)");
    }
    format!("{sql} select count(*) from c{lines}")
}

#[tokio::test]
async fn deep_and_huge_sql_is_a_clear_error_at_once() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    for size in [300, 3_000, 30_000, 300_000] {
        for sql in [
            format!("select 1{}", "+1".repeat(size)),
            format!("select {}1{}", "(".repeat(size), ")".repeat(size)),
            format!("select n from t where n = 0{}", " or n = 1".repeat(size)),
            format!("select 1{}", " union all select 1".repeat(size)),
            format!("select {}1", "not ".repeat(size)),
            format!("select {}1", "- ".repeat(size)),
            format!("select {}1{}", "case when true then ".repeat(size), " end".repeat(size)),
            format!("select 1{}", "::int".repeat(size)),
            format!("select {}1{}", "[".repeat(size), "]".repeat(size)),
            format!("{}select 1", "explain ".repeat(size)),
        ] {
            let start = Instant::now();
            let head: String = sql.chars().take(40).collect();
            assert_error(get(&mut client, sql).await, Code::InvalidArgument, "max-sql");
            assert!(start.elapsed() < Duration::from_secs(3), "{head} × {size}: {:?}", start.elapsed());
        }
    }
    for lines in [60, 1000] {
        let start = Instant::now();
        assert!(get(&mut client, doubling(lines)).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(10), "{lines} lines: {:?}", start.elapsed());
    }
    assert_eq!(number(&mut client, "select count(*) from t").await, 3);
}

#[tokio::test]
async fn a_function_cannot_ask_for_more_than_there_is() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    for sql in [
        "select repeat('a', 1000000000000)",
        "select repeat(arrow_cast('a', 'LargeUtf8'), 1000000000000)",
        "select repeat(s, 1000000000) from t",
        "select lpad('a', 2000000000)",
        "select rpad(arrow_cast('a', 'LargeUtf8'), 1000000000000, 'b')",
        "select array_repeat(1, 2000000000)",
        "select array_resize([1], 1000000000000, 2)",
        "select range(0, 1000000000000)",
        "select generate_series(1, 1000000000000)",
        "select list_repeat(1, 2000000000)",
    ] {
        assert_error(get(&mut client, sql).await, Code::ResourceExhausted, "allowed");
    }
    assert_eq!(
        number(&mut client, "select cast(length(repeat('ab', 1000)) + array_length(range(0, 10)) as bigint)")
            .await,
        2010
    );
    assert_eq!(number(&mut client, "select cast(sum(length(lpad(s, 20))) as bigint) from t").await, 60);
}

#[tokio::test]
async fn sql_just_below_the_limits_runs() {
    let server = Server::start();
    let mut client = server.client().await;
    assert_eq!(number(&mut client, &format!("select 1{}", "+1".repeat(250))).await, 251);
    assert_eq!(number(&mut client, &format!("select {}1{}", "(".repeat(120), ")".repeat(120))).await, 1);
    let ors = format!("select count(*) from range(10) where value = 0{}", " or value = 1".repeat(120));
    assert_eq!(number(&mut client, &ors).await, 2);
    let union = format!("select count(*) from (select 1{})", " union all select 1".repeat(100));
    assert_eq!(number(&mut client, &union).await, 101);
    let list = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let sql = format!("select count(*) from range(100000) where value in ({list})");
    assert_eq!(number(&mut client, &sql).await, 20_000);
}

#[tokio::test]
async fn malformed_uploads_are_the_senders_error() {
    let server = Server::start();
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("t")))
        .build(futures::stream::iter([Ok(batch(1, 100))]));
    let frames: Vec<FlightData> = stream.try_collect().await.unwrap();
    let mut client = FlightServiceClient::new(server.channel().await);
    let mut bad: Vec<Vec<FlightData>> = vec![
        vec![],
        vec![FlightData::default()],
        vec![frames[1].clone()],
        vec![frames[0].clone(), frames[0].clone()],
        vec![frames[0].clone().with_data_header(&b"garbage"[..])],
    ];
    for keep in [0, 10, frames[1].data_body.len() / 2] {
        let mut cut = frames[1].clone();
        cut.data_body = cut.data_body.slice(..keep);
        bad.push(vec![frames[0].clone(), cut]);
    }
    for index in 0..frames[1].data_header.len() {
        let mut header = frames[1].data_header.to_vec();
        header[index] ^= 0xff;
        bad.push(vec![frames[0].clone(), frames[1].clone().with_data_header(header)]);
    }
    for frames in bad {
        let answer = client.do_put(futures::stream::iter(frames)).await;
        let outcome: Result<Vec<_>, _> = match answer {
            Ok(answers) => answers.into_inner().try_collect().await,
            Err(status) => Err(status),
        };
        // A flipped bit can leave a message valid; then it was stored whole. Nothing else may happen.
        if let Err(status) = outcome {
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    }
    eventually(PATIENCE, || server.staged() == 0).await;
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    assert_eq!(count(&mut client, "t").await.unwrap(), 3);
}

#[tokio::test]
async fn a_message_over_the_limit_names_the_setting() {
    let server = Server::with_args(&["--max-message-bytes", "100KiB"]);
    let mut client = server.client().await;
    let outcome = put(&mut client, "t", vec![batch(1, 100_000)]).await;
    assert_error(outcome, Code::ResourceExhausted, "max-message-bytes");
    put(&mut client, "t", vec![batch(1, 100)]).await.unwrap();
}

#[tokio::test]
async fn names_do_not_lead_out_of_the_root() {
    let server = Server::start();
    let mut client = server.client().await;
    let canary = server.root().parent().unwrap().join("canary.parquet");
    assert!(!canary.exists());
    let long = "x".repeat(201);
    for name in
        ["../canary", "..", ".", "a/b", "/etc/passwd", "a\\b", ".hidden", "a#b", "a\u{0}b", "a\nb", &long]
    {
        assert_error(
            put(&mut client, name, vec![batch(1, 1)]).await,
            Code::InvalidArgument,
            "not a dataset name",
        );
        assert_error(client.get_flight_info(path(name)).await, Code::InvalidArgument, "not a dataset name");
        assert!(get(&mut client, name.to_owned()).await.is_err());
        let body = serde_json::json!({ "name": name }).to_string();
        for action in ["drop_dataset", "describe_dataset"] {
            let refused = crate::harness::act(&mut client, action, body.clone()).await;
            assert_error(refused, Code::InvalidArgument, "not a dataset name");
        }
    }
    assert!(!canary.exists());
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn connections_without_a_request_hold_no_place_for_ever() {
    let server = Server::with_args(&["--max-connections", "4", "--first-request-timeout", "300ms"]);
    let connect = || std::net::TcpStream::connect(&server.address).unwrap();
    // Nothing at all, half of a preface, another protocol, and HTTP/2 without a request.
    let silent: Vec<_> = (0..4).map(|_| connect()).collect();
    for (mut connection, start) in silent.iter().zip([&b""[..], b"PRI * HT", b"", PREFACE]) {
        std::io::Write::write_all(&mut connection, start).unwrap();
    }
    let served = async { number(&mut server.client().await, "select 1").await };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), served).await, Ok(1));
    // One that had a request may be silent for as long as it likes.
    let mut client = server.client().await;
    assert_eq!(number(&mut client, "select 1").await, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(number(&mut client, "select 2").await, 2);
    drop(silent);
}

/// HTTP/2's preface, and an empty frame of settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_long_message_is_cut_to_what_every_client_takes() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    for (sql, part) in [
        (format!("select date '{}'", "ü".repeat(20_000)), "Cannot cast"),
        (format!("select * from \"{}\"", "n".repeat(20_000)), "there is no"),
        (format!("select \"{}\" from t", "€ ".repeat(9000)), "No field named"),
        (format!("select cast(concat(s, '{}') as int) from t", "%".repeat(20_000)), "Cannot cast"),
    ] {
        let mut raw = FlightServiceClient::new(server.channel().await);
        let ticket = arrow_flight::Ticket::new(sql.clone());
        let status = match raw.do_get(ticket).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().try_collect::<Vec<_>>().await.unwrap_err(),
        };
        assert_ne!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains(part) && status.message().contains("was cut"), "{status}");
        // Percent-encoded, no byte takes more than three.
        assert!(status.message().len() <= 4096, "{}", status.message().len());
    }
    let token = format!("Bearer {}", "x".repeat(5000));
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut request = tonic::Request::new(futures::stream::empty());
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    assert_eq!(raw.handshake(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn acknowledgements_that_nobody_reads_yet_are_not_held_in_memory() {
    const MESSAGES: usize = 500;
    let server = Server::start();
    let mut encoded: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("t")))
        .build(futures::stream::iter([Ok(batch(1, 1))]))
        .try_collect()
        .await
        .unwrap();
    let rows = encoded.pop().unwrap();
    let metadata = |message: usize| vec![u8::try_from(message % 251).unwrap(); (128 << 10) + message];
    let messages =
        (0..MESSAGES).map(|message| FlightData { app_metadata: metadata(message).into(), ..rows.clone() });
    let before = memory_kib(server.pid(), "VmRSS");
    let (sent, all_sent) = tokio::sync::oneshot::channel();
    let mut sent = Some(sent);
    // The stream says when the last message was taken, and ends only then.
    let messages: Vec<_> = encoded.into_iter().chain(messages).collect();
    let count = messages.len();
    let stream = futures::stream::iter(messages.into_iter().enumerate()).map(move |(place, message)| {
        if place + 1 == count {
            let _ = sent.take().unwrap().send(());
        }
        message
    });
    let mut client = FlightServiceClient::new(server.channel().await).max_decoding_message_size(usize::MAX);
    let mut answers = client.do_put(stream).await.unwrap().into_inner();
    tokio::time::timeout(crate::harness::PATIENCE, all_sent).await.expect("the server takes all").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let more = memory_kib(server.pid(), "VmRSS").saturating_sub(before) >> 10;
    assert!(more < 48, "{more} MiB more");
    for message in 0..MESSAGES {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(answer.app_metadata == metadata(message), "{message}");
    }
    assert!(answers.message().await.unwrap().is_some(), "the receipt");
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(server.staged(), 0);
}
