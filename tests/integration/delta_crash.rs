//! kill -9, again and again, while clients append to a table, change it and make others of plain datasets.
//!
//! The rows come in blocks. What a client was told of a block must be true after the restart; of the one thing
//! that it was not told about, either all is there or nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::error::FlightError;
use tonic::Code;

use crate::delta::{appender, change, rows};
use crate::harness::{Server, count, get, names, put};

const CYCLES: u64 = 15;
/// Rows of a block; its number and `BLOCK` give their ids.
const BLOCK: i64 = 50;

/// What a block may be: gone, or there with the same `x` in all of its rows.
type Block = Option<i64>;

/// What is known of the table: for each block what it may be, which is more than one thing only while a client
/// waits for an answer.
#[derive(Default)]
struct Ledger {
    blocks: BTreeMap<i64, Vec<Block>>,
    next: i64,
}

impl Ledger {
    fn begin(&mut self, block: i64, after: Block) {
        self.blocks.entry(block).or_insert_with(|| vec![None]).push(after);
    }

    fn acknowledge(&mut self, block: i64, after: Block) {
        self.blocks.insert(block, vec![after]);
    }

    /// A block that is there for sure.
    fn pick(&self, choice: u64) -> Option<i64> {
        let there =
            |(block, may_be): (&i64, &Vec<Block>)| matches!(may_be.as_slice(), [Some(_)]).then_some(*block);
        let there: Vec<i64> = self.blocks.iter().filter_map(there).collect();
        there.get(usize::try_from(choice).unwrap() % there.len().max(1)).copied()
    }
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Whether a request failed; the only reason that it may have is that there is no server any more.
fn is_gone<T>(result: Result<T, FlightError>) -> bool {
    let Err(error) = result else { return false };
    let FlightError::Tonic(status) = &error else { panic!("{error}") };
    let of_connections = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
    assert!(of_connections.contains(&status.code()), "{error}");
    true
}

type Shared = Arc<Mutex<Ledger>>;

/// Appends blocks until the server is gone.
async fn append_blocks(server: Arc<Server>, ledger: Shared) {
    let mut client = appender(&server).await;
    drop(server);
    loop {
        let block = {
            let mut ledger = ledger.lock().unwrap();
            ledger.next += 1;
            let block = ledger.next;
            ledger.begin(block, Some(0));
            block
        };
        let first = block * BLOCK;
        let batches = vec![rows(first..first + 20, 0), rows(first + 20..first + BLOCK, 0)];
        if is_gone(put(&mut client, "t", batches).await) {
            return;
        }
        ledger.lock().unwrap().acknowledge(block, Some(0));
    }
}

/// Updates and deletes blocks until the server is gone.
async fn change_blocks(address: String, ledger: Shared, mut dice: Dice) {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let Ok(channel) = endpoint.connect().await else { return };
    let mut client = arrow_flight::sql::client::FlightSqlServiceClient::new(channel);
    loop {
        let (block, after) = {
            let mut ledger = ledger.lock().unwrap();
            let Some(block) = ledger.pick(dice.roll(1 << 20)) else { continue };
            // Never the first one, so that there is always a block to be changed.
            let after =
                (block == 0 || dice.roll(4) > 0).then(|| 1 + i64::try_from(dice.roll(1 << 30)).unwrap());
            ledger.begin(block, after);
            (block, after)
        };
        let range = format!("id between {} and {}", block * BLOCK, block * BLOCK + BLOCK - 1);
        let sql = match after {
            Some(x) => format!("update t set x = {x} where {range}"),
            None => format!("delete from t where {range}"),
        };
        let done = client.execute_update(sql, None).await;
        if let Ok(rows) = done {
            assert_eq!(rows, BLOCK);
        }
        if is_gone(done) {
            return;
        }
        ledger.lock().unwrap().acknowledge(block, after);
    }
}

/// Rows of the plain datasets that are promoted, and what is added to them.
const PLAIN: usize = 10;
const ADDED: usize = 5;

/// Makes plain datasets tables until the server is gone: the rows that each may have.
async fn promote(server: Arc<Server>, cycle: u64) -> BTreeMap<String, Vec<usize>> {
    let (mut plain, mut append) = (server.client().await, appender(&server).await);
    drop(server);
    let mut known = BTreeMap::new();
    for round in 0.. {
        let name = format!("p{cycle}_{round}");
        known.insert(name.clone(), vec![0, PLAIN]);
        if is_gone(put(&mut plain, &name, vec![rows(0..10, 0)]).await) {
            break;
        }
        known.insert(name.clone(), vec![PLAIN, PLAIN + ADDED]);
        if is_gone(put(&mut append, &name, vec![rows(10..15, 0)]).await) {
            break;
        }
        known.insert(name, vec![PLAIN + ADDED]);
    }
    known
}

/// Checks the table against what is known of it; from then on, what it is is known.
async fn settle(server: &Server, ledger: &Shared) {
    let mut client = server.client().await;
    let sql = "select cast(floor(id / 50) as bigint), count(*), count(distinct id), min(x), max(x) from t group by 1";
    let mut found = BTreeMap::new();
    for batch in get(&mut client, sql).await.unwrap() {
        for row in 0..batch.num_rows() {
            let cell = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            assert_eq!((cell(1), cell(2)), (BLOCK, BLOCK), "rows of block {} are lost or doubled", cell(0));
            assert_eq!(cell(3), cell(4), "block {} is half changed", cell(0));
            found.insert(cell(0), cell(3));
        }
    }
    let mut ledger = ledger.lock().unwrap();
    for (block, may_be) in &mut ledger.blocks {
        let is = found.remove(block);
        assert!(may_be.contains(&is), "block {block} is {is:?}, may be {may_be:?}");
        *may_be = vec![is];
    }
    assert!(found.is_empty(), "blocks that nobody appended: {found:?}");
}

fn check_root(root: &Path) {
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.strip_suffix(".parquet").unwrap_or(&name);
        let is_known = stem == "t" || (stem.starts_with('p') && stem.len() < 10);
        assert!(is_known || name == ".airstrip", "{name} is litter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_every_commit_that_it_told_of_and_no_half_of_another() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = u64::try_from(now.as_nanos() & u128::from(u32::MAX)).unwrap() | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let root = tempfile::tempdir().unwrap();
    let args = ["--compact-files", "6"];
    let ledger = Shared::default();
    {
        let server = Server::on(root.path(), &args);
        put(&mut server.client().await, "t", vec![rows(0..BLOCK, 0)]).await.unwrap();
        ledger.lock().unwrap().acknowledge(0, Some(0));
    }
    // A busy machine appends less in the same time, and then goes on for longer.
    let is_little = || ledger.lock().unwrap().blocks.len() <= 50;
    for cycle in (0..4 * CYCLES).take_while(|cycle| *cycle < CYCLES || is_little()) {
        let server = Arc::new(Server::on(root.path(), &args));
        let appending = [0, 1].map(|_| tokio::spawn(append_blocks(Arc::clone(&server), Arc::clone(&ledger))));
        let dice_of_changes = Dice(dice.roll(1 << 40) | 1);
        let changing =
            tokio::spawn(change_blocks(server.address.clone(), Arc::clone(&ledger), dice_of_changes));
        let promoting = tokio::spawn(promote(Arc::clone(&server), cycle));
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(500))).await;
        server.signal(rustix::process::Signal::KILL);
        for task in appending {
            task.await.unwrap();
        }
        changing.await.unwrap();
        let promoted = promoting.await.unwrap();
        drop(Arc::into_inner(server).unwrap());

        let server = Server::on(root.path(), &args);
        assert_eq!(server.staged(), 0, "cycle {cycle} left litter");
        check_root(root.path());
        settle(&server, &ledger).await;
        let mut client = server.client().await;
        let there = names(&mut client, "").await;
        for (name, may_be) in promoted {
            let rows = if there.contains(&name) { count(&mut client, &name).await.unwrap() } else { 0 };
            assert!(may_be.contains(&rows), "cycle {cycle}: {name} has {rows} rows, may have {may_be:?}");
            if rows > 0 {
                put(&mut appender(&server).await, &name, vec![crate::delta::rows(90..91, 0)]).await.unwrap();
                assert_eq!(count(&mut client, &name).await.unwrap(), rows + 1);
            }
        }
        assert_eq!(change(&server, "update t set x = x where id < 0").await.unwrap(), 0);
    }
    let ledger = ledger.lock().unwrap();
    assert!(ledger.blocks.len() > 50, "only {} blocks: the test tests little", ledger.blocks.len());
}
