//! SQL logic tests: `tests/sqllogic/**/*.slt`, each statement sent as Flight SQL's clients send it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tonic::transport::Channel;

use crate::harness::{Server, command};

struct FlightSql {
    client: FlightSqlServiceClient<Channel>,
}

impl FlightSql {
    async fn query(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, FlightError> {
        let info = self.client.execute(sql.to_owned(), None).await?;
        let shown = info.clone().try_decode_schema()?;
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut stream = self.client.do_get(ticket).await?;
        let batches: Vec<RecordBatch> = (&mut stream).try_collect().await?;
        // One schema on every surface.
        assert_eq!(stream.schema().map(AsRef::as_ref), Some(&shown), "{sql}");
        let types = shown.fields().iter().map(|field| column_type(field.data_type())).collect();
        let rows = batches.iter().flat_map(rows).collect();
        Ok(DBOutput::Rows { types, rows })
    }
}

/// Whether a statement gives rows.
fn is_query(sql: &str) -> bool {
    let start = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(').to_lowercase();
    ["select", "with", "values", "show", "desc", "explain", "table"]
        .iter()
        .any(|opener| start.starts_with(opener))
}

#[async_trait::async_trait]
impl AsyncDB for FlightSql {
    type Error = FlightError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, FlightError> {
        if is_query(sql) {
            return self.query(sql).await;
        }
        let rows = self.client.execute_update(sql.to_owned(), None).await?;
        Ok(DBOutput::StatementComplete(u64::try_from(rows).unwrap()))
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "airstrip"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn run_command(command: std::process::Command) -> std::io::Result<std::process::Output> {
        let mut command = command;
        command.output()
    }
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        data_type if data_type.is_integer() => DefaultColumnType::Integer,
        data_type if data_type.is_numeric() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let cell = |column: usize, row: usize| {
        if batch.column(column).is_null(row) {
            return "NULL".to_owned();
        }
        let text = columns[column].value(row).to_string();
        if text.is_empty() { "(empty)".to_owned() } else { text }
    };
    (0..batch.num_rows()).map(|row| (0..columns.len()).map(|column| cell(column, row)).collect()).collect()
}

/// Cells are the same text, or the same number up to the digits that engines keep of an average.
fn same_cell(have: &str, want: &str) -> bool {
    if have == want {
        return true;
    }
    match (have.parse::<f64>(), want.parse::<f64>()) {
        (Ok(have), Ok(want)) => (have - want).abs() <= 1e-6_f64.max(want.abs() * 1e-6),
        _ => false,
    }
}

fn validate(_: sqllogictest::Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    actual.len() == expected.len()
        && actual.iter().zip(expected).all(|(row, line)| {
            let cells: Vec<&str> = line.split('\t').collect();
            row.len() == cells.len() && row.iter().zip(cells).all(|(have, want)| same_cell(have, want))
        })
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn folder(name: &str) -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sqllogic").join(name))
}

/// Fails with the first thing in the file that is not as expected.
async fn run(server: &Server, file: &Path) -> Result<(), String> {
    let connect = || async { Ok(FlightSql { client: FlightSqlServiceClient::new(server.channel().await) }) };
    let mut runner = Runner::new(connect);
    runner.with_validator(validate);
    runner.run_file_async(file).await.map_err(|error| format!("{}: {error}", file.display()))
}

#[tokio::test]
async fn tpch_gives_its_answers() {
    let root = tempfile::tempdir().unwrap();
    assert!(command().args(["demo", "--scale", "0.01"]).arg(root.path()).status().unwrap().success());
    let server = Server::on(root.path(), &[]);
    let files = folder("tpch");
    assert_eq!(files.len(), 22);
    for file in files {
        run(&server, &file).await.unwrap();
    }
}

#[tokio::test]
async fn sql_of_our_own() {
    let server = Server::start();
    let mut client = server.client().await;
    crate::harness::put(&mut client, "numbers", vec![crate::harness::batch(1, 5)]).await.unwrap();
    crate::harness::put(&mut client, "Mixed Case", vec![crate::harness::batch(2, 2)]).await.unwrap();
    for file in folder("store") {
        run(&server, &file).await.unwrap();
    }
}

/// Each file on a server of its own, so that it finds nothing that another one left.
#[tokio::test]
async fn the_dialect() {
    let files = folder("sql");
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for file in files {
        failures.extend(run(&Server::start(), &file).await.err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
