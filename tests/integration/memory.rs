//! What queries take of memory: within a bound, whatever they make.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::error::FlightError;
use futures::future::join_all;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tonic::Code;

use crate::harness::{Server, assert_error, count, number};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 256 * MIB;
const FOOTERS: u64 = 16 * MIB;
/// The limit, the caches, and what nobody counts.
const BOUND: u64 = LIMIT + FOOTERS + 512 * MIB;

const ARGS: [&str; 8] =
    ["--memory-limit", "256MiB", "--footer-cache", "16MiB", "--column-cache", "0B", "--frame-cache", "0B"];

fn write(to: &Path, columns: Vec<(&str, ArrayRef)>, dictionary: bool) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(dictionary)
        .build();
    let file = std::fs::File::create(to).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Small files whose values are not: long texts that repeat, numbers with few values, and plain rows.
fn fill(root: &Path) {
    let ids = |rows: i64| Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    let texts: Vec<String> = (0..8).map(|n| format!("{n} {}", "lorem ipsum ".repeat(8_000))).collect();
    let long =
        |rows: usize| Arc::new(StringArray::from_iter_values(texts.iter().cycle().take(rows))) as ArrayRef;
    write(&root.join("long.parquet"), vec![("id", ids(6_000)), ("s", long(6_000))], true);
    write(&root.join("plain.parquet"), vec![("id", ids(2_000)), ("s", long(2_000))], false);
    let names = StringArray::from_iter_values((0..50_000).map(|row| format!("customer name {row:09}")));
    write(&root.join("small.parquet"), vec![("id", ids(50_000)), ("s", Arc::new(names) as _)], true);
    let digit = |place: u32| {
        Arc::new(Int64Array::from_iter_values((0..20_000_i64).map(|row| row * 7919 / 3_i64.pow(place) % 7)))
            as ArrayRef
    };
    let names: Vec<_> = (0..10).map(|place| format!("c{place}")).collect();
    let columns = names.iter().zip(0..).map(|(name, place)| (name.as_str(), digit(place)));
    write(&root.join("digits.parquet"), columns.collect(), true);
}

fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// The most that a process has held since this began.
struct Peak {
    most: Arc<AtomicU64>,
    has_ended: Arc<AtomicBool>,
}

impl Peak {
    fn of(server: &Server) -> Self {
        let (most, has_ended, pid) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), server.pid());
        let (seen, ended) = (Arc::clone(&most), Arc::clone(&has_ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                seen.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self { most, has_ended }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let most = self.most.swap(0, Ordering::Relaxed);
        assert!(most <= BOUND, "{what}: {} MiB of {} MiB", most / MIB, BOUND / MIB);
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

/// Statements that end well within the limit, each of a kind.
const FIT: [&str; 14] = [
    "select count(*) as n from long where s like '%dolor%'",
    "select max(s) as s from long",
    "select count(*) as n from plain where s like '%dolor%'",
    "select count(*) as n from (select s, count(*) from long group by s)",
    "select s from long limit 1000",
    "select sum(length(repeat(s, 500))) as n from small",
    "select repeat(s, 1000) as r from small limit 10000",
    "select count(*) as n from small where repeat(s, 500) like '%zz%'",
    "select repeat('x', 100000) as r, id from small limit 5000",
    "select sum(u) as n from (select unnest(range(0, 100)) as u from small)",
    "select count(*) as n from (select unnest(range(0, 5000000)) as u)",
    "select array_length(array_agg(s)) as n from small",
    "select a.s, b.s as t from plain a cross join plain b limit 500",
    "select count(*) as n from plain a join plain b on a.id + b.id = 7 and length(a.s) <> length(b.s)",
];

/// Statements that may be refused, but never take more than the bound.
const LARGE: [&str; 8] = [
    "select max(length(replace(s, 'm', repeat('y', 10000)))) as n from small",
    "select sum(array_length(array_repeat(s, 1000))) as n from small",
    "select max(length(array_to_string(array_repeat(s, 1000), repeat(',', 100)))) as n from small",
    "with a as (select s || s || s || s || s || s || s || s as x from small), \
     b as (select x || x || x || x || x || x || x || x as x from a), \
     c as (select x || x || x || x || x || x || x || x as x from b) select max(length(x)) as n from c",
    "select count(*) as n from (select count(*) from digits group by cube(c0, c1, c2, c3, c4, c5, c6, c7))",
    "select length(string_agg(s, ',')) as n from plain",
    "select * from plain order by s, id",
    "select sum(length(r)) as n from (select repeat('x', 1000) as r, unnest(a) as u \
     from (select array_agg(id) as a from small))",
];

#[track_caller]
fn is_refusal(error: &FlightError) -> bool {
    matches!(error, FlightError::Tonic(status) if status.code() == Code::ResourceExhausted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_stays_within_its_bound_whatever_statements_make() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let server = Server::on(dir.path(), &ARGS);
    let mut client = server.client().await;
    let peak = Peak::of(&server);
    for sql in FIT {
        if let Err(error) = count(&mut client, sql).await {
            panic!("{sql}: {error}");
        }
        peak.check(sql);
    }
    for sql in LARGE {
        if let Err(error) = count(&mut client, sql).await {
            assert!(is_refusal(&error), "{sql}: {error}");
        }
        peak.check(sql);
    }
    // Sixteen at once: each ends well, or says what there was too little of, and the server goes on.
    let all = FIT.iter().chain(&LARGE).cycle().step_by(3).take(16);
    let answers = join_all(all.map(|sql| async {
        let mut client = server.client().await;
        (*sql, count(&mut client, sql).await)
    }));
    for (sql, answer) in answers.await {
        if let Err(error) = answer {
            assert!(is_refusal(&error), "{sql}: {error}");
        }
    }
    peak.check("sixteen at once");
    assert_eq!(number(&mut client, "select count(*) from small").await, 50_000);
}

/// Statements whose usual plans want more than there is, and how many rows they give.
const MORE_THAN_THERE_IS: [(&str, usize); 4] = [
    ("select * from rows order by k, id", 400_000),
    ("select id, s from rows order by s limit 200000", 200_000),
    ("select id, row_number() over (partition by k % 100 order by s) as n from rows", 400_000),
    ("select a.id, b.s from rows a join rows b on a.k = b.id where a.s <> b.s", 399_998),
];

/// Texts of 50 bytes, and numbers: some 30 MB.
fn fill_rows(root: &Path) {
    let rows = 400_000_i64;
    let mixed = || (0..rows).map(move |row| row * 7919 % rows);
    let text = |k: i64| format!("{k:012} customer name of number {k:06} of all");
    let numbers = |numbers: Vec<i64>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
    let columns = vec![
        ("id", numbers((0..rows).collect())),
        ("k", numbers(mixed().collect())),
        ("s", Arc::new(StringArray::from_iter_values(mixed().map(text))) as _),
    ];
    write(&root.join("rows.parquet"), columns, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_spill_ends_well_with_a_fraction_of_the_memory_that_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    fill_rows(dir.path());
    let args = ["--memory-limit", "24MiB", "--column-cache", "0B", "--frame-cache", "0B"];
    let server = Server::on(dir.path(), &args);
    let mut client = server.client().await;
    for (sql, expected) in MORE_THAN_THERE_IS {
        assert_eq!(count(&mut client, sql).await.unwrap(), expected, "{sql}");
    }
    // Each of them would find the memory that the others have taken.
    let sorts = (0..4).map(|left_out| {
        let (sql, server) =
            (format!("select id, s from rows where id % 4 <> {left_out} order by s"), &server);
        async move {
            count(&mut server.client().await, sql.as_str()).await.map_err(|error| format!("{sql}: {error}"))
        }
    });
    for counted in join_all(sorts).await {
        assert_eq!(counted, Ok(300_000));
    }
}

#[tokio::test]
async fn a_value_has_a_limit_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let server = Server::on(dir.path(), &["--memory-limit", "256MiB", "--max-value-size", "1MiB"]);
    let mut client = server.client().await;
    for sql in [
        "select repeat(s, 100000) from small",
        "select replace(repeat(s, 1000), 'm', repeat('y', 1000)) from small",
        "select array_repeat(id, 1000000) from small",
    ] {
        assert_error(count(&mut client, sql).await, Code::ResourceExhausted, "max-value-size");
    }
    assert_eq!(count(&mut client, "select repeat(s, 1000) from small limit 100").await.unwrap(), 100);
}

/// Random statements over the same files, for as long as `AIRSTRIP_SOAK_SECONDS` says; the seed is printed, and taken from
/// `AIRSTRIP_SOAK_SEED`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a soak: cargo test --test integration memory::soak -- --ignored --nocapture"]
async fn soak() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = setting("AIRSTRIP_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seconds = setting("AIRSTRIP_SOAK_SECONDS").unwrap_or(600);
    println!("AIRSTRIP_SOAK_SEED={seed} AIRSTRIP_SOAK_SECONDS={seconds}");
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let server = Server::on(dir.path(), &ARGS);
    let peak = Peak::of(&server);
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    let (done, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let soaking = (0..16_u64).map(|number| {
        let (server, done, refused) = (&server, &done, &refused);
        async move {
            let mut random = Random(seed.wrapping_mul(31).wrapping_add(number) | 1);
            let mut client = server.client().await;
            while std::time::Instant::now() < end {
                let sql = random.statement();
                match count(&mut client, &sql).await {
                    Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                    Err(error) if is_refusal(&error) => refused.fetch_add(1, Ordering::Relaxed),
                    Err(error) => panic!("{sql}: {error}"),
                };
            }
        }
    });
    join_all(soaking).await;
    println!(
        "{} done, {} refused, at most {} MiB",
        done.into_inner(),
        refused.into_inner(),
        peak.most.load(Ordering::Relaxed) / MIB
    );
    peak.check("soak");
}

/// Xorshift, which is good enough to choose by.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn text(&mut self) -> String {
        let count = 1 + self.below(3000);
        match self.below(6) {
            0 => format!("repeat(s, {count})"),
            1 => format!("lpad(s, {}, 'ab')", count * 10),
            2 => format!("replace(s, 'm', repeat('y', {count}))"),
            3 => "s || s || s || s".to_owned(),
            4 => format!("array_to_string(array_repeat(s, {count}), ', ')"),
            _ => "s".to_owned(),
        }
    }

    fn statement(&mut self) -> String {
        let (table, other) = (self.choose(&["long", "plain", "small"]), self.choose(&["plain", "small"]));
        let (text, limit) = (self.text(), 1 + self.below(20_000));
        match self.below(9) {
            0 => format!("select max({text}) as m from {table}"),
            1 => format!("select {text} as t, id from {table} limit {limit}"),
            2 => format!("select count(*) as n from {table} where {text} like '%zz%'"),
            3 => format!("select {text} as t, count(*) as n from {table} group by 1"),
            4 => format!("select id, {text} as t from {table} order by t desc, id limit {limit}"),
            5 => format!("select array_agg({text}) as a from (select * from {table} limit {limit})"),
            6 => format!("select a.s, b.s as t from {table} a cross join {other} b limit {limit}"),
            7 => format!(
                "select sum(u) as n from (select unnest(range(0, {limit})) as u from {other} limit 1000000)"
            ),
            _ => format!("select count(*) as n, max(b.s) as m from {table} a join {other} b on a.id = b.id"),
        }
    }
}
