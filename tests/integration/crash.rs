//! kill -9, again and again, in the middle of uploads.

use std::time::{Duration, Instant};

use arrow_flight::FlightClient;
use arrow_flight::encode::FlightDataEncoderBuilder;
use futures::{StreamExt, TryStreamExt};

use crate::harness::{Server, batch, count, names, path, put};

const CYCLES: u32 = 50;

/// An upload of many batches to `t` that takes a while; true if it was acknowledged.
async fn slow_upload(mut client: FlightClient, version: i64) -> bool {
    let batches = futures::stream::iter(0..40).then(move |_| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(batch(version, 2000))
    });
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path("t")))
        .with_schema(batch(0, 1).schema())
        .build(Box::pin(batches));
    match client.do_put(stream).await {
        Ok(answers) => answers.try_collect::<Vec<_>>().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_killed_server_leaves_the_old_version_or_the_new_and_no_litter() {
    let root = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    {
        let server = Server::on(root.path(), &[]);
        put(&mut server.client().await, "t", vec![batch(0, 5)]).await.unwrap();
    }
    let mut interrupted = 0;
    for cycle in 1..=CYCLES {
        let server = Server::on(root.path(), &[]);
        let upload = tokio::spawn(slow_upload(server.client().await, i64::from(cycle)));
        // Spread over the whole upload, its commit included.
        tokio::time::sleep(Duration::from_millis(u64::from(cycle * 3 % 160))).await;
        drop(server); // SIGKILL
        if upload.await.unwrap() {
            acknowledged = i64::from(cycle);
        } else {
            interrupted += 1;
        }

        let start = Instant::now();
        let server = Server::on(root.path(), &[]);
        assert!(start.elapsed() < Duration::from_secs(5), "the restart took {:?}", start.elapsed());
        let mut client = server.client().await;
        assert_eq!(names(&mut client, "").await, ["t"], "cycle {cycle}");
        assert_eq!(server.staged(), 0, "cycle {cycle} left litter");
        let rows = count(&mut client, "t").await.unwrap();
        assert!(rows == 5 || rows == 80_000, "cycle {cycle}: {rows} rows are no version");
        if acknowledged > 0 {
            let version = crate::harness::number(&mut client, "select max(v) from t").await;
            assert!(
                version >= acknowledged,
                "cycle {cycle}: version {acknowledged} was acknowledged and lost"
            );
        }
        let visible: Vec<_> = std::fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(visible.iter().all(|name| name == ".airstrip" || name == "t.parquet"), "{visible:?}");
    }
    assert!(interrupted >= CYCLES / 4, "only {interrupted} uploads were interrupted: the test tests nothing");
}
