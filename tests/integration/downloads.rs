//! Raw streams: whatever road the bytes take, the rows are those of the file, in its order.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int8Type, Int64Type};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::harness::{Server, assert_error, batch, get, path, put};

/// The arguments of servers that send downloads in different ways.
const ROADS: [&[&str]; 3] = [&[], &["--zero-copy=false"], &["--frame-cache", "0", "--read-ahead", "1MiB"]];

/// Rows from `start`, with types that take different turns on their way.
pub(crate) fn rows(start: i64, count: i64) -> RecordBatch {
    let numbers = || start..start + count;
    let text = |n: i64| format!("{n} is a text that is too long for a view to hold it");
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(numbers().map(text)));
    let views = numbers().map(|n| (n % 7 != 0).then(|| if n % 2 == 0 { text(n) } else { n.to_string() }));
    let v: ArrayRef = Arc::new(views.collect::<StringViewArray>());
    let names: Vec<String> = numbers().map(|n| format!("name {}", n % 50)).collect();
    let d: DictionaryArray<Int8Type> = names.iter().map(String::as_str).collect();
    RecordBatch::try_from_iter([("n", n), ("s", s), ("v", v), ("d", Arc::new(d) as ArrayRef)]).unwrap()
}

pub(crate) fn with_list(rows: &RecordBatch) -> RecordBatch {
    let n = rows.column(0).as_primitive::<Int64Type>();
    let lists = n.values().iter().map(|n| (n % 5 != 0).then(|| (0..n % 4).map(Some).collect::<Vec<_>>()));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    RecordBatch::try_from_iter([("n", Arc::clone(rows.column(0))), ("l", lists)]).unwrap()
}

pub(crate) fn write(to: &Path, rows: &RecordBatch, row_group: usize) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(row_group))
        .set_compression(Compression::SNAPPY)
        .build();
    let file = std::fs::File::create(to).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

pub(crate) fn whole(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).unwrap()
}

#[tokio::test]
async fn every_road_gives_the_rows_of_the_file() {
    for args in ROADS {
        let server = Server::with_args(args);
        let flat = rows(0, 400_000);
        let nested = with_list(&flat);
        // Many row groups; and one that is larger than what is decoded at once.
        for row_group in [30_000, 1_000_000] {
            write(&server.root().join("flat.parquet"), &flat, row_group);
            write(&server.root().join("nested.parquet"), &nested, row_group);
            let mut client = server.client().await;
            // Made, made again and kept, kept.
            for _ in 0..3 {
                assert!(whole(&get(&mut client, "flat").await.unwrap()) == flat, "{args:?} {row_group}");
                assert!(whole(&get(&mut client, "nested").await.unwrap()) == nested, "{args:?} {row_group}");
            }
        }
    }
}

#[tokio::test]
async fn an_upload_whose_pages_wait_on_disk_comes_back() {
    let args = ["--upload-memory", "64KiB", "--row-group-rows", "10000000", "--row-group-bytes", "1GiB"];
    let server = Server::with_args(&args);
    let mut client = server.client().await;
    let rows = with_list(&rows(0, 400_000));
    for mode in ["replace", "append"] {
        let request = vec![rows.slice(0, 150_000), rows.slice(150_000, 250_000)];
        client.metadata_mut().insert("x-airstrip-mode", mode.parse().unwrap());
        put(&mut client, "t", request).await.unwrap();
        assert_eq!(server.staged(), 0);
    }
    let got = whole(&get(&mut client, "t").await.unwrap());
    assert!(got.slice(0, 400_000) == rows && got.slice(400_000, 400_000) == rows);
}

#[tokio::test]
async fn columns_and_limits_take_the_same_road() {
    for args in ROADS {
        let server = Server::with_args(args);
        let all = rows(0, 100_000);
        write(&server.root().join("t.parquet"), &all, 30_000);
        let mut client = server.client().await;
        let got = whole(&get(&mut client, "select v as x, n, d from t limit 70000").await.unwrap());
        assert_eq!(got.num_rows(), 70_000);
        let names: Vec<_> = got.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["x", "n", "d"]);
        let (want, have) = (all.column(2).as_string_view(), got.column(0).as_string::<i32>());
        assert!(have.iter().eq(want.iter().take(70_000)), "{args:?}");
        assert!(got.column(1).as_primitive::<Int64Type>().values().iter().copied().eq(0..70_000));
        assert_eq!(got.column(2).as_string::<i32>().value(69_999), "name 49");
        for (sql, rows) in [
            ("select n from t limit 0", 0),
            ("select n, n as again from (select n, s from t) limit 5", 5),
            ("select * from t limit 1000000", 100_000),
        ] {
            let got = get(&mut client, sql).await.unwrap();
            assert_eq!(got.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{sql}");
        }
    }
}

#[tokio::test]
async fn what_was_replaced_is_not_served_from_memory() {
    let server = Server::start();
    let mut client = server.client().await;
    for version in 0..3 {
        put(&mut client, "t", vec![batch(version, 50_000)]).await.unwrap();
        for _ in 0..3 {
            let got = whole(&get(&mut client, "t").await.unwrap());
            assert!(got == batch(version, 50_000), "version {version}");
        }
    }
}

#[tokio::test]
async fn clients_that_read_at_once_share_and_get_the_same() {
    let server = Server::start();
    let all = rows(0, 300_000);
    write(&server.root().join("t.parquet"), &all, 30_000);
    let mut readers = Vec::new();
    for index in 0..8 {
        let mut client = server.client().await;
        readers.push(tokio::spawn(async move {
            if index % 4 == 3 {
                // One that goes away in the middle must not take the others with it.
                let stream = client.do_get(Ticket::new("t")).await.unwrap();
                drop(stream);
                return None;
            }
            Some(whole(&get(&mut client, "t").await.unwrap()))
        }));
    }
    for reader in readers {
        assert!(reader.await.unwrap().is_none_or(|got| got == all));
    }
}

/// The messages of a download.
async fn messages(
    server: &Server,
    agent: Option<&'static str>,
    header: Option<&'static str>,
) -> Vec<FlightData> {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let endpoint = match agent {
        Some(agent) => endpoint.user_agent(agent).unwrap(),
        None => endpoint,
    };
    let channel = endpoint.connect().await.unwrap();
    let mut client = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut request = Request::new(Ticket::new("t"));
    if let Some(header) = header {
        request.metadata_mut().insert("x-airstrip-message-size", header.parse().unwrap());
    }
    let mut stream = client.do_get(request).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn messages_are_as_large_as_the_client_takes_them() {
    let server = Server::start();
    write(&server.root().join("t.parquet"), &rows(0, 400_000), 100_000);
    let largest =
        |messages: &[FlightData]| messages.iter().map(|message| message.data_body.len()).max().unwrap();
    for (agent, header) in
        [(None, None), (Some("grpc-java-netty/1.70"), None), (Some("grpc-c++/1.71 grpc-c/48"), Some("usual"))]
    {
        let all = messages(&server, agent, header).await;
        assert!(largest(&all) < 4 << 20, "{agent:?}: {}", largest(&all));
        assert!(all.len() > 20, "{agent:?}: {}", all.len());
    }
    for (agent, header) in [(Some("grpc-c++/1.71 grpc-c/48"), None), (None, Some("large"))] {
        let all = messages(&server, agent, header).await;
        assert!((8 << 20..32 << 20).contains(&largest(&all)), "{agent:?}: {}", largest(&all));
        // The first rows do not wait for that.
        assert!(all[1].data_body.len() < 4 << 20, "{agent:?}: {}", all[1].data_body.len());
        // One of them is enough.
        let place = all.iter().position(|message| message.data_body.len() == largest(&all)).unwrap();
        let behind = largest(&all[place + 1..]);
        assert!((2 << 20..6 << 20).contains(&behind), "{agent:?}: {behind}");
    }
}

/// The sizes of the HTTP/2 frames that a download comes in, and of its messages, for a client that takes frames up to
/// `limit`.
async fn frames_and_messages(server: &Server, limit: u32) -> (Vec<usize>, Vec<usize>) {
    let tcp = TcpStream::connect(&server.address).await.unwrap();
    let mut client = h2::client::Builder::new();
    client.max_frame_size(limit).initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut sender, connection) = client.handshake::<_, Bytes>(tcp).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/arrow.flight.protocol.FlightService/DoGet", server.address);
    let request =
        http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    let ticket = Ticket::new("t").encode_to_vec();
    let prefix = [&[0][..], &u32::try_from(ticket.len()).unwrap().to_be_bytes()].concat();
    body.send_data([prefix, ticket].concat().into(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    while let Some(frame) = body.data().await {
        let frame = frame.unwrap();
        frames.push(frame.len());
        bytes.extend_from_slice(&frame);
    }
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let (mut messages, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some(length) = rest.get(1..5) {
        messages.push(5 + u32::from_be_bytes(length.try_into().unwrap()) as usize);
        rest = &rest[messages[messages.len() - 1]..];
    }
    (frames, messages)
}

#[tokio::test]
async fn a_message_is_sent_in_as_few_frames_as_the_client_takes() {
    let server = Server::start();
    write(&server.root().join("t.parquet"), &rows(0, 100_000), 100_000);
    for limit in [16 << 10, 1 << 20, (16 << 20) - 1] {
        let (frames, messages) = frames_and_messages(&server, limit).await;
        let limit = limit as usize;
        let expected: Vec<_> = messages
            .iter()
            .flat_map(|message| (0..*message).step_by(limit).map(move |start| limit.min(message - start)))
            .collect();
        assert!(messages.len() > 5, "{messages:?}");
        assert_eq!(frames, expected, "{limit}");
    }
}

#[tokio::test]
async fn damage_ends_the_stream_with_an_error_on_every_road() {
    for args in ROADS {
        let server = Server::with_args(args);
        let path = server.root().join("t.parquet");
        write(&path, &rows(0, 400_000), 50_000);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 4 * 3;
        bytes[at..at + 5000].fill(0xab);
        std::fs::write(&path, bytes).unwrap();
        let mut client = FlightServiceClient::new(server.channel().await);
        let mut stream = client.do_get(Ticket::new("t")).await.unwrap().into_inner();
        let mut before = 0;
        let status = loop {
            match stream.message().await {
                Ok(Some(_)) => before += 1,
                Ok(None) => panic!("{args:?}: it looks whole"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DataLoss, "{args:?}: {status}");
        assert!(before > 2, "{args:?}: the rows before the damage came too");
    }
}

#[tokio::test]
async fn a_dataset_can_be_had_in_several_endpoints() {
    let server = Server::start();
    let all = rows(0, 100_000);
    write(&server.root().join("t.parquet"), &all, 8_000);
    let mut client = server.client().await;
    let alone = client.get_flight_info(path("t")).await.unwrap();
    assert_eq!(alone.endpoint.len(), 1);
    client.add_header("x-airstrip-endpoints", "4").unwrap();
    let info = client.get_flight_info(path("t")).await.unwrap();
    assert!(info.ordered);
    assert_eq!(info.endpoint.len(), 4);
    let tickets: Vec<Ticket> = info.endpoint.into_iter().map(|endpoint| endpoint.ticket.unwrap()).collect();
    let mut parts = Vec::new();
    for ticket in &tickets {
        parts.push(whole(&get(&mut client, ticket.ticket.clone()).await.unwrap()));
        assert!((16_000..=32_000).contains(&parts.last().unwrap().num_rows()));
    }
    assert!(whole(&parts) == all);

    // There are no more than there are row groups.
    client.add_header("x-airstrip-endpoints", "1000").unwrap();
    assert!(client.get_flight_info(path("t")).await.unwrap().endpoint.len() <= 13);
    client.add_header("x-airstrip-endpoints", "0").unwrap();
    assert_error(client.get_flight_info(path("t")).await, Code::InvalidArgument, "endpoints");

    // A ticket is for one version.
    client.add_header("x-airstrip-endpoints", "1").unwrap();
    write(&server.root().join("t.parquet"), &rows(0, 50_000), 8_000);
    let again = get(&mut client, tickets[3].ticket.clone()).await;
    assert_error(again, Code::FailedPrecondition, "new tickets");
}

#[tokio::test]
async fn one_file_in_two_places_is_read_for_each() {
    let server = Server::start();
    let root = server.root();
    for partition in ["p=1", "p=2"] {
        std::fs::create_dir_all(root.join("t").join(partition)).unwrap();
    }
    write(&root.join("t/p=1/x.parquet"), &rows(0, 1000), 1000);
    std::fs::hard_link(root.join("t/p=1/x.parquet"), root.join("t/p=2/x.parquet")).unwrap();
    let mut client = server.client().await;
    for _ in 0..3 {
        let got = whole(&get(&mut client, "t").await.unwrap());
        let partitions = got.column_by_name("p").unwrap().as_primitive::<Int64Type>();
        assert_eq!(partitions.values().iter().sum::<i64>(), 1000 + 2 * 1000);
    }
}

#[tokio::test]
async fn what_is_kept_of_a_file_is_not_mistaken_when_the_dataset_changes_around_it() {
    let server = Server::start();
    let root = server.root();
    let numbers = |start: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(start..start + 1000)) };
    let two = RecordBatch::try_from_iter([("b", numbers(0)), ("c", numbers(5000))]).unwrap();
    std::fs::create_dir(root.join("t")).unwrap();
    write(&root.join("t/f2.parquet"), &two, 1000);
    let mut client = server.client().await;
    for _ in 0..3 {
        let got = whole(&get(&mut client, "select c as x from t").await.unwrap());
        assert_eq!(got.column(0).as_primitive::<Int64Type>().value(0), 5000);
    }
    // A file that comes first and gives the columns other places.
    let three =
        RecordBatch::try_from_iter([("a", numbers(0)), ("b", numbers(7000)), ("c", numbers(9000))]).unwrap();
    write(&root.join("t/f0.parquet"), &three, 1000);
    let got = whole(&get(&mut client, "select b as x from t").await.unwrap());
    let values = got.column(0).as_primitive::<Int64Type>();
    assert_eq!((values.value(0), values.value(1000)), (7000, 0));
}

#[tokio::test]
async fn two_columns_of_one_name_are_both_there() {
    let server = Server::start();
    let numbers = |start: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(start..start + 1000)) };
    let twice = RecordBatch::try_from_iter([("n", numbers(0)), ("n", numbers(5000))]).unwrap();
    write(&server.root().join("t.parquet"), &twice, 1000);
    let mut client = server.client().await;
    assert!(whole(&get(&mut client, "t").await.unwrap()) == twice);
}
