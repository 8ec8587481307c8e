//! The error of each mistake: its code, and a text that leads out.

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightDescriptor, PutResult};
use futures::TryStreamExt;
use tonic::Code;

use crate::harness::{Server, act, assert_error, batch, get, path, put};

/// An upload with headers.
async fn put_with(
    server: &Server,
    name: &str,
    headers: &[(&'static str, &str)],
) -> Result<Vec<PutResult>, FlightError> {
    let mut client: FlightClient = server.client().await;
    for (key, value) in headers {
        client.add_header(key, value).unwrap();
    }
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(name)))
        .build(futures::stream::iter([Ok(batch(2, 20))]));
    client.do_put(stream).await?.try_collect().await
}

#[tokio::test]
async fn an_upload_may_insist() {
    let server = Server::start();
    let mut client = server.client().await;
    let created = put_with(&server, "t", &[("x-airstrip-mode", "create")]).await;
    assert_eq!(created.unwrap().len(), 1);
    assert_error(
        put_with(&server, "t", &[("x-airstrip-mode", "create")]).await,
        Code::AlreadyExists,
        "dataset t exists",
    );
    assert_error(
        put_with(&server, "t", &[("x-airstrip-mode", "upsert")]).await,
        Code::InvalidArgument,
        "upsert",
    );

    let version = act(&mut client, "describe_dataset", "t").await.unwrap()["version"].clone();
    let version = version.as_str().unwrap();
    put_with(&server, "t", &[("x-airstrip-if-version", version)]).await.unwrap();
    let stale = put_with(&server, "t", &[("x-airstrip-if-version", version)]).await;
    assert_error(stale, Code::FailedPrecondition, version);
    let gone = put_with(&server, "u", &[("x-airstrip-if-version", version)]).await;
    assert_error(gone, Code::FailedPrecondition, "gone");

    put_with(&server, "t", &[("x-airstrip-expected-rows", "20")]).await.unwrap();
    let short = put_with(&server, "u", &[("x-airstrip-expected-rows", "21")]).await;
    assert_error(short, Code::InvalidArgument, "21");
    assert!(!server.root().join("u.parquet").exists());
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn bad_requests_are_the_clients_errors() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    for (sql, part) in [
        ("select nope from t", "nope"),
        ("select * from t where", "Line: 1"),
        ("select 1; select 2", "one statement"),
        ("select * from '/etc/passwd'", "register_dataset"),
        ("select * from 'https://host/x.parquet'", "register_dataset"),
        ("select 1 / 0", "ivide"),
        ("select cast(s as bigint) from t", "row 0"),
        ("select no_such_function(1)", "no_such_function"),
    ] {
        assert_error(get(&mut client, sql).await, Code::InvalidArgument, part);
    }
    assert_error(get(&mut client, "select * from tt").await, Code::NotFound, "did you mean t?");
    assert_error(get(&mut client, "select * from no.t").await, Code::NotFound, "no.db");
    for sql in [
        "drop table t",
        "insert into t values (1)",
        "set x = 1",
        "create table u as select 1",
        "copy t to 'x'",
    ] {
        assert_error(get(&mut client, sql).await, Code::Unimplemented, "read-only");
    }
    let command = FlightDescriptor::new_cmd("select 1");
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(command))
        .build(futures::stream::iter([Ok(batch(2, 20))]));
    let put_to_sql: Result<Vec<_>, _> = client.do_put(stream).await.unwrap().try_collect().await;
    assert_error(put_to_sql, Code::InvalidArgument, "for_path");
    assert_eq!(get(&mut client, "t").await.unwrap().len(), 1, "nothing of this harmed anything");
}

#[tokio::test]
async fn a_damaged_file_is_data_loss_and_no_more_than_that() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "good", vec![batch(1, 3)]).await.unwrap();
    std::fs::write(server.root().join("bad.parquet"), "this is not Parquet").unwrap();
    let whole = std::fs::read(server.root().join("good.parquet")).unwrap();
    std::fs::write(server.root().join("cut.parquet"), &whole[..whole.len() - 20]).unwrap();
    for name in ["bad", "cut"] {
        assert_error(client.get_flight_info(path(name)).await, Code::DataLoss, name);
        assert_error(get(&mut client, name).await, Code::DataLoss, name);
        let described = act(&mut client, "describe_dataset", name).await.unwrap();
        assert!(described["damage"].as_str().unwrap().contains("damaged"), "{described}");
    }
    assert_eq!(crate::harness::names(&mut client, "").await, ["good"]);
    let tables =
        get(&mut client, "select column_name from information_schema.columns where table_schema='public'");
    assert_eq!(tables.await.unwrap()[0].num_rows(), 3);
    assert_error(get(&mut client, "select * from bad").await, Code::DataLoss, "bad");
    act(&mut client, "drop_dataset", "bad").await.unwrap();
}

#[tokio::test]
async fn damage_in_the_middle_ends_the_stream_with_an_error() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 300_000)]).await.unwrap();
    let file = server.root().join("t.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 5000].fill(0xab);
    std::fs::write(&file, bytes).unwrap();
    assert_error(get(&mut client, "t").await, Code::DataLoss, "t.parquet");
    assert_error(get(&mut client, "select * from t").await, Code::DataLoss, "");
}

#[tokio::test]
async fn a_delta_table_without_its_log_is_damaged_and_not_misread() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "part", vec![batch(1, 3)]).await.unwrap();
    let table = server.root().join("events");
    std::fs::create_dir_all(table.join("_delta_log")).unwrap();
    std::fs::rename(server.root().join("part.parquet"), table.join("part-0.parquet")).unwrap();
    assert_error(get(&mut client, "events").await, Code::DataLoss, "Delta");
    assert_error(put(&mut client, "events", vec![batch(1, 1)]).await, Code::DataLoss, "Delta");
    assert!(table.join("part-0.parquet").exists());
}
