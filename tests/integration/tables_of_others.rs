//! Delta tables that other programs made, and Parquet files that they wrote: `tests/tables/spark` holds some of Spark's,
//! `tests/tables/polars` files of Polars 1.33.1, others are put together here as their writers do.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use arrow_flight::FlightClient;
use arrow_flight::error::FlightError;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tonic::Code;

use crate::delta::{appender, change};
use crate::harness::{Server, act, assert_error, count, get, number, put};

/// Puts one of Spark's tables into the root.
fn spark(server: &Server, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables/spark").join(name);
    copy(&from, &server.root().join(name));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// A table of one commit, as another writer would put it together.
struct Other {
    fields: Value,
    protocol: Value,
    partition_by: Vec<&'static str>,
    /// Paths as the log has them, and what the partition columns are there.
    files: Vec<(&'static str, Value)>,
}

impl Other {
    fn new(fields: Value, files: Vec<(&'static str, Value)>) -> Self {
        let protocol = json!({"minReaderVersion": 1, "minWriterVersion": 2});
        Self { fields, protocol, partition_by: Vec::new(), files }
    }

    fn write(&self, server: &Server, name: &str) {
        let log = server.root().join(name).join("_delta_log");
        std::fs::create_dir_all(&log).unwrap();
        let schema = json!({"type": "struct", "fields": self.fields}).to_string();
        let metadata = json!({
            "id": name, "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": self.partition_by, "configuration": {}, "createdTime": 1,
        });
        let mut actions = vec![json!({"protocol": self.protocol}), json!({"metaData": metadata})];
        actions.extend(self.files.iter().enumerate().map(|(number, (path, values))| {
            json!({"add": {
                "path": path, "partitionValues": values, "size": 1, "modificationTime": number, "dataChange": true,
            }})
        }));
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        std::fs::write(log.join("00000000000000000000.json"), lines.join("\n")).unwrap();
    }
}

fn field(name: &str, data_type: &str) -> Value {
    json!({"name": name, "type": data_type, "nullable": true, "metadata": {}})
}

fn features(readers: &[&str], writers: &[&str]) -> Value {
    json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": readers, "writerFeatures": writers})
}

/// The text of the columns that the newest commit that tells of them has.
fn columns_in_log(server: &Server, name: &str) -> String {
    let log = server.root().join(name).join("_delta_log");
    let mut entries: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    entries.sort();
    let found = entries.iter().rev().find_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        actions.find_map(|action| action.pointer("/metaData/schemaString").cloned())
    });
    found.unwrap().as_str().unwrap().to_owned()
}

fn longs(name: &str, values: Vec<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
}

async fn merger(server: &Server) -> FlightClient {
    let mut client = appender(server).await;
    client.add_header("x-airstrip-schema", "merge").unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_note_on_columns_stays() {
    let server = Server::start();
    for table in ["comments", "variants"] {
        spark(&server, table);
        let before = columns_in_log(&server, table);
        let before = before.strip_suffix("]}").unwrap();
        change(&server, &format!("alter table {table} add column extra bigint")).await.unwrap();
        let extra = r#"{"name":"extra","type":"long","nullable":true,"metadata":{}}"#;
        assert_eq!(columns_in_log(&server, table), format!("{before},{extra}]}}"));

        let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let batch = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("more", ids)]).unwrap();
        put(&mut merger(&server).await, table, vec![batch]).await.unwrap();
        let more = r#"{"name":"more","type":"long","nullable":true,"metadata":{}}"#;
        assert_eq!(columns_in_log(&server, table), format!("{before},{extra},{more}]}}"));

        change(&server, &format!("update {table} set extra = 1 where id = 7")).await.unwrap();
        let mut client = server.client().await;
        assert_eq!(number(&mut client, &format!("select count(*) from {table} where id < 8")).await, 2);
        assert_eq!(number(&mut client, &format!("select sum(extra) from {table}")).await, 1);
        assert_eq!(count(&mut client, table).await.unwrap(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_take_rows_that_meet_them() {
    let server = Server::start();
    for (table, column, good, bad) in [
        ("check_int", "n", "1", "-1"),
        ("check_length", "s", "'a'", "'as long as that'"),
        ("check_date", "d", "'2026-01-01'", "'2020-01-01'"),
        ("check_in", "n", "3", "4"),
        ("check_between", "n", "10", "11"),
        ("check_coalesce", "n", "null", "-1"),
        ("check_today", "d", "'2020-01-01'", "'2999-01-01'"),
    ] {
        spark(&server, table);
        let mut client = server.client().await;
        let own = get(&mut client, table.to_owned()).await.unwrap();
        put(&mut appender(&server).await, table, own).await.unwrap();
        let insert = |value: &str| format!("insert into {table} (id, {column}) values (9, {value})");
        assert_eq!(change(&server, &insert(good)).await.unwrap(), 1, "{table}");
        assert_error(change(&server, &insert(bad)).await, Code::InvalidArgument, "check c");
        let update = format!("update {table} set {column} = {bad} where id = 9");
        assert_error(change(&server, &update).await, Code::InvalidArgument, "check c");
        assert_eq!(change(&server, &format!("delete from {table} where id = 9")).await.unwrap(), 1);
        assert_eq!(count(&mut client, table).await.unwrap(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn structs_with_required_fields_are_read_and_changed() {
    let server = Server::start();
    spark(&server, "notnull");
    let mut client = server.client().await;
    for sql in [
        "select count(*) from notnull where s.a = 1",
        "select count(*) from notnull where s['a'] > 0 and id = 1",
        "select cast(max(s.a) as bigint) from notnull group by s",
        "select count(*) from (select s.a, count(*) from notnull group by s.a)",
        "select count(*) from notnull where s is not null",
    ] {
        assert_eq!(number(&mut client, sql).await, 1, "{sql}");
    }
    assert_eq!(count(&mut client, "notnull").await.unwrap(), 1);
    assert_eq!(count(&mut client, "select * from notnull").await.unwrap(), 1);
    change(&server, "create table copied as select * from notnull").await.unwrap();
    change(&server, "update notnull set id = 2 where s.a = 1").await.unwrap();
    change(&server, "insert into notnull select id + 1, s from notnull").await.unwrap();
    assert_eq!(number(&mut client, "select sum(id * s.a) from notnull").await, 5);
    assert_eq!(number(&mut client, "select cast(s.a as bigint) from copied").await, 1);
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![None]));
    let inner =
        arrow::array::StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, true)), inner)]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("s", Arc::new(inner))]).unwrap();
    let refused = put(&mut appender(&server).await, "notnull", vec![batch]).await;
    assert_error(refused, Code::InvalidArgument, "\"s\"");
    let refused = change(&server, "insert into notnull values (4, named_struct('a', null))").await;
    assert!(matches!(refused, Err(FlightError::Tonic(status)) if status.code() != Code::Internal));
    assert_error(
        change(&server, "insert into notnull values (5, null)").await,
        Code::InvalidArgument,
        "\"s\"",
    );
    assert_eq!(count(&mut client, "notnull").await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_converted_table_has_a_history() {
    let server = Server::start();
    spark(&server, "converted");
    let mut client = server.client().await;
    let described = act(&mut client, "describe_dataset", "converted".to_owned()).await.unwrap();
    assert_eq!(described["rows"], "5");
    let sql = "select count(*) from history('converted') where operation = 'CONVERT' and files_added = 2";
    assert_eq!(number(&mut client, sql).await, 1);
    change(&server, "delete from converted where k = 1").await.unwrap();
    assert_eq!(count(&mut client, "converted").await.unwrap(), 3);
}

fn moments(batches: &[RecordBatch]) -> Vec<i64> {
    let column = |batch: &RecordBatch| {
        let column = arrow::compute::cast(
            batch.column_by_name("t").unwrap(),
            &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
        );
        column.unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    batches.iter().flat_map(column).collect()
}

/// Spark's bounds of moments are cut to milliseconds, and its files have them in 96 bits.
#[tokio::test(flavor = "multi_thread")]
async fn moments_of_spark_stay_what_they_are() {
    let server = Server::start();
    spark(&server, "bounds");
    let mut client = server.client().await;
    let sql = "select id, t from bounds order by id";
    let first = moments(&get(&mut client, sql.to_owned()).await.unwrap());
    assert_eq!(first.len(), 3);
    for column in ["t", "tn", "dec"] {
        for sql in [
            format!("select count(*) from bounds where {column} >= (select max({column}) from bounds)"),
            format!("select count(*) from bounds where {column} <= (select min({column}) from bounds)"),
        ] {
            assert_eq!(number(&mut client, &sql).await, 1, "{sql}");
        }
    }
    for statement in [
        "update bounds set dec = dec + 1 where id = 0",
        "delete from bounds where id = 7",
        "insert into bounds (id) values (8)",
    ] {
        change(&server, statement).await.unwrap();
    }
    let body = json!({"name": "bounds", "zOrderBy": ["id"]}).to_string();
    act(&mut client, "optimize_dataset", body).await.unwrap();
    change(&server, "delete from bounds where id = 8").await.unwrap();
    assert_eq!(moments(&get(&mut client, sql.to_owned()).await.unwrap()), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_writer_saw_is_no_promise() {
    let server = Server::start();
    let item = Field::new("a", DataType::Int32, false);
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let st = arrow::array::StructArray::from(vec![(Arc::new(item), inner)]);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("st", st.data_type().clone(), false),
    ]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let seen = RecordBatch::try_new(Arc::new(schema), vec![ids, Arc::new(st)]).unwrap();
    write_parquet(&server.root().join("file.parquet"), &seen);
    write_parquet(&server.root().join("folder/k=1/x.parquet"), &seen);
    write_parquet(&server.root().join("emptied.parquet"), &seen);
    let mut client = server.client().await;
    let stored = get(&mut client, "file".to_owned()).await.unwrap();
    assert_eq!(stored[0].schema(), seen.schema(), "as it was stored");
    change(&server, "truncate table emptied").await.unwrap();
    for table in ["file", "folder", "emptied"] {
        change(&server, &format!("insert into {table} (id) values (null)")).await.unwrap();
        put(&mut appender(&server).await, table, vec![longs("id", vec![3])]).await.unwrap();
        change(&server, &format!("insert into {table} (id, st) values (4, named_struct('a', null))"))
            .await
            .unwrap();
        let sql = format!("select count(*) from {table} where id is null or st is null or st.a is null");
        assert_eq!(number(&mut client, &sql).await, 3, "{table}");
        let sql = format!("select coalesce(sum(st.a), 3) from {table}");
        assert_eq!(number(&mut client, &sql).await, 3, "{table}");
    }
    let changed = get(&mut client, "file".to_owned()).await.unwrap();
    assert!(changed[0].schema().field(0).is_nullable());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_declared_is_a_promise_until_it_is_dropped() {
    let server = Server::start();
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
    let declared =
        RecordBatch::try_new(Arc::new(schema), vec![longs("id", vec![1]).column(0).clone()]).unwrap();
    put(&mut server.client().await, "sent", vec![declared]).await.unwrap();
    change(&server, "create table made (id bigint not null, k text)").await.unwrap();
    for table in ["sent", "made"] {
        let insert = format!("insert into {table} (id) values (null)");
        assert_error(change(&server, &insert).await, Code::InvalidArgument, "NOT NULL");
        change(&server, &format!("alter table {table} alter column id drop not null")).await.unwrap();
        change(&server, &insert).await.unwrap();
        let set = format!("alter table {table} alter column id set not null");
        assert_error(change(&server, &set).await, Code::FailedPrecondition, "a row has NULL");
        change(&server, &format!("delete from {table} where id is null")).await.unwrap();
        change(&server, &set).await.unwrap();
        assert_error(change(&server, &insert).await, Code::InvalidArgument, "NOT NULL");
        // It is so already.
        change(&server, &set).await.unwrap();
        let none = format!("alter table {table} alter column none drop not null");
        assert_error(change(&server, &none).await, Code::InvalidArgument, "no column");
    }
    let mut client = server.client().await;
    let sql = "select count(*) from history('made') where operation = 'CHANGE COLUMN'";
    assert_eq!(number(&mut client, sql).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_features_are_named() {
    let server = Server::start();
    let table = |protocol: Value, name: &str| {
        let other = Other::new(json!([field("id", "long")]), vec![("x.parquet", json!({}))]);
        Other { protocol, ..other }.write(&server, name);
        write_parquet(&server.root().join(name).join("x.parquet"), &longs("id", vec![1, 2]));
    };
    table(features(&["sharper"], &["sharper"]), "unreadable");
    table(features(&[], &["duller", "appendOnly"]), "unwritable");
    table(json!({"minReaderVersion": 9, "minWriterVersion": 9}), "late");
    let mut client = server.client().await;
    for ticket in ["unreadable", "select * from unreadable"] {
        assert_error(get(&mut client, ticket.to_owned()).await, Code::Unimplemented, "sharper");
    }
    assert_error(get(&mut client, "late".to_owned()).await, Code::Unimplemented, "9");
    assert_eq!(number(&mut client, "select sum(id) from unwritable").await, 3);
    assert_eq!(count(&mut client, "unwritable").await.unwrap(), 2);
    for statement in [
        "insert into unwritable values (3)",
        "delete from unwritable",
        "alter table unwritable add column x int",
    ] {
        assert_error(change(&server, statement).await, Code::Unimplemented, "duller");
    }
    let refused = put(&mut appender(&server).await, "unwritable", vec![longs("id", vec![3])]).await;
    assert_error(refused, Code::Unimplemented, "duller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_is_named_as_one() {
    let server = Server::start();
    for (name, path) in [
        ("by_url", "file:///data/orders/x.parquet"),
        ("by_path", "/data/orders/x.parquet"),
        ("cloud", "s3://b/x.parquet"),
    ] {
        Other::new(json!([field("id", "long")]), vec![(path, json!({}))]).write(&server, name);
        let mut client = server.client().await;
        for ticket in [name.to_owned(), format!("select count(*) from {name}")] {
            assert_error(get(&mut client, ticket).await, Code::Unimplemented, "shallow clone");
        }
    }
}

fn widened(old: bool) -> RecordBatch {
    let columns: [(&str, ArrayRef); 6] = if old {
        let dec = Decimal128Array::from(vec![150, -250]).with_precision_and_scale(5, 2).unwrap();
        [
            ("i", Arc::new(Int32Array::from(vec![1, i32::MIN]))),
            ("s", Arc::new(Int8Array::from(vec![1, -1]))),
            ("v", Arc::new(Float32Array::from(vec![0.5, -0.5]))),
            ("n", Arc::new(Int32Array::from(vec![1, -1]))),
            ("dec", Arc::new(dec)),
            ("t", Arc::new(Date32Array::from(vec![0, 1]))),
        ]
    } else {
        let dec = Decimal128Array::from(vec![99_999_999_990_i128]).with_precision_and_scale(12, 3).unwrap();
        [
            ("i", Arc::new(Int64Array::from(vec![i64::MAX - 1]))),
            ("s", Arc::new(Int16Array::from(vec![300]))),
            ("v", Arc::new(Float64Array::from(vec![1e300]))),
            ("n", Arc::new(Float64Array::from(vec![0.25]))),
            ("dec", Arc::new(dec)),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![-1]))),
        ]
    };
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_narrower_type_are_widened() {
    let server = Server::start();
    let fields = [
        ("i", "long"),
        ("s", "short"),
        ("v", "double"),
        ("n", "double"),
        ("dec", "decimal(12,3)"),
        ("t", "timestamp_ntz"),
    ];
    let fields: Vec<Value> = fields.iter().map(|(name, kind)| field(name, kind)).collect();
    let other = Other::new(fields.into(), vec![("old.parquet", json!({})), ("new.parquet", json!({}))]);
    let protocol = features(&["typeWidening", "timestampNtz"], &["typeWidening", "timestampNtz"]);
    Other { protocol, ..other }.write(&server, "wide");
    for (name, old) in [("old.parquet", true), ("new.parquet", false)] {
        write_parquet(&server.root().join("wide").join(name), &widened(old));
    }
    let mut client = server.client().await;
    let rows = get(&mut client, "wide".to_owned()).await.unwrap();
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
    let i = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(i.values(), &[1, i64::from(i32::MIN), i64::MAX - 1]);
    let t = rows.column(5).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(t.values(), &[0, 86_400_000_000, -1]);
    let dec = rows.column(4).as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!(dec.values(), &[1500, -2500, 99_999_999_990]);
    for (condition, expected) in [
        ("i = 1", 1),
        ("i > 2147483648", 1),
        ("i < 0 and s = -1", 1),
        ("s > 127", 1),
        ("v >= 0.5", 2),
        ("n = 0.25", 1),
        ("n < 1.5 and n > 0.5", 1),
        ("dec = 1.5", 1),
        ("dec > 1.5", 1),
        ("t < timestamp '1970-01-01 00:00:00'", 1),
        ("t = timestamp '1970-01-02 00:00:00'", 1),
        ("t >= timestamp '1969-12-31 23:59:59.999999'", 3),
    ] {
        let sql = format!("select count(*) from wide where {condition}");
        assert_eq!(number(&mut client, &sql).await, expected, "{condition}");
    }
    assert_eq!(number(&mut client, "select max(i) - 9223372036854775806 from wide").await, 0);
    let refused: Result<i64, FlightError> = change(&server, "delete from wide where i = 1").await;
    assert_error(refused, Code::Unimplemented, "typeWidening");
    change(&server, "create table copied as select * from wide").await.unwrap();
    assert_eq!(count(&mut client, "copied").await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_values_are_read_as_the_log_has_them() {
    let server = Server::start();
    let fields = json!([
        field("id", "long"),
        field("k", "string"),
        field("t", "timestamp"),
        field("tn", "timestamp_ntz")
    ]);
    let files = vec![
        // Encoded for the folder's name, and once more for the log.
        (
            "k=a%253Db/x.parquet",
            json!({"k": "a=b", "t": "2024-01-31 12:00:00.5", "tn": "0001-01-01 00:00:00"}),
        ),
        (
            "k=%C3%A4%20b/x.parquet",
            json!({"k": "ä b", "t": "2024-01-31T12:00:00.500000Z", "tn": "9999-12-31 23:59:59.999999"}),
        ),
        ("k=none/x.parquet", json!({"k": null, "t": null, "tn": null})),
        ("k=empty/x.parquet", json!({"k": "", "t": "", "tn": ""})),
    ];
    let other = Other::new(fields, files);
    let protocol = features(&["timestampNtz"], &["timestampNtz"]);
    Other { protocol, partition_by: vec!["k", "t", "tn"], ..other }.write(&server, "parts");
    for (id, folder) in [(1, "k=a%3Db"), (2, "k=ä b"), (3, "k=none"), (4, "k=empty")] {
        write_parquet(&server.root().join("parts").join(folder).join("x.parquet"), &longs("id", vec![id]));
    }
    let mut client = server.client().await;
    for (condition, expected) in [
        ("k = 'a=b'", 1),
        ("k = 'ä b'", 2),
        ("k is null", 7),
        ("k = ''", 0),
        ("t = timestamp '2024-01-31 12:00:00.5'", 3),
        ("tn is null", 7),
        ("extract(year from tn) = 9999", 2),
        ("extract(year from tn) = 1", 1),
    ] {
        let sql = format!("select coalesce(sum(id), 0) from parts where {condition}");
        assert_eq!(number(&mut client, &sql).await, expected, "{condition}");
    }
    // What is written again lies where it belongs.
    change(&server, "update parts set id = id * 10").await.unwrap();
    assert_eq!(number(&mut client, "select sum(id) from parts where k = 'a=b'").await, 10);
    assert_eq!(number(&mut client, "select sum(id) from parts where t is null").await, 70);
    assert_eq!(number(&mut client, "select sum(id) from parts where extract(year from tn) = 9999").await, 20);
    change(&server, "delete from parts where k = 'ä b'").await.unwrap();
    assert_eq!(count(&mut client, "parts").await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_value_that_is_not_read_is_named() {
    let server = Server::start();
    let fields = json!([field("id", "long"), field("d", "decimal(10,2)")]);
    let other = Other::new(fields, vec![("d=-2/x.parquet", json!({"d": "-2"}))]);
    Other { partition_by: vec!["d"], ..other }.write(&server, "parts");
    write_parquet(&server.root().join("parts/d=-2/x.parquet"), &longs("id", vec![1]));
    let mut client = server.client().await;
    for ticket in ["parts", "select id from parts"] {
        let expected = "partition column \"d\" the value \"-2\"";
        assert_error(get(&mut client, ticket).await, Code::Unimplemented, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_of_polars_are_found() {
    let server = Server::start();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables/polars");
    for name in ["decimals.parquet", "int128.parquet"] {
        std::fs::copy(from.join(name), server.root().join(name)).unwrap();
    }
    let mut client = server.client().await;
    // From -1 to 1 in steps of 0.05, in pages whose bounds were put together without their signs.
    for (condition, expected) in [("d < 0", 20), ("d > 0", 20), ("d = -1", 1), ("d between -0.5 and 0.5", 21)]
    {
        let sql = format!("select count(*) from decimals where {condition}");
        assert_eq!(number(&mut client, &sql).await, expected, "{condition}");
    }
    assert_eq!(
        number(&mut client, "select count(*) from decimals where d = (select min(d) from decimals)").await,
        1
    );
    // A column of 128 bits, for which Arrow has no type, beside an ordinary one.
    assert_eq!(count(&mut client, "int128").await.unwrap(), 3);
    assert_eq!(number(&mut client, "select sum(k) from int128 where k > 1").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn extremes_of_nested_values_are_no_fault_of_the_server() {
    let server = Server::start();
    change(
        &server,
        "create table t as select named_struct('a', 1) as s, make_array(1) as l, map(['k'], [1]) as m",
    )
    .await
    .unwrap();
    let mut client = server.client().await;
    for column in ["s", "l", "m"] {
        for sql in [
            format!("select min({column}), max({column}) from t"),
            format!("select min({column}) from t group by s['a']"),
            format!("select max({column}) over () from t"),
        ] {
            if let Err(FlightError::Tonic(status)) = get(&mut client, sql.clone()).await {
                assert!(
                    matches!(status.code(), Code::InvalidArgument | Code::Unimplemented),
                    "{sql}: {status}"
                );
            }
        }
    }
}
