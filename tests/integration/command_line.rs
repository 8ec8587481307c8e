//! The command: its startup line, settings, exit codes and signals.

use std::process::Stdio;
use std::time::Duration;

use arrow_flight::Ticket;
use futures::TryStreamExt;
use rustix::process::Signal;
use tonic::Code;

use crate::harness::{Server, assert_error, batch, command, count, number, put};

#[tokio::test]
async fn the_startup_line_says_what_is_served_and_where() {
    let mut server = Server::start();
    put(&mut server.client().await, "t", vec![batch(1, 1)]).await.unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0));
    let again = Server::on(server.root(), &[]);
    let root = server.root().canonicalize().unwrap();
    let expected = format!(
        "airstrip {} serves {} at grpc://{} (1 dataset)\n",
        env!("CARGO_PKG_VERSION"),
        root.display(),
        again.address
    );
    assert_eq!(again.line, expected);
}

#[tokio::test]
async fn memory_comes_in_small_pages_unless_told_otherwise() {
    let allowed = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        line.is_some_and(|allowed| allowed.trim() == "1")
    };
    if !allowed(std::process::id()) {
        eprintln!(
            "not checked: this system has no transparent huge pages, or has them turned off for this process"
        );
        return;
    }
    assert!(!allowed(Server::start().pid()));
    assert!(allowed(Server::with_args(&["--huge-pages"]).pid()));
}

#[test]
fn wrong_settings_end_with_code_2_and_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("airstrip.toml");
    std::fs::write(&file, "listn = \"127.0.0.1:0\"\n").unwrap();
    for (args, part) in [
        (vec!["--listen", "nowhere"], "nowhere"),
        (vec!["--max-queries", "0"], "max-queries"),
        (vec!["--query-threads", "1025"], "query-threads"),
        (vec!["--config", file.to_str().unwrap()], "listn"),
        (vec!["--config", "/does/not/exist"], "/does/not/exist"),
        (vec!["--register-from", "/does/not/exist"], "/does/not/exist"),
        (vec!["--log", "not=a=filter"], "not=a=filter"),
    ] {
        let output = command().arg("serve").arg(dir.path()).args(&args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_safeguard_that_is_none_cannot_be_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let output = command().env("AIRSTRIP_TAKE_OUT", "zeroes").arg("serve").arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("AIRSTRIP_TAKE_OUT"), "{text}");
}

#[test]
fn what_is_no_directory_is_not_made_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = command().args(args).current_dir(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (root, part) in [
        ("s3://bucket/prefix", "aws s3 sync"),
        ("gs://bucket", "object stores are not served yet"),
        ("abfss://c@a.dfs.core.windows.net/x", "object stores are not served yet"),
        ("https://example.com/data", "download"),
        ("file:///no/such/place", "/no/such/place"),
    ] {
        for command in [&["serve", root][..], &["demo", root], &["serve", root, "--create"]] {
            let (code, text) = run(command);
            assert_eq!(code, Some(2), "{command:?}: {text}");
            assert!(text.contains(part) && text.contains(root), "{text}");
        }
    }
    let (code, text) = run(&["serve", "datsets"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("datsets") && text.contains("--create"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_root_is_made_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b");
    let server = Server::on(&root, &["--create"]);
    put(&mut server.client().await, "t", vec![batch(1, 1)]).await.unwrap();
    assert!(root.join("t.parquet").exists());
}

#[tokio::test]
async fn the_demo_takes_the_place_of_nobodys_tables() {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let output = command().args(["demo", "--scale", "0.001"]).arg(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    {
        let server = Server::on(dir.path(), &[]);
        put(&mut server.client().await, "orders", vec![batch(1, 3)]).await.unwrap();
    }
    let (code, text) = demo();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("orders") && text.contains("nothing was written"), "{text}");
    std::fs::rename(dir.path().join("orders.parquet"), dir.path().join("mine.parquet")).unwrap();
    // Its own it replaces, as long as they are what it wrote.
    for _ in 0..2 {
        assert_eq!(demo(), (Some(0), String::new()));
    }
    {
        let server = Server::on(dir.path(), &[]);
        let mut client = server.client().await;
        assert_eq!(count(&mut client, "mine").await.unwrap(), 3);
        assert_eq!(number(&mut client, "select count(*) from orders").await, 1500);
        put(&mut client, "part", vec![batch(1, 3)]).await.unwrap();
    }
    let (code, text) = demo();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("part ") && !text.contains("orders"), "{text}");
}

#[tokio::test]
async fn flags_beat_variables_and_variables_beat_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("airstrip.toml");
    std::fs::write(&file, "max-sql-bytes = \"10B\"\nread-only = true\n").unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let from_file = Server::on(&root, &["--config", file.to_str().unwrap()]);
    let mut client = from_file.client().await;
    assert_error(count(&mut client, "select 12345").await, Code::InvalidArgument, "max-sql-bytes");
    assert_error(put(&mut client, "t", vec![batch(1, 1)]).await, Code::FailedPrecondition, "read-only");
    let args = ["--config", file.to_str().unwrap(), "--max-sql-bytes", "1KiB", "--read-only=false"];
    let from_flags = Server::on(&root, &args);
    let mut client = from_flags.client().await;
    assert_eq!(number(&mut client, "select 12345").await, 12345);
    put(&mut client, "t", vec![batch(1, 1)]).await.unwrap();
}

#[tokio::test]
async fn one_server_writes_and_any_number_read() {
    let writer = Server::start();
    let second =
        command().arg("serve").arg(writer.root()).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("--read-only"));
    let reader = Server::on(writer.root(), &["--read-only"]);
    put(&mut writer.client().await, "t", vec![batch(1, 3)]).await.unwrap();
    let mut client = reader.client().await;
    assert_eq!(count(&mut client, "t").await.unwrap(), 3);
    assert_error(put(&mut client, "u", vec![batch(1, 1)]).await, Code::FailedPrecondition, "read-only");
    let dropped = crate::harness::act(&mut client, "drop_dataset", "t").await;
    assert_error(dropped, Code::FailedPrecondition, "read-only");
}

#[tokio::test]
async fn the_first_signal_drains() {
    let mut server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", (0..20).map(|_| batch(1, 100_000)).collect()).await.unwrap();
    let mut stream = client.do_get(Ticket::new("t")).await.unwrap();
    let first = stream.try_next().await.unwrap().unwrap().num_rows();
    server.signal(Signal::INT);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(tokio::net::TcpStream::connect(&server.address).await.is_err(), "new work is let in");
    let rest: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(first + rest.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 2_000_000);
    drop(client);
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn connections_without_requests_do_not_hold_up_the_drain() {
    let mut server = Server::with_args(&["--drain-timeout", "1h"]);
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0));
    assert!(client.do_get(Ticket::new("t")).await.is_err());
}

#[tokio::test]
async fn the_drain_has_a_deadline_and_the_second_signal_forces() {
    let endless = "select a.value from range(100000000) a, range(100000000) b";
    let mut patient = Server::with_args(&["--drain-timeout", "300ms"]);
    let mut client = patient.client().await;
    let mut stream = client.do_get(Ticket::new(endless)).await.unwrap();
    stream.try_next().await.unwrap();
    patient.signal(Signal::TERM);
    assert_eq!(patient.wait().await.code(), Some(0));
    assert!(stream.try_collect::<Vec<_>>().await.is_err(), "a cut stream must not look whole");

    let mut forced = Server::with_args(&["--drain-timeout", "1h"]);
    let mut client = forced.client().await;
    let mut stream = client.do_get(Ticket::new(endless)).await.unwrap();
    stream.try_next().await.unwrap();
    forced.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    forced.signal(Signal::TERM);
    assert_eq!(forced.wait().await.code(), Some(130));
}

#[tokio::test]
async fn health_is_served_beside_flight() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let server = Server::start();
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "arrow.flight.protocol.FlightService"] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service:?} is not serving");
    }
}

#[test]
fn the_demo_writes_the_tables_of_tpch() {
    let dir = tempfile::tempdir().unwrap();
    let output = command()
        .args(["demo", "--scale", "0.001"])
        .arg(dir.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("nation: 25 rows") && text.contains("lineitem: 6005 rows"), "{text}");
    assert!(dir.path().join("partsupp.parquet").is_file());
    assert_eq!(command().args(["demo", "--scale", "-1"]).output().unwrap().status.code(), Some(2));
}
