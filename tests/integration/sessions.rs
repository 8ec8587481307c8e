//! Clients whose requests come over one connection, as behind a proxy.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::Server;

type Sql = FlightSqlServiceClient<Channel>;

fn client(channel: &Channel, headers: &[(&str, &str)]) -> Sql {
    let mut client = FlightSqlServiceClient::new(channel.clone());
    for (name, value) in headers {
        client.set_header(*name, *value);
    }
    client
}

async fn number(client: &mut Sql, query: &str) -> Result<i64, FlightError> {
    let info = client.execute(query.to_owned(), None).await?;
    let ticket = info.endpoint.into_iter().next().unwrap().ticket.unwrap();
    let batches: Vec<_> = client.do_get(ticket).await?.try_collect().await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

async fn run(client: &mut Sql, statement: &str) -> Result<i64, FlightError> {
    client.execute_update(statement.to_owned(), None).await
}

fn needs_cookies(result: Result<i64, FlightError>) {
    match result {
        Err(FlightError::Tonic(status)) => {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains("turn on cookies"), "{status}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_shares_a_connection_shares_no_session() {
    let server = Server::start();
    let mut setup = client(&server.channel().await, &[]);
    for statement in [
        "create schema team_a",
        "create table team_a.victim as select 1::bigint as a",
        "create table public.victim as select 2::bigint as a",
    ] {
        run(&mut setup, statement).await.unwrap();
    }
    let channel = server.channel().await;
    let mut one = client(&channel, &[("cookie", "arrow_flight_session_id=one")]);
    let mut other = client(&channel, &[("cookie", "arrow_flight_session_id=other")]);
    run(&mut one, "use team_a").await.unwrap();
    run(&mut one, "create temporary table mine as select 3::bigint as a").await.unwrap();
    assert_eq!(number(&mut other, "select a from victim").await.unwrap(), 2);
    assert!(number(&mut other, "select a from mine").await.is_err());
    run(&mut other, "drop table victim").await.unwrap();
    assert_eq!(number(&mut one, "select a from victim").await.unwrap(), 1);
    assert_eq!(number(&mut one, "select a from mine").await.unwrap(), 3);
}

#[tokio::test]
async fn a_client_without_cookies_has_no_session_behind_a_proxy() {
    let server = Server::start();
    let channel = server.channel().await;
    let mut direct = client(&channel, &[]);
    run(&mut direct, "set time_zone = 'Asia/Tokyo'").await.unwrap();
    let mut through = client(&channel, &[("x-forwarded-for", "192.0.2.1")]);
    for statement in ["set time_zone = 'UTC'", "use public", "create temporary table t as select 1 as a"] {
        needs_cookies(run(&mut through, statement).await);
    }
    run(&mut through, "create table t as select 1::bigint as a").await.unwrap();
    assert_eq!(number(&mut through, "select a from t").await.unwrap(), 1);
    // The connection has shown to be shared, so that nobody is known by it any more.
    needs_cookies(run(&mut direct, "set time_zone = 'UTC'").await);
}
