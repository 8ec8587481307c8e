//! The lifecycle of datasets: describe, register, rename, drop.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, Empty};
use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::harness::{Server, act, assert_error, batch, count, names, number, put};

#[tokio::test]
async fn all_actions_are_listed_with_their_bodies() {
    let server = Server::start();
    let mut client = FlightServiceClient::new(server.channel().await);
    let listed: Vec<_> =
        client.list_actions(Empty {}).await.unwrap().into_inner().try_collect().await.unwrap();
    for name in ["drop_dataset", "register_dataset", "describe_dataset", "rename_dataset"] {
        let action = listed.iter().find(|action| action.r#type == name).unwrap();
        assert!(action.description.contains("Body:"), "{action:?}");
    }
    let mut client = server.client().await;
    assert_error(act(&mut client, "explode", "").await, Code::Unimplemented, "describe_dataset");
}

#[tokio::test]
async fn describe_tells_all_there_is_to_know() {
    let server = Server::start();
    let mut client = server.client().await;
    let receipt = put(&mut client, "t", vec![batch(7, 1000)]).await.unwrap();
    let described = act(&mut client, "describe_dataset", "t").await.unwrap();
    assert_eq!(described["version"], receipt["version"]);
    assert_eq!(described["bytes"], receipt["bytes"]);
    assert_eq!((&described["rows"], &described["files"]), (&json!("1000"), &json!("1")));
    assert_eq!(described["rowGroups"], "1");
    assert_eq!(described["kind"], "DATASET_KIND_FILE");
    assert_eq!(described["codecs"], json!(["lz4_raw", "uncompressed"]));
    let n = &described["columns"][1];
    assert_eq!(n, &json!({"name": "n", "type": "Int64", "nullCount": "0", "min": "0", "max": "999"}));
    assert!(described["modified"].as_str().unwrap().starts_with("20"));

    let request = airstrip::proto::DescribeDatasetRequest { name: "t".into(), ..Default::default() };
    let action = Action::new("describe_dataset", request.encode_to_vec());
    let answer: Vec<Bytes> = client.do_action(action).await.unwrap().try_collect().await.unwrap();
    let decoded = airstrip::proto::DescribeDatasetResponse::decode(answer[0].clone()).unwrap();
    assert_eq!((decoded.rows, decoded.table.as_str()), (1000, "t"));
}

#[tokio::test]
async fn versions_follow_the_content() {
    let server = Server::start();
    let mut client = server.client().await;
    let mut versions = std::collections::HashSet::new();
    for _ in 0..50 {
        let receipt = put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
        let version = receipt["version"].as_str().unwrap().to_owned();
        let described = act(&mut client, "describe_dataset", "t").await.unwrap();
        assert_eq!(described["version"], version);
        assert!(versions.insert(version), "every upload is a version of its own");
    }
    let before = act(&mut client, "describe_dataset", "t").await.unwrap()["version"].clone();
    let renamed = act(&mut client, "rename_dataset", r#"{"name":"t","newName":"u"}"#).await.unwrap();
    assert_eq!(renamed["version"], before, "a new name is no new content");
}

#[tokio::test]
async fn rename_moves_and_never_replaces() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "a", vec![batch(1, 1)]).await.unwrap();
    put(&mut client, "b", vec![batch(2, 2)]).await.unwrap();
    let taken = act(&mut client, "rename_dataset", r#"{"name":"a","newName":"b.parquet"}"#).await;
    assert_error(taken, Code::AlreadyExists, "dataset b exists");
    act(&mut client, "rename_dataset", r#"{"name":"a.parquet","newName":"c"}"#).await.unwrap();
    assert_eq!(names(&mut client, "").await, ["b", "c"]);
    let missing = act(&mut client, "rename_dataset", r#"{"name":"a","newName":"d"}"#).await;
    assert_error(missing, Code::NotFound, "dataset a");
    assert_error(act(&mut client, "rename_dataset", "a").await, Code::InvalidArgument, "body");
    std::fs::create_dir(server.root().join("x.db")).unwrap();
    act(&mut client, "rename_dataset", r#"{"name":"c","newName":"c","newSchema":"x"}"#).await.unwrap();
    assert_eq!(count(&mut client, "x.c").await.unwrap(), 1);
}

#[tokio::test]
async fn drop_removes_every_form_of_a_dataset() {
    let server = Server::start();
    let mut client = server.client().await;
    let version = put(&mut client, "a", vec![batch(1, 1)]).await.unwrap()["version"].clone();
    std::fs::create_dir(server.root().join("a")).unwrap();
    std::fs::copy(server.root().join("a.parquet"), server.root().join("a/part.parquet")).unwrap();
    let stale = json!({"name": "a", "ifVersion": "other"}).to_string();
    assert_error(act(&mut client, "drop_dataset", stale).await, Code::FailedPrecondition, "version");
    let dropped = act(&mut client, "drop_dataset", "a.parquet").await.unwrap();
    assert_eq!(dropped, json!({"name": "a", "schema": "public", "version": version}));
    assert_error(count(&mut client, "a").await, Code::NotFound, "dataset a");
    assert!(!server.root().join("a").exists());
    assert_eq!(server.staged(), 0);
    assert_error(act(&mut client, "drop_dataset", "a").await, Code::NotFound, "dataset a");
}

#[tokio::test]
async fn an_upload_takes_the_place_of_every_form() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "seed", vec![batch(1, 1)]).await.unwrap();
    for directory in ["plain", "spark.parquet"] {
        std::fs::create_dir(server.root().join(directory)).unwrap();
        let part = server.root().join(directory).join("part-0.parquet");
        std::fs::copy(server.root().join("seed.parquet"), part).unwrap();
        let name = directory.trim_end_matches(".parquet");
        assert_eq!(count(&mut client, name).await.unwrap(), 1);
        put(&mut client, name, vec![batch(2, 5)]).await.unwrap();
        assert_eq!(count(&mut client, name).await.unwrap(), 5);
        assert!(server.root().join(format!("{name}.parquet")).is_file());
        assert!(!server.root().join(name).exists());
    }
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn registrations_reach_the_root_and_the_allowed_directories_only() {
    let lake = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let server = Server::with_args(&["--register-from", lake.path().to_str().unwrap()]);
    let mut client = server.client().await;
    put(&mut client, "seed", vec![batch(1, 4)]).await.unwrap();
    let seed = server.root().join("seed.parquet");
    std::fs::copy(&seed, outside.path().join("x.parquet")).unwrap();
    for year in ["2024", "2025"] {
        let folder = lake.path().join(format!("taxi/year={year}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&seed, folder.join("part.parquet")).unwrap();
    }
    let lake_path = lake.path().canonicalize().unwrap();
    let body = |name: &str, path: &str| json!({"name": name, "path": path}).to_string();
    let taxi = lake_path.join("taxi");
    let answer = act(&mut client, "register_dataset", body("taxi", taxi.to_str().unwrap())).await.unwrap();
    assert_eq!((&answer["rows"], &answer["files"]), (&json!("8"), &json!("2")));
    assert_eq!(number(&mut client, "select count(*) from taxi where year = 2025").await, 4);
    let described = act(&mut client, "describe_dataset", "taxi").await.unwrap();
    assert_eq!(described["partitionColumns"], json!(["year"]));
    assert_eq!(described["kind"], "DATASET_KIND_REGISTERED");

    act(&mut client, "register_dataset", body("alias", "seed.parquet")).await.unwrap();
    assert_eq!(count(&mut client, "alias").await.unwrap(), 4);
    let again = act(&mut client, "register_dataset", body("alias", "seed.parquet")).await;
    assert_error(again, Code::AlreadyExists, "alias");
    let replace = json!({"name": "alias", "path": taxi.to_str().unwrap(), "replace": true}).to_string();
    act(&mut client, "register_dataset", replace).await.unwrap();
    assert_eq!(count(&mut client, "alias").await.unwrap(), 8);

    let link = server.root().join("link.parquet");
    std::os::unix::fs::symlink(outside.path().join("x.parquet"), link).unwrap();
    let outside = outside.path().join("x.parquet");
    for path in [outside.to_str().unwrap(), "/etc/passwd", "../x.parquet", ".airstrip/FORMAT", "link.parquet"]
    {
        let refused = act(&mut client, "register_dataset", body("evil", path)).await;
        assert!(refused.is_err(), "{path}");
    }
    assert!(count(&mut client, "link").await.is_err());
    // A registration that was put there by hand meets the same rule.
    let forged = json!({"path": outside.to_str().unwrap()}).to_string();
    std::fs::write(server.root().join("forged.dataset.json"), forged).unwrap();
    assert_error(count(&mut client, "forged").await, Code::InvalidArgument, "--register-from");
}

#[tokio::test]
async fn a_drop_takes_its_version_from_the_body() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    let mut insisting = server.client().await;
    insisting.add_header("x-airstrip-if-version", "another").unwrap();
    assert_error(act(&mut insisting, "drop_dataset", "t").await, Code::InvalidArgument, "ifVersion");
    let body = r#"{"name":"t","ifVersion":"another"}"#;
    assert_error(act(&mut client, "drop_dataset", body).await, Code::FailedPrecondition, "by now");
    assert_eq!(count(&mut client, "t").await.unwrap(), 1);
}

#[tokio::test]
async fn a_registration_whose_file_is_gone_says_so_and_can_be_dropped() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
    act(&mut client, "register_dataset", r#"{"name":"r","path":"t.parquet"}"#).await.unwrap();
    act(&mut client, "drop_dataset", "t").await.unwrap();
    assert_error(count(&mut client, "select * from r").await, Code::NotFound, "registration of t.parquet");
    act(&mut client, "drop_dataset", "r").await.unwrap();
}
