//! Statements that come again, over datasets that do not stay the same.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampNanosecondType};
use arrow_flight::FlightClient;

use crate::downloads::{rows, whole};
use crate::harness::{Server, batch, get, number, put};

async fn columns(client: &mut FlightClient, sql: &str) -> Vec<String> {
    let got = get(client, sql.to_owned()).await.unwrap();
    got[0].schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[tokio::test]
async fn a_statement_sees_what_its_dataset_has_become() {
    let server = Server::start();
    let mut client = server.client().await;
    let all = "select * from t where n >= 0";
    let none = "select * from t where 1 = 2 union all select * from t limit 1";
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(number(&mut client, "select sum(v) from t").await, 10);
        assert_eq!(columns(&mut client, all).await, ["v", "n", "s"]);
        assert_eq!(columns(&mut client, none).await, ["v", "n", "s"]);
    }
    // Other rows, then other columns, then no more.
    put(&mut client, "t", vec![batch(2, 10)]).await.unwrap();
    assert_eq!(number(&mut client, "select sum(v) from t").await, 20);
    put(&mut client, "t", vec![rows(0, 10)]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(columns(&mut client, all).await, ["n", "s", "v", "d"]);
        assert_eq!(columns(&mut client, none).await, ["n", "s", "v", "d"]);
    }
    std::fs::remove_file(server.root().join("t.parquet")).unwrap();
    assert!(get(&mut client, all).await.is_err());
    put(&mut client, "t", vec![batch(3, 10)]).await.unwrap();
    assert_eq!(columns(&mut client, all).await, ["v", "n", "s"]);
}

#[tokio::test]
async fn what_is_another_each_time_stays_so() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 10)]).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..3 {
        let got =
            whole(&get(&mut client, "select now() as now, random() as r from t limit 1").await.unwrap());
        assert!(matches!(got.schema().field(0).data_type(), DataType::Timestamp(..)));
        let now = arrow::compute::cast(
            got.column(0),
            &DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None),
        );
        times.push(now.unwrap().as_primitive::<TimestampNanosecondType>().value(0));
    }
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
}
