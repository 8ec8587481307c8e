//! Queries that are asked again are answered from memory, with the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::FlightClient;

use crate::downloads::{rows, whole, with_list, write};
use crate::harness::{Server, batch, get, number, put};

/// Over datasets of the shapes that [`serve`] makes. All give the same rows in the same order each time.
const QUERIES: [&str; 16] = [
    "select * from flat where n % 3 = 0 order by n",
    "select n, v from flat where s like '%99%' order by n",
    "select count(*), sum(n), min(s), max(v), count(v) from flat",
    "select d, count(*) as c from flat group by d order by d",
    "select upper(v) as u, n + 1 as m from flat where v is null or n < 1000 order by m",
    "select * from flat where n = 77777",
    "select * from flat where n in (5, 60001, 99999) order by n",
    "select n from flat where n = 7 and v is null",
    "select n, l from nested where cardinality(l) > 2 order by n",
    "select l from nested where n = 99998",
    "select n, key from parted where key = 'b' and n % 1000 = 0 order by n",
    "select key, count(*), sum(n) from parted group by key order by key",
    "select n from parted where key is null and n > 59990 order by n",
    "select a.n, b.v from flat a join flat b on a.n = b.n + 1 where b.n % 5000 = 0 order by a.n",
    "select n from flat order by s desc limit 5",
    "select count(*) from flat",
];

fn serve() -> Server {
    let server = Server::start();
    let root = server.root();
    write(&root.join("flat.parquet"), &rows(0, 100_000), 40_000);
    write(&root.join("nested.parquet"), &with_list(&rows(0, 100_000)), 60_000);
    for (start, key) in [(0, "a"), (30_000, "b"), (60_000, "__HIVE_DEFAULT_PARTITION__")] {
        let directory = root.join("parted").join(format!("key={key}"));
        std::fs::create_dir_all(&directory).unwrap();
        write(&directory.join("part.parquet"), &rows(start, 30_000), 20_000);
    }
    server
}

async fn ask(client: &mut FlightClient, sql: &str) -> Option<RecordBatch> {
    let batches = get(client, sql.to_owned()).await.unwrap();
    batches.first().map(|first| concat_batches(&first.schema(), &batches).unwrap())
}

/// The bytes of files that a query reads, as EXPLAIN ANALYZE tells.
async fn bytes_read(client: &mut FlightClient, sql: &str) -> f64 {
    let plan = whole(&get(client, format!("explain analyze {sql}")).await.unwrap());
    let text = plan.column(1).as_string::<i32>().value(0).to_owned();
    let figures = text.split("bytes_scanned=").skip(1);
    figures.map(|rest| rest[..rest.find([' ', ',', ']']).unwrap()].parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn asked_again_a_query_gives_the_same() {
    let server = serve();
    let mut client = server.client().await;
    for sql in QUERIES {
        let first = ask(&mut client, sql).await;
        assert!(first.as_ref().is_some_and(|rows| rows.num_rows() > 0), "{sql}");
        for _ in 0..3 {
            assert!(ask(&mut client, sql).await == first, "{sql}");
        }
    }
}

#[tokio::test]
async fn what_was_read_twice_is_not_read_again() {
    for (sql, memory) in [
        ("select n, s from flat where n % 3 = 0", true),
        ("select * from flat where n = 77777", true),
        ("select sum(n) from parted where v is null", true),
        ("select n, s from flat where n % 3 = 0", false),
    ] {
        let server = if memory { serve() } else { Server::with_args(&["--column-cache", "0"]) };
        write(&server.root().join("flat.parquet"), &rows(0, 100_000), 40_000);
        let mut client = server.client().await;
        assert!(bytes_read(&mut client, sql).await > 0.0, "{sql}");
        ask(&mut client, sql).await;
        assert_eq!(bytes_read(&mut client, sql).await == 0.0, memory, "{sql}");
    }
}

#[tokio::test]
async fn what_was_replaced_is_not_answered_from_memory() {
    let server = Server::start();
    let mut client = server.client().await;
    for version in 0..3 {
        put(&mut client, "t", vec![batch(version, 50_000)]).await.unwrap();
        let (column, wanted) = (batch(version, 1).schema().field(0).name().clone(), batch(version, 50_000));
        for _ in 0..4 {
            let got = ask(&mut client, &format!("select * from t where {column} is not null")).await.unwrap();
            assert_eq!(got.columns()[0].as_ref(), wanted.columns()[0].as_ref(), "version {version}");
        }
    }
}

#[tokio::test]
async fn files_of_a_dataset_may_differ_in_what_may_be_null() {
    let server = Server::start();
    let directory = server.root().join("mixed");
    std::fs::create_dir_all(&directory).unwrap();
    for (name, nullable) in [("a", false), ("b", true)] {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, nullable)]);
        let part = RecordBatch::try_new(Arc::new(schema), vec![n]).unwrap();
        write(&directory.join(name).with_extension("parquet"), &part, 300);
    }
    let mut client = server.client().await;
    for _ in 0..4 {
        assert_eq!(number(&mut client, "select count(*) from mixed where n % 7 = 3").await, 2 * 143);
    }
}
