//! What drivers and tools look for: keys, the metadata of results' columns, units that they can write, hints.

use arrow::datatypes::{DataType, TimeUnit};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetExportedKeys, CommandGetPrimaryKeys};
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::Channel;

use crate::flight_sql::{query, sql, update};
use crate::harness::{Server, assert_error, get};

#[tokio::test]
async fn keys_that_are_declared_are_shown() {
    let server = Server::start();
    let mut client = sql(&server).await;
    for statement in [
        "create table parents (b int, a int, primary key (b, a) not enforced)",
        "create table children (x int, y int, foreign key (x, y) references parents on delete set null not enforced)",
        "insert into children values (1, 2)",
    ] {
        update(&mut client, statement).await.unwrap();
    }
    let asked =
        CommandGetPrimaryKeys { catalog: None, db_schema: Some("public".into()), table: "parents".into() };
    let info = client.get_primary_keys(asked).await.unwrap();
    let shown = rows(&mut client, info).await;
    assert_eq!(
        shown,
        ["airstrip|public|parents|a|parents_pkey|2", "airstrip|public|parents|b|parents_pkey|1"]
    );
    let asked = CommandGetExportedKeys { catalog: None, db_schema: None, table: "parents".into() };
    let info = client.get_exported_keys(asked).await.unwrap();
    let shown = rows(&mut client, info).await;
    let of = |parent: &str, child: &str, place: i32| {
        format!(
            "airstrip|public|parents|{parent}|airstrip|public|children|{child}|{place}|children_x_y_fkey|parents_pkey|3|2"
        )
    };
    assert_eq!(shown, [of("b", "x", 1), of("a", "y", 2)]);
}

async fn rows(client: &mut FlightSqlServiceClient<Channel>, info: arrow_flight::FlightInfo) -> Vec<String> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter();
            let values =
                values.map(|column| arrow::util::display::array_value_to_string(column, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

/// A client that calls itself what those of Java do.
async fn of_java(server: &Server) -> FlightSqlServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let endpoint = endpoint.user_agent("grpc-java-netty/1.71.0").unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

#[tokio::test]
async fn drivers_of_java_see_where_columns_come_from_and_milliseconds() {
    let server = Server::start();
    let mut client = of_java(&server).await;
    update(&mut client, "create table t (price decimal(12, 2), at timestamp(6))").await.unwrap();
    let batch =
        query(&mut client, "select price as p, price * 2 as twice from t where price > 0").await.unwrap();
    let of = |place: usize, key: &str| {
        batch.schema().field(place).metadata().get(&format!("ARROW:FLIGHT:SQL:{key}")).cloned()
    };
    assert_eq!(of(0, "TABLE_NAME").as_deref(), Some("t"));
    assert_eq!(of(0, "SCHEMA_NAME").as_deref(), Some("public"));
    assert_eq!((of(0, "PRECISION").as_deref(), of(0, "SCALE").as_deref()), (Some("12"), Some("2")));
    assert_eq!(of(1, "TABLE_NAME"), None);
    let statement = client.prepare("select price from t where at < ?".to_owned(), None).await.unwrap();
    let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
    assert_eq!(statement.parameter_schema().unwrap().field(0).data_type(), &milliseconds);
    assert!(!statement.dataset_schema().unwrap().field(0).metadata().is_empty());
    // Others write what they have, and see no more than they always did.
    let mut client = sql(&server).await;
    let statement = client.prepare("select price from t where at < ?".to_owned(), None).await.unwrap();
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(statement.parameter_schema().unwrap().field(0).data_type(), &microseconds);
    assert!(statement.dataset_schema().unwrap().field(0).metadata().is_empty());
}

#[tokio::test]
async fn a_ticket_with_a_slip_in_its_verb_says_so() {
    let server = Server::start();
    let mut client = server.client().await;
    assert_error(get(&mut client, "selct * from t").await, Code::NotFound, "did you mean SELECT?");
}
