//! How a ticket is read: a message of ours, else a dataset's name, else SQL, else not found.

use arrow_flight::{FlightDescriptor, Ticket};
use tonic::Code;

use crate::harness::{Server, assert_error, batch, count, get, number, path, put};

#[tokio::test]
async fn a_ticket_is_a_name_before_it_is_sql() {
    let server = Server::start();
    let mut client = server.client().await;
    // All of these are valid protobuf, or valid SQL, or both; they are names where a dataset has them.
    for (version, name) in (1..).zip(["users", "music", "email", "select 1", "with.dot", "Ünï cødé"]) {
        put(&mut client, name, vec![batch(version, 3)]).await.unwrap();
        let got = get(&mut client, name).await.unwrap();
        assert_eq!((got[0].num_rows(), got[0].num_columns()), (3, 3), "{name}");
    }
    assert_eq!(number(&mut client, "select 2").await, 2);
    assert_eq!(number(&mut client, "select max(v) from \"Ünï cødé.parquet\"").await, 6);
}

#[tokio::test]
async fn other_schemas_are_reached_by_path_by_dots_and_by_their_tickets() {
    let server = Server::start();
    let mut client = server.client().await;
    std::fs::create_dir(server.root().join("finance.db")).unwrap();
    let descriptor = FlightDescriptor::new_path(vec!["finance".into(), "orders".into()]);
    put(&mut client, "finance.orders", vec![batch(1, 2)]).await.unwrap();
    std::fs::rename(
        server.root().join("finance.orders.parquet"),
        server.root().join("finance.db/orders.parquet"),
    )
    .unwrap();
    assert_eq!(count(&mut client, "finance.orders").await.unwrap(), 2);
    let info = client.get_flight_info(descriptor).await.unwrap();
    let ticket: Ticket = info.endpoint[0].ticket.clone().unwrap();
    assert_eq!(get(&mut client, ticket.ticket.clone()).await.unwrap()[0].num_rows(), 2);
    assert_eq!(number(&mut client, "select count(*) from finance.orders").await, 2);

    // A dataset of the default schema may be called so too: then the plain name is its own.
    put(&mut client, "finance.orders", vec![batch(2, 5)]).await.unwrap();
    assert_eq!(count(&mut client, "finance.orders").await.unwrap(), 5);
    assert_eq!(get(&mut client, ticket.ticket).await.unwrap()[0].num_rows(), 2);
}

#[tokio::test]
async fn a_ticket_of_a_query_is_good_for_other_servers_and_other_days() {
    let first = Server::start();
    let mut client = first.client().await;
    put(&mut client, "t", vec![batch(1, 3)]).await.unwrap();
    let info = client.get_flight_info(FlightDescriptor::new_cmd("select n from t")).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket;
    let reader = Server::on(first.root(), &["--read-only"]);
    let mut other = reader.client().await;
    assert_eq!(get(&mut other, ticket.clone()).await.unwrap()[0].num_rows(), 3);

    put(&mut client, "t", vec![batch(2, 4)]).await.unwrap();
    assert_eq!(get(&mut client, ticket.clone()).await.unwrap()[0].num_rows(), 4);
    let narrow = batch(3, 1).project(&[2]).unwrap();
    let renamed = arrow::array::RecordBatch::try_from_iter([("n", narrow.column(0).clone())]).unwrap();
    put(&mut client, "t", vec![renamed]).await.unwrap();
    assert_error(get(&mut client, ticket).await, Code::FailedPrecondition, "GetFlightInfo");
}

#[tokio::test]
async fn what_cannot_be_read_says_what_it_was_taken_for() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "lineitem", vec![batch(1, 1)]).await.unwrap();
    assert_error(get(&mut client, "lineitme").await, Code::NotFound, "did you mean lineitem");
    assert_error(get(&mut client, "nothing like it").await, Code::NotFound, "dataset nothing like it");
    assert_error(get(&mut client, &b"\xff\xfe\xfd"[..]).await, Code::InvalidArgument, "neither");
    assert_error(get(&mut client, "").await, Code::InvalidArgument, "empty");
    assert_error(get(&mut client, "select * frm lineitem").await, Code::InvalidArgument, "Line: 1");
    let command = FlightDescriptor::new_cmd("lineitem");
    assert_eq!(client.get_flight_info(command).await.unwrap().total_records, 1);
    assert_error(
        client.get_flight_info(FlightDescriptor::new_cmd("selec 1")).await,
        Code::InvalidArgument,
        "SQL",
    );
    assert_error(client.get_flight_info(path("a/b")).await, Code::InvalidArgument, "separator");
}
