//! Bloom filters: what is looked for and is there is found, and few row groups are read for it.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray, StringViewArray, UInt32Array,
    UInt64Array,
};
use arrow::util::display::array_value_to_string;
use arrow_flight::FlightClient;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::harness::{Server, get, number, put};

const ROWS: i64 = 60_000;
const GROUP_ROWS: &str = "6000";

/// A shuffle that always comes out the same: no two rows have the same.
fn scattered(row: i64) -> i64 {
    row.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed())
}

/// Keys of all types that filters are written for, in no order, and numbers of the rows.
fn keys() -> RecordBatch {
    let keys = || (0..ROWS).map(scattered);
    let short = || keys().map(|key| i32::try_from(key >> 32).unwrap());
    let texts = || keys().map(|key| format!("{key:016x}"));
    let views = keys().map(|key| (key % 7 != 0).then(|| format!("{key:016x}")));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("row", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        ("i32", Arc::new(Int32Array::from_iter_values(short()))),
        ("i64", Arc::new(Int64Array::from_iter_values(keys()))),
        ("u32", Arc::new(UInt32Array::from_iter_values(short().map(i32::cast_unsigned)))),
        ("u64", Arc::new(UInt64Array::from_iter_values(keys().map(i64::cast_unsigned)))),
        ("utf8", Arc::new(StringArray::from_iter_values(texts()))),
        ("large_utf8", Arc::new(LargeStringArray::from_iter_values(texts()))),
        ("view", Arc::new(views.collect::<StringViewArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
        .unwrap()
}

/// The same for types of bytes: together they would be more columns than have filters.
fn bytes() -> RecordBatch {
    let bytes = || (0..ROWS).map(|row| scattered(row).to_be_bytes());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("row", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        ("binary", Arc::new(BinaryArray::from_iter_values(bytes()))),
        ("large_binary", Arc::new(LargeBinaryArray::from_iter_values(bytes()))),
        ("binary_view", Arc::new(BinaryViewArray::from_iter_values(bytes()))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter(bytes()).unwrap())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The table as a plain dataset, and as a Delta table of two files.
async fn store(client: &mut FlightClient, name: &str, rows: &RecordBatch) -> [String; 2] {
    put(client, name, vec![rows.clone()]).await.unwrap();
    let delta = format!("{name}_delta");
    let half = rows.num_rows() / 2;
    for (mode, part) in [("replace", rows.slice(0, half)), ("append", rows.slice(half, half))] {
        client.metadata_mut().insert("x-airstrip-mode", mode.parse().unwrap());
        put(client, &delta, vec![part]).await.unwrap();
    }
    client.metadata_mut().remove("x-airstrip-mode");
    [name.to_owned(), delta]
}

/// A value as SQL has it.
fn literal(values: &ArrayRef, row: usize) -> String {
    let text = array_value_to_string(values, row).unwrap();
    match values.data_type() {
        number if number.is_integer() => text,
        binary if binary.is_binary() => format!("arrow_cast(X'{text}', '{binary}')"),
        _ => format!("'{text}'"),
    }
}

async fn rows_where(client: &mut FlightClient, table: &str, condition: impl Display) -> i64 {
    number(client, &format!("select count(*) from {table} where {condition}")).await
}

#[tokio::test]
async fn every_key_is_found_whatever_its_type() {
    let server = Server::with_args(&["--row-group-rows", GROUP_ROWS]);
    let mut client = server.client().await;
    for (name, rows) in [("k", keys()), ("b", bytes())] {
        for table in store(&mut client, name, &rows).await {
            for (field, values) in rows.schema().fields().iter().zip(rows.columns()).skip(1) {
                let column = field.name();
                for row in (1..rows.num_rows()).step_by(9_973).filter(|row| values.is_valid(*row)) {
                    let value = literal(values, row);
                    let sql = format!("select max(row) from {table} where {column} = {value}");
                    let found = number(&mut client, &sql).await;
                    assert_eq!(found, i64::try_from(row).unwrap(), "{table}: {column} = {value}");
                }
                let [first, last] = [1, rows.num_rows() - 1].map(|row| literal(values, row));
                let either = format!("{column} in ({first}, {last})");
                assert_eq!(rows_where(&mut client, &table, either).await, 2, "{table}: {column}");
                let others = format!("{column} <> {first}");
                let most = ROWS - i64::try_from(values.null_count()).unwrap() - 1;
                assert_eq!(rows_where(&mut client, &table, others).await, most, "{table}: {column}");
            }
        }
    }
}

#[tokio::test]
async fn row_groups_without_a_key_are_not_read() {
    let all = usize::try_from(ROWS).unwrap() / 6000;
    for (setting, expected) in [("auto", 1..=4), ("none", all..=all)] {
        let server = Server::with_args(&["--row-group-rows", GROUP_ROWS, "--bloom-filters", setting]);
        let mut client = server.client().await;
        let rows = keys();
        for table in store(&mut client, "k", &rows).await {
            // In Delta tables this type is stored as decimals, which are no keys.
            let columns = ["i32", "i64", "u32", "u64", "utf8", "large_utf8", "view"];
            for column in columns.into_iter().filter(|column| *column != "u64" || table == "k") {
                let value = literal(rows.column_by_name(column).unwrap(), 31_234);
                let plan = format!("explain analyze select row from {table} where {column} = {value}");
                let plan = get(&mut client, plan).await.unwrap();
                let plan = array_value_to_string(plan[0].column(1), 0).unwrap();
                let read = matched(&plan, "row_groups_pruned_bloom_filter=").unwrap();
                assert!(expected.contains(&read), "{table}: {column}: {read} row groups were left: {plan}");
            }
        }
    }
}

/// What is left after a metric of row groups: `10 total → 1 matched`.
fn matched(plan: &str, metric: &str) -> Option<usize> {
    let counts = plan.split_once(metric)?.1.split_once(" matched")?.0;
    counts.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn floats_that_are_equal_are_found_whatever_their_bits() {
    let server = Server::with_args(&["--row-group-rows", GROUP_ROWS]);
    let mut client = server.client().await;
    // One of these in each row group, among others.
    let special = [0.0, -0.0, f64::NAN, -f64::NAN];
    let floats = (0..ROWS).map(|row| match usize::try_from(row / 6000).unwrap() {
        group if row % 6000 == 0 => special[group % 4],
        _ => f64::from(i32::try_from(scattered(row) >> 32).unwrap()),
    });
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(floats));
    let rows = RecordBatch::try_from_iter([("f", floats)]).unwrap();
    let mut tables = store(&mut client, "t", &rows).await.to_vec();
    // Others may write filters of floats.
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(6000))
        .set_bloom_filter_enabled(true)
        .build();
    let file = std::fs::File::create(server.root().join("foreign.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    tables.push("foreign".to_owned());
    for table in tables {
        for value in ["0.0", "-0.0", "'NaN'::double", "-('NaN'::double)"] {
            // What is not a condition skips nothing.
            let all = format!("select sum(case when f = {value} then 1 else 0 end) from {table}");
            let (found, all) = (
                rows_where(&mut client, &table, format!("f = {value}")).await,
                number(&mut client, &all).await,
            );
            assert_eq!(found, all, "{table}: {value}");
        }
    }
}
