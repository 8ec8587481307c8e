//! What files tell of their values: queries rely on what all of a file tells, and on nothing that its writer is known
//! to get wrong.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::FlightClient;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;

use crate::harness::{Server, number};

const GROUP_ROWS: usize = 4;

/// Two row groups: `id` counts from 0, `s` is out of order, `n` is NULL in every other row.
fn rows() -> RecordBatch {
    let text = ["m", "n", "k", "l", "z", "a", "y", "b"];
    let numbers = (0..8_i64).map(|row| (row % 2 == 0).then_some(row * 10));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..8))),
        ("s", Arc::new(StringArray::from_iter_values(text))),
        ("n", Arc::new(numbers.collect::<Int64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
        .unwrap()
}

/// Writes [`rows`] as `writer` would, with what `change` makes of the statistics of a column in a row group.
fn write(path: &Path, writer: &str, change: impl Fn(usize, &str, Option<&Statistics>) -> Option<Statistics>) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_created_by(writer.to_owned())
        .build();
    let properties = Arc::new(properties);
    let rows = rows();
    let mut plain = Vec::new();
    let mut arrow =
        ArrowWriter::try_new(&mut plain, rows.schema(), Some(WriterProperties::clone(&properties))).unwrap();
    arrow.write(&rows).unwrap();
    arrow.close().unwrap();
    let plain = Bytes::from(plain);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&plain).unwrap();
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    let file = std::fs::File::create(path).unwrap();
    let mut changed = SerializedFileWriter::new(file, schema, properties).unwrap();
    for (place, group) in metadata.row_groups().iter().enumerate() {
        let mut next = changed.next_row_group().unwrap();
        for column in group.columns() {
            let name = column.column_path().string();
            let builder = ColumnChunkMetaData::clone(column).into_builder().clear_statistics();
            let builder = match change(place, &name, column.statistics()) {
                Some(statistics) => builder.set_statistics(statistics),
                None => builder,
            };
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap(),
                rows_written: u64::try_from(group.num_rows()).unwrap(),
                metadata: builder.build().unwrap(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            next.append_column(&plain, close).unwrap();
        }
        next.close().unwrap();
    }
    changed.close().unwrap();
}

/// Each query finds what is there, of a file that was never read and of one that was.
async fn find(client: &mut FlightClient, table: &str, expected: &[(&str, i64)]) {
    for (sql, found) in expected {
        let sql = sql.replace("{t}", table);
        for _ in 0..3 {
            assert_eq!(number(client, &sql).await, *found, "{sql}");
        }
    }
}

const OF_TEXT: [(&str, i64); 6] = [
    ("select count(*) from {t} where s = 'z'", 1),
    ("select count(*) from {t} where s < 'c'", 2),
    ("select id from {t} where s > 'y'", 4),
    ("select cast(ascii(min(s)) as bigint) from {t}", 97),
    ("select cast(ascii(max(s)) as bigint) from {t}", 122),
    ("select count(s) from {t}", 8),
];

const OF_NULLS: [(&str, i64); 5] = [
    ("select count(n) from {t}", 4),
    ("select count(*) from {t} where n is null", 4),
    ("select count(*) from {t} where n is not null", 4),
    ("select count(*) from {t} where not (n > 5)", 1),
    ("select max(n) from {t}", 60),
];

#[tokio::test]
async fn bounds_of_a_part_are_not_those_of_the_whole() {
    let server = Server::start();
    let mut client = server.client().await;
    let without = |group: usize, column: &str, statistics: Option<&Statistics>| {
        statistics.filter(|_| group == 0 || column != "s").cloned()
    };
    write(&server.root().join("t.parquet"), "some writer", without);
    // The same in two files.
    std::fs::create_dir(server.root().join("parts")).unwrap();
    write(&server.root().join("parts/0.parquet"), "some writer", |_, _, statistics| statistics.cloned());
    write(&server.root().join("parts/1.parquet"), "some writer", |_, _, _| None);
    find(&mut client, "t", &OF_TEXT).await;
    find(&mut client, "t", &OF_NULLS).await;
    let both = [("select count(*) from {t} where s = 'z'", 2), ("select count(n) from {t}", 8)];
    find(&mut client, "parts", &both).await;

    // Neither are they to other readers, which take them from the log: there the file has those of all columns or none.
    let mut sql = arrow_flight::sql::client::FlightSqlServiceClient::new(server.channel().await);
    assert_eq!(sql.execute_update("insert into t values (8, 'k', 1)".to_owned(), None).await.unwrap(), 1);
    let log = server.root().join("t/_delta_log");
    let commits = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let commits = commits.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let lines: Vec<String> = commits.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let told = lines.concat();
    let told = told.lines().find(|line| line.contains(r#"\"numRecords\":8"#)).unwrap();
    assert!(told.contains("nullCount") && !told.contains("minValues"), "{told}");
    find(&mut client, "t", &OF_TEXT[..5]).await;
    let deleted = sql.execute_update("delete from t where s > 'y'".to_owned(), None).await.unwrap();
    assert_eq!(deleted, 1);
}

#[tokio::test]
async fn bounds_of_bytes_in_the_order_of_old_are_none() {
    let server = Server::start();
    let mut client = server.client().await;
    // As if bytes were compared in some other way: all that is told is wrong.
    let old = |_: usize, column: &str, statistics: Option<&Statistics>| match column {
        "s" => {
            let bound = |text: &str| Some(ByteArray::from(text));
            Some(Statistics::byte_array(bound("n"), bound("o"), None, Some(0), true))
        }
        _ => statistics.cloned(),
    };
    write(&server.root().join("t.parquet"), "parquet-mr version 1.8.1", old);
    find(&mut client, "t", &OF_TEXT).await;
}

#[tokio::test]
async fn counts_of_nulls_are_relied_on_where_they_are_right() {
    let server = Server::start();
    let mut client = server.client().await;
    let counted = |nulls: fn(usize) -> Option<u64>| {
        move |group: usize, column: &str, statistics: Option<&Statistics>| match statistics {
            Some(Statistics::Int64(values)) if column == "n" => {
                let (min, max) = (values.min_opt().copied(), values.max_opt().copied());
                Some(Statistics::int64(min, max, None, nulls(group), false))
            }
            other => other.cloned(),
        }
    };
    // Of all row groups so far; of none.
    let added_up = counted(|group| Some(2 * (group as u64 + 1)));
    write(&server.root().join("added.parquet"), "DuckDB", added_up);
    write(&server.root().join("missing.parquet"), "some writer", counted(|_| None));
    for table in ["added", "missing"] {
        find(&mut client, table, &OF_NULLS).await;
    }
}
