//! Each RPC of Flight, as a well-meaning client uses it.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Empty, FlightData, FlightDescriptor, HandshakeRequest, PutResult};
use futures::TryStreamExt;
use tonic::Request;

use crate::harness::{Server, act, batch, count, get, listed, names, number, path, put};

#[tokio::test]
async fn a_dataset_is_uploaded_described_downloaded_and_listed() {
    let server = Server::start();
    let mut client = server.client().await;
    let sent = batch(1, 1000);
    let receipt = put(&mut client, "uploaded.parquet", vec![sent.clone()]).await.unwrap();
    assert_eq!((receipt["name"].as_str(), receipt["rows"].as_str()), (Some("uploaded"), Some("1000")));

    for name in ["uploaded", "uploaded.parquet"] {
        let info = client.get_flight_info(path(name)).await.unwrap();
        assert_eq!(info.flight_descriptor, Some(path(name)));
        assert_eq!(info.total_records, 1000);
        let bytes = std::fs::metadata(server.root().join("uploaded.parquet")).unwrap().len();
        assert_eq!(info.total_bytes, i64::try_from(bytes).unwrap());
        assert!(info.ordered);
        assert!(info.endpoint[0].location.is_empty());
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        assert_eq!(ticket.ticket, "uploaded");
        let got = get(&mut client, ticket.ticket).await.unwrap();
        assert_eq!(arrow::compute::concat_batches(&sent.schema(), &got).unwrap(), sent);
        assert_eq!(Schema::clone(&sent.schema()), info.try_decode_schema().unwrap());
        assert_eq!(client.get_schema(path(name)).await.unwrap(), Schema::clone(&sent.schema()));
    }
    for glob in ["", "up*", "uploaded", "uploaded.parquet"] {
        assert_eq!(listed(&mut client, glob).await, ["uploaded.parquet"], "{glob}");
    }
    assert!(names(&mut client, "x*").await.is_empty());
}

#[tokio::test]
async fn a_listing_shows_files_and_folders_as_they_are_called() {
    let server = Server::start();
    let mut client = server.client().await;
    for name in ["file", "twice.parquet.parquet", "table"] {
        put(&mut client, name, vec![batch(1, 3)]).await.unwrap();
    }
    client.metadata_mut().insert("x-airstrip-mode", "append".parse().unwrap());
    put(&mut client, "table", vec![batch(1, 3)]).await.unwrap();
    client.metadata_mut().remove("x-airstrip-mode");
    for folder in ["folder", "suffixed.parquet", "finance.db"] {
        std::fs::create_dir(server.root().join(folder)).unwrap();
        std::fs::copy(server.root().join("file.parquet"), server.root().join(folder).join("x.parquet"))
            .unwrap();
    }
    let body = r#"{"name": "registered", "path": "folder"}"#;
    act(&mut client, "register_dataset", body).await.unwrap();
    let expected = [
        "file.parquet",
        "folder",
        "registered",
        "suffixed.parquet",
        "table",
        "twice.parquet.parquet",
        "finance/x.parquet",
    ];
    let found = listed(&mut client, "").await;
    assert_eq!(found, expected);
    for path in found {
        // What is listed can be asked for, and removed, under that name and under the plain one.
        for name in [path.as_str(), path.strip_suffix(".parquet").unwrap_or(&path)] {
            let parts = name.split('/').map(str::to_owned).collect();
            let info = client.get_flight_info(FlightDescriptor::new_path(parts)).await;
            if !path.starts_with("twice") || name == path {
                assert!(info.unwrap().total_records > 0, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_number_of_records_is_exact_or_unknown() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 5000)]).await.unwrap();
    for (sql, told) in [
        ("select * from t", Some(5000)),
        ("select n from t limit 3", Some(3)),
        ("select s, n from t limit 9000", Some(5000)),
        ("select x from (select n as x from t limit 7) q", Some(7)),
        ("select n + 1 as x from t limit 3", None),
        ("select 1 from t limit 3", None),
        ("values (1), (2), (3) limit 2", None),
        ("select n from t limit 10 offset 4995", None),
        ("select n from t where n < 9 limit 3", None),
        ("select n from t order by n limit 3", None),
        ("select n from (select n from t limit 3) union all select 1", None),
        ("select count(*) from (select n from t limit 3)", None),
        ("select a.n from t a cross join (select n from t limit 2) b", None),
        ("select distinct v from t limit 1", None),
    ] {
        let info = client.get_flight_info(FlightDescriptor::new_cmd(sql)).await.unwrap();
        let rows = count(&mut client, sql).await.unwrap();
        let rows = i64::try_from(rows).unwrap();
        assert!([-1, rows].contains(&info.total_records), "{sql}: {} of {rows}", info.total_records);
        if let Some(told) = told {
            assert_eq!(info.total_records, told, "{sql}");
        }
    }
}

#[tokio::test]
async fn a_query_has_one_schema_on_every_surface() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    let sql = "select n, s, n * 2 as twice from t where n > 4 order by n";
    let command = FlightDescriptor::new_cmd(sql);
    let info = client.get_flight_info(command.clone()).await.unwrap();
    assert_eq!(info.total_records, -1);
    assert_eq!(info.flight_descriptor, Some(command.clone()));
    let schema = client.get_schema(command.clone()).await.unwrap();
    let polled = client.poll_flight_info(command).await.unwrap();
    assert!(polled.flight_descriptor.is_none(), "there is nothing to wait for");
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let got = get(&mut client, ticket.ticket).await.unwrap();
    assert_eq!(got[0].schema().as_ref(), &schema);
    assert_eq!(info.try_decode_schema().unwrap(), schema);
    assert_eq!(polled.info.unwrap().try_decode_schema().unwrap(), schema);
    let twice: Vec<i64> = got[0].column(2).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(twice, [10, 12, 14, 16, 18]);

    let whole = client.get_flight_info(FlightDescriptor::new_cmd("select * from t")).await.unwrap();
    assert_eq!(whole.total_records, 10);
}

#[tokio::test]
async fn zero_batches_make_an_empty_dataset() {
    let server = Server::start();
    let mut client = server.client().await;
    let schema = batch(1, 1).schema();
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("empty")))
        .with_schema(schema.clone())
        .build(futures::stream::empty());
    let answers: Vec<PutResult> = client.do_put(stream).await.unwrap().try_collect().await.unwrap();
    assert_eq!(answers.len(), 1);
    let info = client.get_flight_info(path("empty")).await.unwrap();
    assert_eq!(info.total_records, 0);
    assert_eq!(info.try_decode_schema().unwrap(), *schema);
    assert_eq!(count(&mut client, "empty").await.unwrap(), 0);
    assert_eq!(number(&mut client, "select count(*) from empty").await, 0);
}

/// Frames of an upload, each batch with metadata of its own.
fn with_metadata(batches: Vec<RecordBatch>) -> Vec<FlightData> {
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("acked")))
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let mut frames: Vec<FlightData> = futures::executor::block_on(stream.try_collect()).unwrap();
    for (index, frame) in frames.iter_mut().enumerate().skip(1) {
        frame.app_metadata = format!("batch {index}").into();
    }
    frames
}

#[tokio::test]
async fn metadata_of_batches_is_echoed_while_the_upload_runs() {
    let server = Server::start();
    let mut client = FlightServiceClient::new(server.channel().await);
    let frames = with_metadata(vec![batch(1, 10), batch(1, 10)]);
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.do_put(messages).await.unwrap().into_inner();
    for (index, frame) in frames.into_iter().enumerate() {
        sender.send(frame).await.unwrap();
        if index > 0 {
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!(answer.app_metadata, format!("batch {index}"));
        }
    }
    drop(sender);
    let receipt = answers.message().await.unwrap().unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt.app_metadata).unwrap();
    assert_eq!(receipt["rows"], "20");
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_exchange_answers_while_its_input_still_comes() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "names", vec![batch(1, 10)]).await.unwrap();
    let sql = "select input.n, names.s from input join names on input.n = names.n where input.n % 2 = 1";
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd("select n from input where n % 2 = 1")))
        .with_schema(batch(1, 1).schema())
        .build(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let mut results = client.do_exchange(stream).await.unwrap();
    let mut seen = 0;
    // Far more than any buffer on the way holds back.
    while seen < 20_000 {
        sender.send(Ok(batch(1, 8192))).await.unwrap();
        if let Ok(next) =
            tokio::time::timeout(std::time::Duration::from_millis(200), results.try_next()).await
        {
            seen += next.unwrap().unwrap().num_rows();
        }
    }
    drop(sender);
    while let Some(rest) = results.try_next().await.unwrap() {
        seen += rest.num_rows();
    }
    assert_eq!(seen % 4096, 0);

    let joined = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(sql)))
        .build(futures::stream::iter([Ok(batch(1, 5))]));
    let rows: Vec<_> = client.do_exchange(joined).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(names(&mut client, "").await, ["names"], "nothing is stored");
}

#[tokio::test]
async fn the_handshake_lets_everyone_in() {
    let server = Server::start();
    let mut client = FlightServiceClient::new(server.channel().await);
    let silent = client.handshake(futures::stream::empty()).await.unwrap();
    assert!(silent.into_inner().message().await.unwrap().is_none());
    for basic in ["Basic dXNlcjpwdw==", "Basic dXNlcjpwdw"] {
        let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
        request.metadata_mut().insert("authorization", basic.parse().unwrap());
        let response = client.handshake(request).await.unwrap();
        let token = response.metadata().get("authorization").unwrap().to_str().unwrap();
        assert!(token.starts_with("Bearer "), "{token}");
    }
}

#[tokio::test]
async fn request_ids_are_kept_or_made() {
    let server = Server::start();
    let mut client = FlightServiceClient::new(server.channel().await);
    let mut request = Request::new(Empty {});
    request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
    let response = client.list_actions(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "mine-1");
    let response = client.list_actions(Empty {}).await.unwrap();
    assert!(response.metadata().get("x-request-id").unwrap().len() > 10);
}

#[tokio::test]
async fn the_advertised_location_is_in_every_endpoint() {
    let server = Server::with_args(&["--advertise", "grpc://one:1", "--advertise", "grpc://two:2"]);
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    for descriptor in [path("t"), FlightDescriptor::new_cmd("select 1")] {
        let info = client.get_flight_info(descriptor).await.unwrap();
        let locations: Vec<_> = info.endpoint[0].location.iter().map(|location| &location.uri).collect();
        assert_eq!(locations, ["grpc://one:1", "grpc://two:2"]);
    }
}
