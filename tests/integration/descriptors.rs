//! A server that has no file descriptors left: what it cannot look at is not "not there".

use std::collections::BTreeSet;

use arrow_flight::error::FlightError;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tonic::Code;

use crate::flight_sql::{number, query, sql, update};
use crate::harness::{Server, batch, open_descriptors, put};

/// Lets the server have `more` descriptors than it has open now.
fn leave(server: &Server, more: u64) {
    let limit = Some(open_descriptors(server.pid()) as u64 + more);
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum: Some(4096) }).unwrap();
}

#[tokio::test]
async fn a_look_that_fails_is_an_error_and_no_other_answer() {
    // Nothing is remembered that would spare a look.
    let server = Server::with_args(&["--footer-cache", "0", "--column-cache", "0", "--frame-cache", "0"]);
    let mut client = server.client().await;
    for name in ["a", "b", "c"] {
        put(&mut client, name, vec![batch(1, 10)]).await.unwrap();
    }
    let mut sql = sql(&server).await;
    // From here on it is a Delta table with a row that is deleted.
    update(&mut sql, "delete from a where n = 3").await.unwrap();
    let tables = "select count(*) from information_schema.tables where table_schema = 'public'";
    let (mut codes, mut answers) = (BTreeSet::new(), 0);
    for more in 0..40 {
        leave(&server, more);
        for (statement, right) in [("select count(*) from a", 9), ("select count(*) from b", 10), (tables, 3)]
        {
            match query(&mut sql, statement).await {
                Ok(batch) => {
                    answers += 1;
                    assert_eq!(number(&batch), right, "{statement} with {more} descriptors");
                }
                Err(FlightError::Tonic(status)) => {
                    assert!(!matches!(status.code(), Code::NotFound | Code::DataLoss), "{status:?}");
                    codes.insert(format!("{:?}", status.code()));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(answers > 0 && !codes.is_empty(), "{answers} answers, {codes:?}");
    leave(&server, 500);
    assert_eq!(number(&query(&mut sql, tables).await.unwrap()), 3);
}
