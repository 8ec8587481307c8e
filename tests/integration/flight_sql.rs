//! Flight SQL: each command, sent by arrow-flight's own client or as the bytes that others send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedSubstraitPlanRequest, Any, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate,
    DoPutUpdateResult, ProstMessageExt, SqlInfo, SubstraitPlan, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Empty, FlightData,
    FlightDescriptor, FlightEndpoint, FlightInfo, RenewFlightEndpointRequest, SchemaResult, Ticket,
};
use bytes::Bytes;
use datafusion_substrait::substrait::proto::set_rel::SetOp;
use datafusion_substrait::substrait::proto::{Plan, PlanRel, Rel, RelRoot, SetRel, plan_rel, rel};
use futures::TryStreamExt;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{PATIENCE, Server, batch, memory_kib, put};

type Sql = FlightSqlServiceClient<Channel>;

pub(crate) async fn sql(server: &Server) -> Sql {
    FlightSqlServiceClient::new(server.channel().await)
}

async fn raw(server: &Server) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(server.channel().await)
}

/// The rows of a FlightInfo, as one batch; its schema must be the one that was shown.
async fn fetch(client: &mut Sql, info: FlightInfo) -> Result<RecordBatch, FlightError> {
    let shown: SchemaRef = Arc::new(info.clone().try_decode_schema()?);
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let mut stream = client.do_get(endpoint.ticket.unwrap()).await?;
        while let Some(batch) = stream.try_next().await? {
            batches.push(batch);
        }
        assert_eq!(stream.schema().unwrap(), &shown);
    }
    Ok(arrow::compute::concat_batches(&shown, &batches)?)
}

pub(crate) async fn query(client: &mut Sql, text: &str) -> Result<RecordBatch, FlightError> {
    let info = client.execute(text.to_owned(), None).await?;
    fetch(client, info).await
}

pub(crate) async fn update(client: &mut Sql, text: &str) -> Result<i64, FlightError> {
    client.execute_update(text.to_owned(), None).await
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|text| text.unwrap_or("NULL").to_owned()).collect()
}

pub(crate) fn number(batch: &RecordBatch) -> i64 {
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

#[track_caller]
fn refused<T>(result: Result<T, FlightError>, part: &str) {
    let Err(error) = result else { panic!("there is no error; expected {part:?}") };
    assert!(error.to_string().contains(part), "{error} lacks {part:?}");
}

fn command(message: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(message.as_any().encode_to_vec())
}

#[tokio::test]
async fn a_statement_is_planned_shown_and_run() {
    let server = Server::start();
    let mut client = sql(&server).await;
    let rows = query(&mut client, "select 1 as a, 'x' as b").await.unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (1, 2));
    let empty = query(&mut client, "select 1 as a where false").await.unwrap();
    assert_eq!((empty.num_rows(), empty.num_columns()), (0, 1));
    refused(query(&mut client, "selec 1").await, "Line: 1, Column: 1");
    refused(query(&mut client, "select * from missing").await, "there is no dataset missing");

    let statement = CommandStatementQuery { query: "select 2 as b".to_owned(), transaction_id: None };
    let mut raw = raw(&server).await;
    let schema = raw.get_schema(command(&statement)).await.unwrap().into_inner();
    let schema = Schema::try_from(&SchemaResult { schema: schema.schema }).unwrap();
    assert_eq!(schema.field(0).name(), "b");
    // Tickets that a client makes up itself.
    for ticket in
        [statement.as_any(), TicketStatementQuery { statement_handle: "select 2 as b".into() }.as_any()]
    {
        let mut stream = client.do_get(Ticket::new(ticket.encode_to_vec())).await.unwrap();
        assert_eq!(number(&stream.try_next().await.unwrap().unwrap()), 2);
    }
}

#[tokio::test]
async fn changes_run_once_by_either_route_and_replay_their_count() {
    let server = Server::start();
    let mut client = sql(&server).await;
    assert_eq!(
        update(&mut client, "create table a as select * from (values (1), (2)) t(x)").await.unwrap(),
        2
    );
    let info = client.execute("create table b as select * from a".to_owned(), None).await.unwrap();
    // It ran before anything was fetched, and fetching twice gives the count twice.
    assert_eq!(number(&query(&mut client, "select count(*) from b").await.unwrap()), 2);
    for _ in 0..2 {
        assert_eq!(number(&fetch(&mut client, info.clone()).await.unwrap()), 2);
    }
    refused(update(&mut client, "create table b as select 1").await, "exists");
    assert_eq!(update(&mut client, "create table if not exists b as select 1").await.unwrap(), 0);
    assert_eq!(update(&mut client, "create or replace table b as select 7 as x").await.unwrap(), 1);
    update(&mut client, "alter table b rename to c").await.unwrap();
    update(&mut client, "truncate table c").await.unwrap();
    let rows = query(&mut client, "select * from c").await.unwrap();
    assert_eq!((rows.num_rows(), rows.schema().field(0).name().as_str()), (0, "x"));
    update(&mut client, "drop table c").await.unwrap();
    update(&mut client, "drop table if exists c").await.unwrap();
    refused(update(&mut client, "drop table c").await, "there is no dataset c");
    update(&mut client, "create table d (id bigint not null, name varchar, price decimal(10, 2))")
        .await
        .unwrap();
    let rows = query(&mut client, "select * from d").await.unwrap();
    assert_eq!(rows.schema().field(2).data_type(), &DataType::Decimal128(10, 2));
    assert!(!rows.schema().field(0).is_nullable());
    assert_eq!(update(&mut client, "insert into d values (1, 'x', 1), (2, 'y', null)").await.unwrap(), 2);
    assert_eq!(update(&mut client, "update d set price = 2 where id = 2").await.unwrap(), 1);
    assert_eq!(update(&mut client, "delete from d where price = 1").await.unwrap(), 1);
    assert_eq!(number(&query(&mut client, "select sum(id) from d where price = 2").await.unwrap()), 2);
    refused(update(&mut client, "create table e (id bigint primary key)").await, "not supported");
    refused(update(&mut client, "select 1").await, "is a query");
}

#[tokio::test]
async fn schemas_views_and_registrations_are_sql_too() {
    let server = Server::start();
    let mut client = sql(&server).await;
    update(&mut client, "create schema fin").await.unwrap();
    refused(update(&mut client, "create schema fin").await, "exists");
    update(&mut client, "create schema if not exists fin").await.unwrap();
    update(&mut client, "create table fin.orders as select 1 as id, 10 as price").await.unwrap();
    update(&mut client, "create view fin.cheap as select id from fin.orders where price < 20").await.unwrap();
    update(&mut client, "create view again (renamed) as select * from fin.cheap").await.unwrap();
    let rows = query(&mut client, "select renamed from again").await.unwrap();
    assert_eq!(number(&rows), 1);
    refused(update(&mut client, "create view again as select 1").await, "exists");
    refused(update(&mut client, "create table again as select 1").await, "is a view");
    refused(update(&mut client, "drop table again").await, "is a view");
    // A view is read under its name by plain Flight too.
    let mut flight = server.client().await;
    assert_eq!(crate::harness::count(&mut flight, "again").await.unwrap(), 1);
    assert!(crate::harness::names(&mut flight, "").await.iter().all(|name| name != "again"));
    // A view that comes to be built on itself says so.
    update(&mut client, "create view loop1 as select 1 as a").await.unwrap();
    update(&mut client, "create view loop2 as select * from loop1").await.unwrap();
    update(&mut client, "create or replace view loop1 as select 2 as a").await.unwrap();
    std::fs::write(server.root().join("loop1.view.json"), r#"{"sql": "select * from loop2"}"#).unwrap();
    refused(query(&mut client, "select * from loop2").await, "built on itself");
    refused(update(&mut client, "drop schema fin").await, "is not empty");
    update(&mut client, "drop schema fin cascade").await.unwrap();
    refused(query(&mut client, "select * from again").await, "there is no schema fin");
    update(&mut client, "drop view again").await.unwrap();
    refused(update(&mut client, "drop view again").await, "there is no view");
    update(&mut client, "drop view if exists again").await.unwrap();

    put(&mut flight, "source", vec![batch(1, 3)]).await.unwrap();
    update(&mut client, "create external table reg stored as parquet location 'source.parquet'")
        .await
        .unwrap();
    assert_eq!(number(&query(&mut client, "select count(*) from reg").await.unwrap()), 3);
    refused(
        update(&mut client, "create external table out stored as parquet location '/etc/passwd'").await,
        "register-from",
    );
    refused(
        update(&mut client, "create external table csv stored as csv location 'source.parquet'").await,
        "PARQUET",
    );
}

#[tokio::test]
async fn prepared_statements_are_bound_run_again_and_closed() {
    let server = Server::start();
    let mut client = sql(&server).await;
    update(&mut client, "create table t as select * from (values (1, 'a'), (2, 'b'), (3, 'c')) t(id, name)")
        .await
        .unwrap();
    let mut statement = client.prepare("select name from t where id = ?".to_owned(), None).await.unwrap();
    assert_eq!(statement.parameter_schema().unwrap().field(0).name(), "$1");
    assert_eq!(statement.parameter_schema().unwrap().field(0).data_type(), &DataType::Int64);
    assert_eq!(statement.dataset_schema().unwrap().field(0).name(), "name");
    let ids = |ids: Vec<i64>| {
        RecordBatch::try_from_iter([("$1", Arc::new(Int64Array::from(ids)) as ArrayRef)]).unwrap()
    };
    for (bound, expected) in [(vec![2], vec!["b"]), (vec![3, 1], vec!["c", "a"]), (vec![], vec![])] {
        statement.set_parameters(ids(bound)).unwrap();
        let info = statement.execute().await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), "name"), expected);
    }
    // A text is read as what the statement asks for.
    let text = RecordBatch::try_from_iter([("0", Arc::new(StringArray::from(vec!["1"])) as ArrayRef)]);
    statement.set_parameters(text.unwrap()).unwrap();
    let info = statement.execute().await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), "name"), ["a"]);
    statement.close().await.unwrap();

    let mut change = client.prepare("create table made as select 1 as a".to_owned(), None).await.unwrap();
    assert!(change.dataset_schema().unwrap().fields().is_empty());
    assert_eq!(change.execute_update().await.unwrap(), 1);
    refused(change.execute_update().await, "exists");
    refused(client.prepare("select * from missing".to_owned(), None).await.map(|_| ()), "missing");
}

/// One action with a Flight SQL body.
async fn act(
    client: &mut FlightServiceClient<Channel>,
    name: &str,
    body: impl Into<Bytes>,
) -> Result<Vec<Bytes>, Status> {
    let results = client.do_action(Action::new(name, body)).await?.into_inner();
    results.map_ok(|result| result.body).try_collect().await
}

#[tokio::test]
async fn a_handle_is_ascii_and_dies_when_it_is_closed() {
    let server = Server::start();
    let mut client = raw(&server).await;
    let request =
        ActionCreatePreparedStatementRequest { query: "select 1 as a".into(), transaction_id: None };
    let answers =
        act(&mut client, "CreatePreparedStatement", request.as_any().encode_to_vec()).await.unwrap();
    let any = Any::decode(answers[0].clone()).unwrap();
    assert!(any.type_url.ends_with(".ActionCreatePreparedStatementResult"));
    // Field 4, which arrow-flight's message does not know, says that it is no update.
    assert!(any.value.ends_with(&[0x20, 0x00]));
    let prepared: arrow_flight::sql::ActionCreatePreparedStatementResult = any.unpack().unwrap().unwrap();
    let handle = prepared.prepared_statement_handle;
    assert!(handle.is_ascii());
    let run = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    client.get_flight_info(command(&run)).await.unwrap();
    client.get_schema(command(&run)).await.unwrap();
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
    for _ in 0..2 {
        let closed = act(&mut client, "ClosePreparedStatement", close.as_any().encode_to_vec()).await;
        assert!(closed.unwrap().is_empty());
    }
    let gone = client.get_flight_info(command(&run)).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    assert!(gone.message().contains("prepare it again"));
}

/// Some clients read the answer before they end their stream.
#[tokio::test]
async fn an_update_is_answered_before_its_stream_ends() {
    let server = Server::start();
    let mut client = raw(&server).await;
    let update =
        CommandStatementUpdate { query: "create table t as select 1 as a".into(), transaction_id: None };
    let first = FlightData { flight_descriptor: Some(command(&update)), ..FlightData::default() };
    let endless = futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
    let mut answers = client.do_put(endless).await.unwrap().into_inner();
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(DoPutUpdateResult::decode(answer.app_metadata).unwrap().record_count, 1);

    let request = ActionCreatePreparedStatementRequest {
        query: "create table u as select 1 as a".into(),
        transaction_id: None,
    };
    let answers =
        act(&mut client, "CreatePreparedStatement", request.as_any().encode_to_vec()).await.unwrap();
    let prepared: arrow_flight::sql::ActionCreatePreparedStatementResult =
        Any::decode(answers[0].clone()).unwrap().unpack().unwrap().unwrap();
    let run =
        CommandPreparedStatementUpdate { prepared_statement_handle: prepared.prepared_statement_handle };
    let first = FlightData { flight_descriptor: Some(command(&run)), ..FlightData::default() };
    let endless = futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
    let mut answers = client.do_put(endless).await.unwrap().into_inner();
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(DoPutUpdateResult::decode(answer.app_metadata).unwrap().record_count, 1);
}

fn ingest(table: &str, missing: TableNotExistOption, exists: TableExistsOption) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: missing.into(),
            if_exists: exists.into(),
        }),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: HashMap::new(),
    }
}

async fn send(
    client: &mut Sql,
    command: CommandStatementIngest,
    batches: Vec<RecordBatch>,
) -> Result<i64, FlightError> {
    client.execute_ingest(command, futures::stream::iter(batches.into_iter().map(Ok))).await
}

#[tokio::test]
async fn ingest_creates_replaces_and_says_why_not() {
    use TableExistsOption::{Append, Fail, Replace};
    use TableNotExistOption::{Create, Fail as MustExist};
    let server = Server::start();
    let mut client = sql(&server).await;
    assert_eq!(send(&mut client, ingest("t", Create, Fail), vec![batch(1, 5)]).await.unwrap(), 5);
    refused(send(&mut client, ingest("t", Create, Fail), vec![batch(2, 6)]).await, "exists");
    assert_eq!(send(&mut client, ingest("t", MustExist, Append), vec![batch(2, 6)]).await.unwrap(), 6);
    assert_eq!(number(&query(&mut client, "select count(*) from t").await.unwrap()), 11);
    refused(
        send(&mut client, ingest("u", MustExist, Append), vec![batch(2, 6)]).await,
        "there is no table u",
    );
    assert_eq!(send(&mut client, ingest("t", Create, Replace), vec![batch(2, 6)]).await.unwrap(), 6);
    assert_eq!(number(&query(&mut client, "select count(*) from t where v = 2").await.unwrap()), 6);
    let elsewhere = CommandStatementIngest { catalog: Some("other".into()), ..ingest("t", Create, Replace) };
    refused(send(&mut client, elsewhere, vec![batch(2, 6)]).await, "there is no catalog other");

    // A temporary table is its connection's own, hides a dataset, and leaves nothing behind.
    let temporary = CommandStatementIngest { temporary: true, ..ingest("t", Create, Fail) };
    send(&mut client, temporary.clone(), vec![batch(3, 2)]).await.unwrap();
    refused(send(&mut client, temporary.clone(), vec![batch(3, 2)]).await, "exists");
    assert_eq!(number(&query(&mut client, "select count(*) from t").await.unwrap()), 2);
    let more = CommandStatementIngest { temporary: true, ..ingest("t", Create, Append) };
    assert_eq!(send(&mut client, more, vec![batch(4, 3)]).await.unwrap(), 3);
    assert_eq!(number(&query(&mut client, "select count(*) from t").await.unwrap()), 5);
    let mut other = sql(&server).await;
    assert_eq!(number(&query(&mut other, "select count(*) from t").await.unwrap()), 6);
    update(&mut client, "drop table t").await.unwrap();
    assert_eq!(number(&query(&mut client, "select count(*) from t").await.unwrap()), 6);
    assert_eq!(server.staged(), 0);
}

#[tokio::test]
async fn metadata_commands_answer_as_the_specification_says() {
    let server = Server::start();
    let mut client = sql(&server).await;
    update(&mut client, "create schema fin").await.unwrap();
    update(&mut client, "create table fin.orders as select 1 as id, cast(2.5 as decimal(10, 2)) as price")
        .await
        .unwrap();
    update(&mut client, "create view v as select 1 as one").await.unwrap();
    update(&mut client, "create temporary table mine as select 1 as a").await.unwrap();

    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), "catalog_name"), ["airstrip"]);
    let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(all).await.unwrap();
    let schemas = texts(&fetch(&mut client, info).await.unwrap(), "db_schema_name");
    assert_eq!(schemas, ["fin", "information_schema", "public", "system"]);
    let some =
        CommandGetDbSchemas { catalog: Some("airstrip".into()), db_schema_filter_pattern: Some("f%".into()) };
    let info = client.get_db_schemas(some).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 1);

    let tables = |schema: &str, types: &[&str], include_schema| CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: (!schema.is_empty()).then(|| schema.to_owned()),
        table_name_filter_pattern: None,
        table_types: types.iter().map(ToString::to_string).collect(),
        include_schema,
    };
    for (schema, types, expected) in [
        ("fin", &[][..], vec!["orders"]),
        ("public", &[], vec!["mine", "v"]),
        ("", &["BASE TABLE"], vec!["orders"]),
        ("", &["view"], vec!["v"]),
        ("", &["LOCAL TEMPORARY"], vec!["mine"]),
        ("", &["SYNONYM"], vec![]),
        ("system", &["SYSTEM TABLE"], vec!["queries", "sessions", "trash"]),
    ] {
        let info = client.get_tables(tables(schema, types, false)).await.unwrap();
        let found = fetch(&mut client, info).await.unwrap();
        assert_eq!(texts(&found, "table_name"), expected, "{schema} {types:?}");
    }
    let info = client.get_tables(tables("fin", &[], true)).await.unwrap();
    let found = fetch(&mut client, info).await.unwrap();
    let encoded = found.column_by_name("table_schema").unwrap().as_binary::<i32>().value(0);
    let columns = Schema::try_from(&SchemaResult { schema: encoded.to_vec().into() }).unwrap();
    let price = columns.field_with_name("price").unwrap();
    assert_eq!(price.metadata().get("ARROW:FLIGHT:SQL:TYPE_NAME").unwrap(), "DECIMAL");
    assert_eq!(price.metadata().get("ARROW:FLIGHT:SQL:PRECISION").unwrap(), "10");

    let info = client.get_table_types().await.unwrap();
    let types = texts(&fetch(&mut client, info).await.unwrap(), "table_type");
    assert_eq!(types, ["LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW"]);
    let info =
        client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::SqlIdentifierCase]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 2);
    let info = client.get_sql_info(vec![]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 91);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: Some(12) }).await.unwrap();
    let varchar = fetch(&mut client, info).await.unwrap();
    assert_eq!(texts(&varchar, "type_name"), ["VARCHAR"]);
    assert_eq!(varchar.column_by_name("data_type").unwrap().as_primitive::<Int32Type>().value(0), 12);
}

#[tokio::test]
async fn keys_are_asked_for_and_there_are_none() {
    let server = Server::start();
    let mut client = sql(&server).await;
    let table = || "orders".to_owned();
    let primary = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table() };
    let info = client.get_primary_keys(primary).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_columns(), 6);
    let exported = CommandGetExportedKeys { catalog: None, db_schema: None, table: table() };
    let imported = CommandGetImportedKeys { catalog: None, db_schema: None, table: table() };
    let cross = CommandGetCrossReference { pk_table: table(), fk_table: table(), ..Default::default() };
    for info in [
        client.get_exported_keys(exported).await.unwrap(),
        client.get_imported_keys(imported).await.unwrap(),
        client.get_cross_reference(cross).await.unwrap(),
    ] {
        assert_eq!(fetch(&mut client, info).await.unwrap().num_columns(), 13);
    }
    // The schema of an answer is known without the answer.
    let schema = raw(&server).await.get_schema(command(&CommandGetCatalogs {})).await.unwrap().into_inner();
    let schema = Schema::try_from(&SchemaResult { schema: schema.schema }).unwrap();
    assert_eq!(schema.fields()[..], [Arc::new(Field::new("catalog_name", DataType::Utf8, false))]);
}

#[tokio::test]
async fn a_damaged_dataset_does_not_break_the_metadata_of_others() {
    let server = Server::start();
    let mut client = sql(&server).await;
    update(&mut client, "create table good as select 1 as a").await.unwrap();
    std::fs::write(server.root().join("bad.parquet"), "no parquet").unwrap();
    std::fs::write(server.root().join("odd.view.json"), "{").unwrap();
    std::fs::write(server.root().join("lost.view.json"), r#"{"sql": "select * from nowhere"}"#).unwrap();
    let all = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: Some("public".into()),
        table_name_filter_pattern: None,
        table_types: vec![],
        include_schema: true,
    };
    let info = client.get_tables(all).await.unwrap();
    assert_eq!(texts(&fetch(&mut client, info).await.unwrap(), "table_name"), ["good"]);
    assert_eq!(number(&query(&mut client, "select count(*) from good").await.unwrap()), 1);
    refused(query(&mut client, "select * from odd").await, "damaged");
}

#[tokio::test]
async fn options_are_a_sessions_own() {
    let server = Server::start();
    let (mut one, mut other) = (sql(&server).await, sql(&server).await);
    update(&mut one, "create schema fin").await.unwrap();
    update(&mut one, "set schema = 'fin'").await.unwrap();
    update(&mut one, "set time_zone = 'Europe/Berlin'").await.unwrap();
    update(&mut one, "set datafusion.execution.batch_size = 100").await.unwrap();
    update(&mut one, "create table here as select 1 as a").await.unwrap();
    assert!(server.root().join("fin.db/here.parquet").exists());
    assert_eq!(texts(&query(&mut one, "show schema").await.unwrap(), "value"), ["fin"]);
    assert_eq!(texts(&query(&mut one, "show time_zone").await.unwrap(), "value"), ["Europe/Berlin"]);
    assert_eq!(
        texts(&query(&mut one, "show datafusion.execution.batch_size").await.unwrap(), "value"),
        ["100"]
    );
    assert_eq!(texts(&query(&mut other, "show schema").await.unwrap(), "value"), ["public"]);
    refused(query(&mut other, "select * from here").await, "there is no dataset here");
    update(&mut one, "use public").await.unwrap();
    refused(query(&mut one, "select * from here").await, "there is no dataset here");
    update(&mut one, "reset time_zone").await.unwrap();
    assert_eq!(texts(&query(&mut one, "show time_zone").await.unwrap(), "value"), ["UTC"]);
    refused(update(&mut one, "use nowhere").await, "there is no schema nowhere");
    for bad in ["set nonsense = 1", "set time_zone = 'Moon/Base'", "set datafusion.catalog.location = '/etc'"]
    {
        assert!(update(&mut one, bad).await.is_err(), "{bad}");
    }
    // By user: the token of a handshake is one session, wherever it comes from.
    one.handshake("ann", "secret").await.unwrap();
    update(&mut one, "set schema = 'fin'").await.unwrap();
    other.set_token(one.token().unwrap().clone());
    assert_eq!(texts(&query(&mut other, "show schema").await.unwrap(), "value"), ["fin"]);
    let users = query(&mut other, "select \"user\" from system.sessions order by 1").await.unwrap();
    assert_eq!(texts(&users, "user"), ["ann", "anonymous"]);
}

#[tokio::test]
async fn a_query_can_be_stopped_before_and_while_it_runs() {
    let server = Server::start();
    let mut client = sql(&server).await;
    let long = "select count(*) from generate_series(1, 100000) a cross join generate_series(1, 10000000) b \
                where a.value + b.value < 0";
    let info = client.execute(long.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let running = tokio::spawn({
        let mut client = sql(&server).await;
        async move { client.do_get(ticket).await?.try_next().await }
    });
    let mut looking = sql(&server).await;
    let start = Instant::now();
    loop {
        let states = query(
            &mut looking,
            "select state from system.queries where sql like 'select count%' and state = 'running'",
        )
        .await
        .unwrap();
        if states.num_rows() == 1 {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
    }
    let mut raw = raw(&server).await;
    let request = CancelFlightInfoRequest { info: Some(info.clone()) };
    let answer = act(&mut raw, "CancelFlightInfo", request.encode_to_vec()).await.unwrap();
    let status = CancelFlightInfoResult::decode(answer[0].clone()).unwrap().status();
    assert_eq!(status, CancelStatus::Cancelled);
    let stopped = tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    refused(stopped, "cancelled");
    // And it does not come back.
    let again = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await;
    refused(again.map(|_| ()), "cancelled");

    // By id, as an operator does.
    let info = client.execute(long.to_owned(), None).await.unwrap();
    let running = tokio::spawn({
        let mut client = sql(&server).await;
        async move {
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            client.do_get(ticket).await?.try_next().await
        }
    });
    let id = loop {
        let ids = query(
            &mut looking,
            "select id from system.queries where sql like 'select count%' and state = 'running'",
        )
        .await
        .unwrap();
        if ids.num_rows() == 1 {
            break texts(&ids, "id")[0].clone();
        }
        assert!(start.elapsed() < PATIENCE);
    };
    let answer = crate::harness::act(&mut server.client().await, "cancel_query", id).await.unwrap();
    assert_eq!(answer["cancelled"], true);
    assert!(tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().is_err());
    let states =
        query(&mut looking, "select state from system.queries where sql like 'select count%' limit 1").await;
    assert_eq!(texts(&states.unwrap(), "state"), ["cancelled"]);
}

#[tokio::test]
async fn tickets_expire_and_can_be_renewed() {
    let server = Server::with_args(&["--ticket-lifetime", "1s"]);
    let mut client = sql(&server).await;
    let info = client.execute("select 1 as a".to_owned(), None).await.unwrap();
    let endpoint = info.endpoint[0].clone();
    assert!(endpoint.expiration_time.is_some());
    tokio::time::sleep(Duration::from_millis(2100)).await;
    refused(fetch(&mut client, info.clone()).await, "expired");
    let request = RenewFlightEndpointRequest { endpoint: Some(endpoint.clone()) };
    let answer = act(&mut raw(&server).await, "RenewFlightEndpoint", request.encode_to_vec()).await.unwrap();
    let renewed = FlightEndpoint::decode(answer[0].clone()).unwrap();
    assert!(renewed.expiration_time.unwrap().seconds > endpoint.expiration_time.unwrap().seconds);
    let info = FlightInfo { endpoint: vec![renewed], ..info };
    assert_eq!(number(&fetch(&mut client, info).await.unwrap()), 1);
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let server = Server::start();
    let mut client = raw(&server).await;
    let begin = ActionBeginTransactionRequest {}.as_any().encode_to_vec();
    let refused = act(&mut client, "BeginTransaction", begin).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("each statement"), "{refused}");
    let unknown = Any {
        type_url: "type.googleapis.com/arrow.flight.protocol.sql.CommandNew".into(),
        value: Bytes::new(),
    };
    let unknown = FlightDescriptor::new_cmd(unknown.encode_to_vec());
    assert_eq!(client.get_flight_info(unknown).await.unwrap_err().code(), Code::Unimplemented);
    let damaged =
        Any { type_url: CommandStatementQuery::type_url().into(), value: Bytes::from_static(&[0xff]) };
    let damaged = FlightDescriptor::new_cmd(damaged.encode_to_vec());
    assert_eq!(client.get_flight_info(damaged).await.unwrap_err().code(), Code::InvalidArgument);
    let listed: Vec<_> = client
        .list_actions(Empty {})
        .await
        .unwrap()
        .into_inner()
        .map_ok(|action| action.r#type)
        .try_collect()
        .await
        .unwrap();
    for name in
        ["CreatePreparedStatement", "CancelFlightInfo", "SetSessionOptions", "drop_dataset", "cancel_query"]
    {
        assert!(listed.iter().any(|listed| listed == name), "{name}");
    }
    // Each listed action is known: an empty body is refused for what it is, or answered.
    for name in listed {
        if let Err(status) = act(&mut client, &name, Bytes::new()).await {
            assert!(!status.message().contains("there is no action"), "{name}: {status}");
        }
    }
}

/// A Substrait plan of `text`, made where there is a table of that name and shape.
async fn substrait(text: &str) -> Bytes {
    let context = datafusion::prelude::SessionContext::new();
    context.register_batch("t", batch(1, 1)).unwrap();
    let state = context.state();
    let plan = state.create_logical_plan(text).await.unwrap();
    let plan = datafusion_substrait::logical_plan::producer::to_substrait_plan(&plan, &state).unwrap();
    plan.encode_to_vec().into()
}

#[tokio::test]
async fn substrait_plans_run_like_sql() {
    let server = Server::start();
    put(&mut server.client().await, "t", vec![batch(1, 10)]).await.unwrap();
    let mut client = sql(&server).await;
    let mut flight = raw(&server).await;
    let encoded = substrait("select n + 1 as m, s from t where n >= 8 order by n desc").await;
    let plan = |plan: Bytes| Some(SubstraitPlan { plan, version: "0.63.0".to_owned() });
    let statement = CommandStatementSubstraitPlan { plan: plan(encoded.clone()), transaction_id: None };
    let info = flight.get_flight_info(command(&statement)).await.unwrap().into_inner();
    let rows = fetch(&mut client, info).await.unwrap();
    assert_eq!(rows.column_by_name("m").unwrap().as_primitive::<Int64Type>().values()[..], [10, 9]);
    assert_eq!(texts(&rows, "s"), ["row 9", "row 8"]);
    flight.get_schema(command(&statement)).await.unwrap();

    let request =
        ActionCreatePreparedSubstraitPlanRequest { plan: plan(encoded.clone()), transaction_id: None };
    let body = request.as_any().encode_to_vec();
    let answers = act(&mut flight, "CreatePreparedSubstraitPlan", body).await.unwrap();
    let prepared: arrow_flight::sql::ActionCreatePreparedStatementResult =
        Any::decode(answers[0].clone()).unwrap().unpack().unwrap().unwrap();
    let run = CommandPreparedStatementQuery { prepared_statement_handle: prepared.prepared_statement_handle };
    let info = flight.get_flight_info(command(&run)).await.unwrap().into_inner();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 2);

    // Damage is the client's error, and nobody else's.
    let missing = substrait("select * from t").await;
    crate::harness::act(&mut server.client().await, "drop_dataset", "t").await.unwrap();
    let lost = CommandStatementSubstraitPlan { plan: plan(missing), transaction_id: None };
    let status = flight.get_flight_info(command(&lost)).await.unwrap_err();
    assert!(matches!(status.code(), Code::NotFound | Code::InvalidArgument), "{status}");
    for index in 0..encoded.len() {
        let mut damaged = encoded.to_vec();
        damaged[index] ^= 0x15;
        let damaged = CommandStatementSubstraitPlan { plan: plan(damaged.into()), transaction_id: None };
        if let Err(status) = flight.get_flight_info(command(&damaged)).await {
            assert_ne!(status.code(), Code::Internal, "byte {index}: {status}");
        }
    }
}

/// A Substrait plan of a set operation of the rows of `inputs`.
async fn set_operation(op: SetOp, inputs: &[&str]) -> Bytes {
    let mut plans = Vec::new();
    for text in inputs {
        plans.push(Plan::decode(substrait(text).await).unwrap());
    }
    let mut whole = plans[0].clone();
    let roots = plans.into_iter().map(|plan| match plan.relations.into_iter().next().unwrap().rel_type {
        Some(plan_rel::RelType::Root(root)) => root,
        other => panic!("{other:?}"),
    });
    let mut roots: Vec<_> = roots.collect();
    let inputs = roots.iter_mut().map(|root| root.input.take().unwrap()).collect();
    let set = SetRel { op: op.into(), inputs, ..SetRel::default() };
    let rel = Rel { rel_type: Some(rel::RelType::Set(set)) };
    let root = RelRoot { input: Some(rel), names: roots[0].names.clone() };
    whole.relations = vec![PlanRel { rel_type: Some(plan_rel::RelType::Root(root)) }];
    whole.encode_to_vec().into()
}

#[tokio::test]
async fn set_operations_of_substrait_count_equal_rows() {
    let server = Server::start();
    put(&mut server.client().await, "t", vec![batch(1, 10)]).await.unwrap();
    let mut client = sql(&server).await;
    let mut flight = raw(&server).await;
    let (low, few) = ("select n from t where n < 4", "select n from t where n < 2");
    let twice = "select n from t where n < 4 union all select n from t where n < 4";
    for (op, inputs, expected) in [
        (SetOp::MinusPrimaryAll, vec![twice, low], vec![0, 1, 2, 3]),
        (SetOp::MinusPrimaryAll, vec![twice, low, low], vec![]),
        (SetOp::MinusPrimaryAll, vec![twice, few], vec![0, 1, 2, 2, 3, 3]),
        (SetOp::IntersectionMultisetAll, vec![twice, few], vec![0, 1]),
        (SetOp::IntersectionMultisetAll, vec![twice, twice], vec![0, 0, 1, 1, 2, 2, 3, 3]),
        (SetOp::MinusPrimary, vec![twice, few], vec![2, 3]),
    ] {
        let plan =
            Some(SubstraitPlan { plan: set_operation(op, &inputs).await, version: "0.63.0".to_owned() });
        let statement = CommandStatementSubstraitPlan { plan, transaction_id: None };
        let info = flight.get_flight_info(command(&statement)).await.unwrap().into_inner();
        let rows = fetch(&mut client, info).await.unwrap();
        let mut found = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        found.sort_unstable();
        assert_eq!(found, expected, "{op:?} {inputs:?}");
    }
}

#[tokio::test]
async fn bodies_are_compressed_where_the_client_asks_for_it() {
    let server = Server::start();
    let mut client = server.client().await;
    put(&mut client, "t", vec![batch(1, 10_000)]).await.unwrap();
    let mut sizes = Vec::new();
    for compression in ["none", "lz4", "zstd"] {
        let mut client = server.client().await;
        client.add_header("x-airstrip-compression", compression).unwrap();
        for ticket in ["t", "select * from t"] {
            let mut stream = client.do_get(Ticket::new(ticket)).await.unwrap().into_inner();
            let mut bytes = 0;
            while let Some(message) = stream.try_next().await.unwrap() {
                bytes += message.inner.data_body.len();
            }
            sizes.push(bytes);
            assert_eq!(crate::harness::count(&mut client, ticket).await.unwrap(), 10_000);
        }
    }
    assert!(sizes[..2].iter().all(|plain| *plain > 250_000), "{sizes:?}");
    assert!(sizes[2..].iter().all(|compressed| *compressed < 150_000), "{sizes:?}");
    client.add_header("x-airstrip-compression", "gzip").unwrap();
    let refused = client.do_get(Ticket::new("t")).await.map(|_| ());
    crate::harness::assert_error(refused, Code::InvalidArgument, "none, lz4 or zstd");
}

/// Sessions and statements that are never closed do not pile up.
#[tokio::test]
async fn nothing_grows_without_bound() {
    let server = Server::with_args(&["--max-sessions", "50", "--statement-memory", "1MiB"]);
    update(&mut sql(&server).await, "create schema fin").await.unwrap();
    let client = raw(&server).await;
    let rss = || memory_kib(server.pid(), "VmRSS");
    let body = ActionCreatePreparedStatementRequest { query: "select 1".into(), transaction_id: None };
    let body = body.as_any().encode_to_vec();
    let mut middle = 0;
    for round in 0..100 {
        if round == 50 {
            middle = rss();
        }
        let clients = (0..100).map(|client_of_round| {
            let (mut client, body) = (client.clone(), body.clone());
            async move {
                let with_cookie = |action| {
                    let mut request = Request::new(action);
                    let cookie = format!("arrow_flight_session_id={round}-{client_of_round}");
                    request.metadata_mut().insert("cookie", cookie.parse().unwrap());
                    request
                };
                let prepare = Action::new("CreatePreparedStatement", body);
                for action in [prepare, Action::new("SetSessionOptions", set_schema("fin"))] {
                    let answers = client.do_action(with_cookie(action)).await.unwrap().into_inner();
                    assert_eq!(answers.try_collect::<Vec<_>>().await.unwrap().len(), 1);
                }
            }
        });
        futures::future::join_all(clients).await;
    }
    let mut looking = sql(&server).await;
    let sessions = number(&query(&mut looking, "select count(*) from system.sessions").await.unwrap());
    assert!(sessions <= 100, "{sessions} sessions are left");
    let grown = rss().saturating_sub(middle);
    assert!(grown < 20 << 10, "{grown} KiB more for the second half of the requests");
}

/// SetSessionOptionsRequest {schema: …}, written out: arrow-flight does not have the message.
fn set_schema(schema: &str) -> Vec<u8> {
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let value = field(1, schema.as_bytes());
    field(1, &[field(1, b"schema"), field(2, &value)].concat())
}

#[tokio::test]
async fn an_insert_takes_any_number_of_bound_rows_in_one_version() {
    const ROWS: i64 = 50_000;
    let server = Server::start();
    let mut client = sql(&server).await;
    update(&mut client, "create table t (id bigint, s varchar, d date, n decimal(9, 2))").await.unwrap();
    let rows = |from: i64, to: i64, bad: Option<i64>| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        let text = |row: i64| (row % 3 > 0).then(|| format!("a text that is not short, of row {row}"));
        let texts: ArrayRef = Arc::new((from..to).map(text).collect::<StringArray>());
        // A text is read as what the table has.
        let date = |row: i64| if bad == Some(row) { "soon".to_owned() } else { "2026-11-29".to_owned() };
        let dates: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(date)));
        let columns = [("0", ids), ("1", texts), ("2", dates)];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    };
    let text = "insert into t (id, s, d, n) values (?, ?, ?, 1.5)".to_owned();
    let mut insert = client.prepare(text, None).await.unwrap();
    let versions = || std::fs::read_dir(server.root().join("t/_delta_log")).unwrap().count();
    let before = versions();
    insert.set_parameters(rows(0, ROWS, None)).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), ROWS);
    assert_eq!(versions(), before + 1);
    let told =
        "select count(*), count(distinct id), count(s), min(d) = date '2026-11-29', sum(n) = 75000 from t";
    let told = query(&mut client, told).await.unwrap();
    let numbers = |column: usize| told.column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!([numbers(0), numbers(1), numbers(2)], [ROWS, ROWS, ROWS * 2 / 3]);
    assert!(told.column(3).as_boolean().value(0) && told.column(4).as_boolean().value(0));
    // One row that cannot be: nothing of all is stored.
    insert.set_parameters(rows(0, ROWS, Some(ROWS - 1))).unwrap();
    refused(insert.execute_update().await, "soon");
    insert.set_parameters(rows(0, 0, None)).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 0);
    assert_eq!(number(&query(&mut client, "select count(*) from t").await.unwrap()), ROWS);
    // Expressions, several uses of a parameter, a temporary table.
    update(&mut client, "create temporary table u (a bigint, b bigint, c varchar)").await.unwrap();
    let mut insert =
        client.prepare("insert into u values ($1, $1 * 2, concat($2, '!'))".to_owned(), None).await.unwrap();
    let pairs: [(&str, ArrayRef); 2] = [
        ("$2", Arc::new(StringArray::from_iter_values((0..3000).map(|row| row.to_string())))),
        ("$1", Arc::new(Int64Array::from_iter_values(0..3000))),
    ];
    insert.set_parameters(RecordBatch::try_from_iter(pairs).unwrap()).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3000);
    let right = "select count(*) from u where b = 2 * a and c = concat(cast(a as varchar), '!')";
    assert_eq!(number(&query(&mut client, right).await.unwrap()), 3000);
    // What is planned for each row has a limit.
    let mut each = client.prepare("insert into t select ?, s, d, n from t".to_owned(), None).await.unwrap();
    each.set_parameters(rows(0, 2000, None).project(&[0]).unwrap()).unwrap();
    refused(each.execute_update().await, "1000 rows");
}
