//! Predicates over partition columns and columns of files: whatever way a query takes, with the column cache and without,
//! it gives what the rows themselves say. The queries are random; a run says its seed, and `AIRSTRIP_SEED` repeats it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;
use arrow_flight::FlightClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Server, act, assert_error, get, put};

const ROWS: i64 = 160;
const GROUP_ROWS: usize = 8;
const PREDICATES: usize = 24;
const CHANGES: usize = 8;
const PARTS: [Option<&str>; 4] = [Some("a"), Some("b"), Some("c d"), None];
const YEARS: [Option<i64>; 4] = [Some(2022), Some(2023), Some(2024), None];
/// What is joined with: parts and years of some rows.
const SMALL: [(&str, i64); 2] = [("a", 2023), ("c d", 2024)];

/// Numbers that look random and come out the same for one seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

/// A row; `id` tells it from all others.
#[derive(Debug, Clone)]
struct Row {
    id: i64,
    part: Option<String>,
    year: Option<i64>,
    n: Option<i64>,
    v: Option<String>,
}

impl Row {
    fn value(&self, column: &str) -> Option<Value> {
        match column {
            "part" => self.part.clone().map(Value::Text),
            "year" => self.year.map(Value::Number),
            "n" => self.n.map(Value::Number),
            _ => self.v.clone().map(Value::Text),
        }
    }
}

/// A predicate, and how SQL reads it.
#[derive(Debug, Clone)]
enum Predicate {
    Compared(&'static str, &'static str, Value),
    Columns(&'static str, &'static str, &'static str),
    In(&'static str, Vec<Value>, bool),
    Between(&'static str, Value, Value, bool),
    IsNull(&'static str, bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

const TEXTS: [&str; 2] = ["part", "v"];
const NUMBERS: [&str; 2] = ["year", "n"];

impl Predicate {
    fn random(random: &mut Random, depth: usize) -> Self {
        let inner = |random: &mut Random| Box::new(Self::random(random, depth - 1));
        match random.below(if depth == 0 { 5 } else { 10 }) {
            0 | 1 => {
                let (column, value) = Self::operand(random);
                Self::Compared(column, random.of(&["=", "<>", "<", "<=", ">", ">="]), value)
            }
            2 => {
                let (column, first) = Self::operand(random);
                let others = (0..random.below(3)).map(|_| Self::value_for(random, column));
                Self::In(column, std::iter::once(first).chain(others).collect(), random.below(2) == 0)
            }
            3 => {
                let (column, low) = Self::operand(random);
                Self::Between(column, low, Self::value_for(random, column), random.below(3) == 0)
            }
            4 if random.below(2) == 0 => {
                let columns = random.of(&[TEXTS, NUMBERS]);
                Self::Columns(columns[0], random.of(&["=", "<", ">"]), columns[1])
            }
            4 => Self::IsNull(random.of(&["part", "year", "n", "v"]), random.below(2) == 0),
            5 => Self::Not(inner(random)),
            6 | 7 => Self::And(inner(random), inner(random)),
            _ => Self::Or(inner(random), inner(random)),
        }
    }

    fn operand(random: &mut Random) -> (&'static str, Value) {
        let column = random.of(&["part", "part", "year", "year", "n", "v"]);
        (column, Self::value_for(random, column))
    }

    fn value_for(random: &mut Random, column: &str) -> Value {
        match column {
            "part" => Value::Text(random.of(&["a", "b", "c d", "z", "bb"]).to_owned()),
            "year" => Value::Number(random.of(&[2021, 2022, 2023, 2024, 2025])),
            "n" => Value::Number(i64::try_from(random.below(50)).unwrap()),
            _ => Value::Text(random.of(&["a", "v1", "v3", "v5", "z"]).to_owned()),
        }
    }

    /// What SQL's logic of three values says of a row.
    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Self::Compared(column, operator, value) => Some(compared(&row.value(column)?, operator, value)),
            Self::Columns(left, operator, right) => {
                Some(compared(&row.value(left)?, operator, &row.value(right)?))
            }
            Self::In(column, values, is_not) => Some(values.contains(&row.value(column)?) != *is_not),
            Self::Between(column, low, high, is_not) => {
                let value = row.value(column)?;
                Some((value >= *low && value <= *high) != *is_not)
            }
            Self::IsNull(column, is_not) => Some(row.value(column).is_none() != *is_not),
            Self::Not(inner) => inner.holds(row).map(|holds| !holds),
            Self::And(left, right) => match (left.holds(row), right.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.holds(row), right.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

fn compared(left: &Value, operator: &str, right: &Value) -> bool {
    match operator {
        "=" => left == right,
        "<>" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |is_not: bool| if is_not { " not" } else { "" };
        match self {
            Self::Compared(column, operator, value) => write!(f, "t.{column} {operator} {value}"),
            Self::Columns(left, operator, right) => write!(f, "t.{left} {operator} t.{right}"),
            Self::In(column, values, is_not) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(f, "t.{column}{} in ({})", not(*is_not), values.join(", "))
            }
            Self::Between(column, low, high, is_not) => {
                write!(f, "t.{column}{} between {low} and {high}", not(*is_not))
            }
            Self::IsNull(column, is_not) => write!(f, "t.{column} is{} null", not(*is_not)),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::And(left, right) => write!(f, "({left} and {right})"),
            Self::Or(left, right) => write!(f, "({left} or {right})"),
        }
    }
}

/// Rows of all partitions; in each, numbers come in an order, so that row groups differ.
fn rows(random: &mut Random) -> Vec<Row> {
    (0..ROWS)
        .map(|id| Row {
            id,
            part: random.of(&PARTS).map(str::to_owned),
            year: random.of(&YEARS),
            n: (random.below(6) > 0).then(|| id / 4 + i64::try_from(random.below(4)).unwrap()),
            v: (random.below(6) > 0).then(|| format!("v{}", id / 30)),
        })
        .collect()
}

fn batch(rows: &[Row], with_partitions: bool) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id)));
    let n: ArrayRef = Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>());
    let v: ArrayRef = Arc::new(rows.iter().map(|row| row.v.clone()).collect::<StringArray>());
    let mut columns = vec![("id", id, true), ("n", n, true), ("v", v, true)];
    if with_partitions {
        let part = rows.iter().map(|row| row.part.clone()).collect::<StringArray>();
        columns.push(("part", Arc::new(part), true));
        columns.push(("year", Arc::new(rows.iter().map(|row| row.year).collect::<Int64Array>()), true));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Writes the rows as another program would: a folder for each partition, several row groups in each file.
fn write_hive(folder: &Path, rows: &[Row]) {
    let folder_of = |key: &str, value: Option<String>| {
        format!("{key}={}", value.unwrap_or_else(|| "__HIVE_DEFAULT_PARTITION__".to_owned()))
    };
    for (part, year) in PARTS.iter().flat_map(|part| YEARS.map(|year| (*part, year))) {
        let own = |row: &&Row| row.part.as_deref() == part && row.year == year;
        let own: Vec<Row> = rows.iter().filter(own).cloned().collect();
        if own.is_empty() {
            continue;
        }
        let folder = folder.join(folder_of("part", part.map(str::to_owned)));
        let folder = folder.join(folder_of("year", year.map(|year| year.to_string())));
        std::fs::create_dir_all(&folder).unwrap();
        let file = std::fs::File::create(folder.join("x.parquet")).unwrap();
        let own = batch(&own, false);
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
        let mut writer = ArrowWriter::try_new(file, own.schema(), Some(properties)).unwrap();
        writer.write(&own).unwrap();
        writer.close().unwrap();
    }
}

/// A query for the first rows by a partition column, of all rows or of those where a predicate holds, and what it gives.
fn first(random: &mut Random, table: &str, predicate: &Predicate, rows: &[Row]) -> (String, Vec<String>) {
    let predicate = Some(predicate).filter(|_| random.below(2) == 0);
    let mut sorted: Vec<&Row> =
        rows.iter().filter(|row| predicate.is_none_or(|it| it.holds(row) == Some(true))).collect();
    let column = random.of(&["part", "year"]);
    let (descending, nulls_first) = (random.below(2) == 0, random.below(2) == 0);
    let (skipped, fetched) = (random.below(3) * random.below(20), 1 + random.below(20));
    sorted.sort_by(|a, b| {
        let (of_a, of_b) = (a.value(column), b.value(column));
        let nulls = of_a.is_none().cmp(&of_b.is_none());
        let nulls = if nulls_first { nulls.reverse() } else { nulls };
        let values = of_a.cmp(&of_b);
        nulls.then(if descending { values.reverse() } else { values }).then(a.id.cmp(&b.id))
    });
    let ids = sorted.iter().skip(skipped).take(fetched).map(|row| row.id.to_string()).collect();
    let filter = predicate.map_or_else(String::new, |predicate| format!(" where {predicate}"));
    let direction = if descending { "desc" } else { "asc" };
    let nulls = if nulls_first { "first" } else { "last" };
    let sql = format!(
        "select t.id from {table} t{filter} order by t.{column} {direction} nulls {nulls}, t.id \
         limit {fetched} offset {skipped}"
    );
    (sql, ids)
}

/// A query on the table `t`, and what it gives.
fn query(random: &mut Random, table: &str, predicate: &Predicate, rows: &[Row]) -> (String, Vec<String>) {
    let passed: Vec<&Row> = rows.iter().filter(|row| predicate.holds(row) == Some(true)).collect();
    let ids = |rows: Vec<&Row>| rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>();
    let is_small = |row: &Row| SMALL.iter().any(|(part, _)| row.part.as_deref() == Some(*part));
    let from = format!("from {table} t where {predicate}");
    match random.below(8) {
        0 | 1 => (format!("select t.id {from} order by t.id"), ids(passed)),
        2 | 3 => first(random, table, predicate, rows),
        4 => {
            let least = passed.iter().filter_map(|row| row.part.clone()).min();
            let most = passed.iter().filter_map(|row| row.year).max().map(|year| year.to_string());
            let small = passed.iter().filter_map(|row| row.n).min().map(|n| n.to_string());
            let told = [least, most, small].map(Option::unwrap_or_default);
            let row = format!("{},{}", told.join(","), passed.len());
            (format!("select min(t.part), max(t.year), min(t.n), count(*) {from}"), vec![row])
        }
        5 => {
            let joined = passed.into_iter().filter(|row| is_small(row)).collect();
            (
                format!(
                    "select t.id from {table} t join small s on t.part = s.part where {predicate} order by 1"
                ),
                ids(joined),
            )
        }
        6 => {
            let least = SMALL.iter().map(|(_, year)| *year).min();
            let later = passed.into_iter().filter(|row| row.year.is_some() && row.year > least).collect();
            let sql = format!("select t.id {from} and t.year > (select min(year) from small) order by 1");
            (sql, ids(later))
        }
        _ => {
            let small = passed.into_iter().filter(|row| is_small(row)).collect();
            (format!("select t.id {from} and t.part in (select part from small) order by 1"), ids(small))
        }
    }
}

/// The rows of a result, their values with commas between.
async fn lines(client: &mut FlightClient, sql: &str) -> Result<Vec<String>, String> {
    let batches = get(client, sql.to_owned()).await.map_err(|error| error.to_string())?;
    let line = |batch: &RecordBatch, row: usize| {
        let values = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        values.collect::<Vec<_>>().join(",")
    };
    Ok(batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| line(batch, row))).collect())
}

fn seed() -> u64 {
    let seed = std::env::var("AIRSTRIP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_129);
    println!("AIRSTRIP_SEED={seed}");
    seed
}

/// The same rows as datasets of all sorts.
async fn store(server: &Server, outside: &Path, rows: &[Row]) -> Vec<&'static str> {
    let mut client = server.client().await;
    write_hive(&server.root().join("hive"), rows);
    write_hive(outside, rows);
    put(&mut client, "file", vec![batch(rows, true)]).await.unwrap();
    let parts = StringArray::from_iter_values(SMALL.map(|(part, _)| part));
    let years = Int64Array::from_iter_values(SMALL.map(|(_, year)| year));
    let small: [(&str, ArrayRef); 2] = [("part", Arc::new(parts)), ("year", Arc::new(years))];
    put(&mut client, "small", vec![RecordBatch::try_from_iter(small).unwrap()]).await.unwrap();
    client.metadata_mut().insert("x-airstrip-partition-by", "part,year".parse().unwrap());
    put(&mut client, "delta", vec![batch(rows, true)]).await.unwrap();
    // Those of a dataset stay, and who asks for others is told.
    let other = put(&mut client, "file", vec![batch(rows, true)]).await;
    assert_error(other, Code::FailedPrecondition, "partitioned by nothing");
    client.metadata_mut().remove("x-airstrip-partition-by");
    let body = serde_json::json!({ "name": "registered", "path": outside.to_str().unwrap() });
    act(&mut client, "register_dataset", body.to_string()).await.unwrap();
    let mut sql = FlightSqlServiceClient::new(server.channel().await);
    sql.execute_update("create view seen as select * from hive".to_owned(), None).await.unwrap();
    vec!["file", "hive", "delta", "registered", "seen"]
}

#[tokio::test]
async fn the_first_rows_by_a_partition_column_are_looked_for_where_they_can_be() {
    let mut random = Random(seed());
    let rows = rows(&mut random);
    let server = Server::start();
    write_hive(&server.root().join("hive"), &rows);
    let mut client = server.client().await;
    let mut files = async |order: &str| {
        let sql = format!("explain select id from (select id, year as y, part from hive) order by {order}");
        let plan = lines(&mut client, &sql).await.unwrap().join("\n");
        (plan.matches(".parquet").count(), plan)
    };
    let (all, _) = files("y").await;
    // Of each year there is a file for each part, with ten rows on average.
    for order in
        ["y limit 1", "y desc nulls last limit 2", "y nulls first limit 1", "part, y desc limit 1 offset 1"]
    {
        let (some, plan) = files(order).await;
        assert!(0 < some && some <= all / 2, "{order}: {some} of {all} files: {plan}");
    }
    for order in ["y + 1 limit 1", "id limit 1", "y limit 1000"] {
        assert_eq!(files(order).await.0, all, "{order}");
    }
}

#[tokio::test]
async fn all_ways_to_rows_agree_on_predicates_over_partitions() {
    let mut random = Random(seed());
    let rows = rows(&mut random);
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().canonicalize().unwrap();
    let group_rows = GROUP_ROWS.to_string();
    let from = outside.to_str().unwrap();
    let server = Server::with_args(&["--row-group-rows", &group_rows, "--register-from", from]);
    let tables = store(&server, &outside.join("elsewhere"), &rows).await;
    let args = ["--read-only", "--column-cache", "0", "--register-from", from];
    let other = Server::on(server.root(), &args);
    let (mut cached, mut uncached) = (server.client().await, other.client().await);
    for _ in 0..PREDICATES {
        let predicate = Predicate::random(&mut random, 3);
        for table in &tables {
            let (sql, expected) = query(&mut random, table, &predicate, &rows);
            assert_eq!(lines(&mut uncached, &sql).await.as_ref(), Ok(&expected), "without cache: {sql}");
            // The first looks are noted, a later one takes the columns in, and the last is answered from the cache.
            for look in 1..=3 {
                assert_eq!(lines(&mut cached, &sql).await.as_ref(), Ok(&expected), "look {look}: {sql}");
            }
        }
    }
}

/// Rows as text, for comparisons.
fn told(rows: &[Row]) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<i64>| text(value.map(|value| value.to_string()));
    let row =
        |row: &Row| format!("{},{},{},{}", row.id, text(row.part.clone()), number(row.year), number(row.n));
    rows.iter().map(row).collect()
}

async fn changed(sql: &mut FlightSqlServiceClient<Channel>, text: &str) -> i64 {
    sql.execute_update(text.to_owned(), None).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn rows_are_changed_where_a_predicate_over_partitions_holds() {
    let mut random = Random(seed() ^ 0xD5);
    let all = rows(&mut random);
    let server = Server::with_args(&["--row-group-rows", "8"]);
    let mut client = server.client().await;
    put(&mut client, "source", vec![batch(&all, true)]).await.unwrap();
    let mut sql = FlightSqlServiceClient::new(server.channel().await);
    for round in 0..CHANGES {
        let create = "create or replace table d partitioned by (part, year) as select * from source";
        changed(&mut sql, create).await;
        let predicate = Predicate::random(&mut random, 3);
        let holds = |row: &Row| predicate.holds(row) == Some(true);
        let mut rows = all.clone();
        let statement = match round % 4 {
            0 => {
                rows.retain(|row| !holds(row));
                format!("delete from d t where {predicate}")
            }
            1 => {
                rows.iter_mut().filter(|row| holds(row)).for_each(|row| row.n = Some(-1));
                format!("update d t set n = -1 where {predicate}")
            }
            2 => {
                rows.iter_mut().filter(|row| holds(row)).for_each(|row| row.year = Some(1999));
                format!("update d t set year = 1999 where {predicate}")
            }
            _ => {
                rows.retain(|row| !(row.id < 80 && holds(row)));
                format!(
                    "merge into d t using (select id from source where id < 80) s on t.id = s.id and {predicate} \
                     when matched then delete"
                )
            }
        };
        let plain = statement.replace("d t set", "d set").replace("from d t where", "from d where");
        let plain = if round % 4 == 3 { plain } else { plain.replace("t.", "") };
        changed(&mut sql, &plain).await;
        let kept = "select id, part, year, n from d order by id";
        assert_eq!(lines(&mut client, kept).await, Ok(told(&rows)), "{plain}");
    }
}
