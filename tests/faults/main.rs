//! Every system call of every operation fails once, and the process is killed before some of them: afterwards the
//! dataset is the old one or the new one, and what was acknowledged is there.
//!
//! With `AIRSTRIP_FAULTS=all` each call fails in all ways, and the process is killed before each. See README.md.

// A test that panics has failed, which is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other programs rename without syncing.
#![allow(clippy::disallowed_methods)]

mod failpoints;
#[allow(dead_code)]
#[path = "../integration/harness.rs"]
mod harness;
mod history;
mod inject;
mod operation;
mod power;
mod statements;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use arrow_flight::error::FlightError;
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Code;

use inject::{Counted, Errno, Fault, Traced, injector};
use operation::{Clients, Operation, code};
use power::lose_power;

const ERRNOS: [Errno; 4] = [Errno::Io, Errno::NoSpace, Errno::TooManyFiles, Errno::NoMemory];
/// Of so many calls the process is killed before one, where not all are asked for.
const KILLS: u64 = 5;
/// An operation that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a root, and what happened there.
struct Campaign {
    operation: Operation,
    injector: &'static Path,
    dir: TempDir,
    server: Traced,
    clients: Clients,
    runs: u64,
    /// How often the operation ended how, by the fault.
    outcomes: BTreeMap<String, u64>,
}

impl Campaign {
    async fn new(injector: &'static Path, operation: Operation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Traced::start(injector, dir.path());
        let clients = Clients::of(&server).await;
        Self { operation, injector, dir, server, clients, runs: 0, outcomes: BTreeMap::new() }
    }

    async fn restart(&mut self) {
        self.server.kill();
        self.server = Traced::start(self.injector, self.dir.path());
        self.clients = Clients::of(&self.server).await;
        self.check_no_litter();
    }

    /// How many calls the operation makes.
    async fn calls(&mut self) -> u64 {
        let state = self.operation.prepare(&mut self.clients, self.dir.path()).await;
        self.server.watch();
        self.operation.run(&mut self.clients, state).await.unwrap();
        let Counted { calls, .. } = self.server.count().unwrap();
        assert_eq!(self.operation.state(&mut self.clients).await, self.operation.next(state));
        calls
    }

    /// Runs the operation once with a fault at its `number`th call.
    async fn run(&mut self, number: u64, fault: Fault, stays: bool) {
        let old = self.operation.prepare(&mut self.clients, self.dir.path()).await;
        let new = self.operation.next(old);
        self.server.arm(number, fault, stays);
        let done = timeout(PATIENCE, self.operation.run(&mut self.clients, old)).await;
        let counted = self.server.count();
        let what = counted.as_ref().map_or("", |counted| &counted.first).to_owned();
        let context = format!("{:?}, {fault} at call {number} ({what}, stays: {stays})", self.operation);
        let done = done.unwrap_or_else(|_| panic!("{context}: it hangs"));
        let context = format!("{context}: {done:?}");
        check_code(&done, fault, &context);
        // The injector may answer before it sees the end.
        let was_killed = counted.as_ref().is_none_or(|counted| fault == Fault::Kills && counted.failed > 0);
        if was_killed {
            self.restart().await;
        }
        let mut state = self.state(&done, (old, new), &context).await;
        let is_read_only = self.is_read_only().await;
        if is_read_only {
            assert!(what.contains("sync"), "{context}: the server takes no writes any more");
            self.restart().await;
            state = self.state(&done, (old, new), &context).await;
        } else if stays {
            // Nothing could be taken away either, before the next start.
            self.restart().await;
            state = self.state(&done, (old, new), &context).await;
        } else {
            assert_eq!(self.unnamed_files(), 0, "{context}: a failed commit has left its files");
        }
        self.runs += u64::from(counted.is_none_or(|counted| counted.failed > 0));
        let ending = match &done {
            Ok(()) => "OK".to_owned(),
            Err(error) => format!("{:?}", code(error).unwrap_or(Code::Unknown)),
        };
        let what = if state == new { "new" } else { "old" };
        *self.outcomes.entry(format!("{fault}: {ending}, {what}")).or_default() += 1;
    }

    /// The state of the dataset, which is the old one or the new; once that was acknowledged, the new one.
    async fn state(&mut self, done: &Result<(), FlightError>, (old, new): (i64, i64), context: &str) -> i64 {
        let state = self.operation.state(&mut self.clients).await;
        assert!(state == old || state == new, "{context}: {state} is neither {old} nor {new}");
        assert!(done.is_err() || state == new, "{context}: it was acknowledged and is not there");
        state
    }

    /// Whether a failed sync has ended all writing.
    async fn is_read_only(&mut self) -> bool {
        matches!(self.clients.probe().await, Err(error) if code(&error) == Some(Code::Unavailable))
    }

    fn check_no_litter(&self) {
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let staged = names(&self.dir.path().join(".airstrip/staging"));
        assert!(staged.is_empty(), "{:?}: {staged:?} is left after a restart", self.operation);
        let known = self.operation.names();
        let other: Vec<_> = names(self.dir.path())
            .into_iter()
            .filter(|name| {
                name != ".airstrip" && name != "probe.view.json" && !known.contains(&name.as_str())
            })
            .collect();
        assert!(other.is_empty(), "{:?}: {other:?} is left after a restart", self.operation);
        assert_eq!(
            self.unnamed_files(),
            0,
            "{:?}: files of no version are left after a restart",
            self.operation
        );
    }

    /// How many Parquet files of tables no entry of their logs has named.
    fn unnamed_files(&self) -> usize {
        let tables = self.operation.names().iter().map(|name| self.dir.path().join(name));
        tables.filter(|table| table.join("_delta_log").is_dir()).map(|table| unnamed_in(&table)).sum()
    }
}

fn unnamed_in(table: &Path) -> usize {
    let mut named = HashSet::new();
    for entry in std::fs::read_dir(table.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = std::fs::read_to_string(path).unwrap();
            for line in text.lines() {
                let action: serde_json::Value = serde_json::from_str(line).unwrap();
                named.extend(action.pointer("/add/path").and_then(|path| path.as_str()).map(str::to_owned));
            }
        }
    }
    let files =
        std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter(|name| name.ends_with(".parquet") && !named.contains(name)).count()
}

/// Want of something is not taken for anything else, least of all for an absence or for damage.
fn check_code(done: &Result<(), FlightError>, fault: Fault, context: &str) {
    let Err(error) = done else { return };
    let code = code(error);
    match fault {
        Fault::Kills => {}
        // A disk that cannot be read has lost what is there.
        Fault::Fails(Errno::Io) => assert!(code != Some(Code::NotFound), "{context}"),
        Fault::Fails(_) => {
            let expected = [Some(Code::ResourceExhausted), Some(Code::Unavailable)];
            assert!(expected.contains(&code), "{context}");
        }
    }
}

/// Which calls are chosen where not all are: always the same, unless another seed is given.
fn seed() -> u64 {
    std::env::var("AIRSTRIP_FAULTS_SEED").map_or(1, |seed| seed.parse().unwrap())
}

fn all_are_wanted() -> bool {
    std::env::var("AIRSTRIP_FAULTS").is_ok_and(|wanted| wanted == "all")
}

async fn every_call(operation: Operation) {
    let Some(injector) = injector() else { return };
    let (all, seed) = (all_are_wanted(), seed());
    let mut campaign = Campaign::new(injector, operation).await;
    // The first time some things are looked up that are known later.
    campaign.calls().await;
    let calls = campaign.calls().await;
    assert!(calls >= 2, "{operation:?} makes {calls} calls");
    for number in 1..=calls {
        for (place, errno) in (0..).zip(ERRNOS) {
            if all || (number + seed) % 4 == place {
                campaign.run(number, Fault::Fails(errno), false).await;
            }
        }
        if all || (number + seed).is_multiple_of(KILLS) {
            campaign.run(number, Fault::Kills, false).await;
        }
        // Nothing works any more from there on.
        if all || (number + seed).is_multiple_of(2 * KILLS) {
            let errno = [Errno::NoSpace, Errno::TooManyFiles][usize::try_from(number / 2 % 2).unwrap()];
            campaign.run(number, Fault::Fails(errno), true).await;
        }
    }
    campaign.restart().await;
    let Campaign { runs, outcomes, .. } = campaign;
    println!("{operation:?}: {calls} calls, {runs} faults, seed {seed}: {outcomes:#?}");
}

/// A listing shows all that is there, or fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_listing_is_never_short() {
    let Some(injector) = injector() else { return };
    let (all, seed, dir) = (all_are_wanted(), seed(), tempfile::tempdir().unwrap());
    let mut server = Traced::start(injector, dir.path());
    let mut clients = Clients::of(&server).await;
    clients.make_some().await;
    let whole = clients.listing().await.unwrap();
    assert_eq!(whole.0.len(), 2, "{whole:?}");
    server.watch();
    assert_eq!(clients.listing().await.unwrap(), whole);
    let Counted { calls, .. } = server.count().unwrap();
    let mut failed = 0;
    for number in 1..=calls {
        for (place, errno) in (0..).zip(ERRNOS) {
            if !all && (number + seed) % 4 != place {
                continue;
            }
            let fault = Fault::Fails(errno);
            server.arm(number, fault, false);
            let listing = clients.listing().await;
            let call = server.count().unwrap().first;
            let context = format!("{fault} at call {number} ({call}): {listing:?}");
            // One dataset whose content is lost does not take the others along.
            let is_loss = errno == Errno::Io && call.contains("read");
            match listing {
                Ok(found) => assert!(is_loss || found == whole, "{context}"),
                Err(error) => {
                    failed += 1;
                    check_code(&Err(error), fault, &context);
                }
            }
        }
    }
    println!("a listing makes {calls} calls; {failed} faults failed it");
    assert!(failed > 0, "no fault was noticed");
}

/// So many of the states that a loss of power leaves are looked at, where not all are asked for.
const OPENED: usize = 100;

async fn every_loss(operations: &[Operation]) {
    let most = if all_are_wanted() { usize::MAX } else { OPENED };
    let Some(found) = lose_power(operations, None, most).await else { return };
    let (states, distinct, opened) = (found.states, found.distinct, found.opened);
    println!("{operations:?}: {states} states, {distinct} of them differ, {opened} looked at");
    assert!(distinct > 1, "{operations:?} change nothing");
    let (violations, calls) = (found.violations.join("\n"), found.calls);
    assert!(violations.is_empty(), "{violations}\nthe calls were\n{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn several_at_once_lose_power() {
    every_loss(&[
        Operation::Create,
        Operation::Replace,
        Operation::Drop,
        Operation::Append,
        Operation::CreateView,
    ])
    .await;
}

/// A test that would not miss a sync is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_sync_that_is_taken_out_is_missed() {
    let syncs = [
        ("sync_data", Operation::Replace),
        ("sync_names", Operation::Create),
        ("sync_logs", Operation::Append),
        ("sync_notes", Operation::CreateView),
        ("sync_records", Operation::Drop),
    ];
    for (sync, operation) in syncs {
        let Some(found) = lose_power(&[operation], Some(sync), OPENED).await else { return };
        println!("without {sync}: {} of {} states of {operation:?}", found.violations.len(), found.opened);
        assert!(!found.violations.is_empty(), "nothing is missed without {sync}");
    }
}

macro_rules! operations {
    ($($test:ident: $operation:ident $(($statement:expr))?,)*) => {
        mod fails {
            use super::{Operation, every_call, statements::*};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $test() {
                every_call(Operation::$operation $(($statement))?).await;
            })*
        }

        mod loses_power {
            use super::{Operation, every_loss, statements::*};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $test() {
                every_loss(&[Operation::$operation $(($statement))?]).await;
            })*
        }
    };
}

operations! {
    an_upload_of_a_new_dataset: Create,
    an_upload_that_replaces: Replace,
    a_drop: Drop,
    a_rename: Rename,
    an_append: Append,
    an_append_that_makes_a_table: Promote,
    an_insert: Insert,
    a_delete: Delete,
    an_update: Update,
    a_registration: Register,
    a_view: CreateView,
    a_schema: CreateSchema,
    a_drop_of_a_view: Statement(&DROP_VIEW),
    a_drop_of_a_schema: Statement(&DROP_SCHEMA),
    a_table: Statement(&CREATE_TABLE),
    a_table_of_rows: Statement(&CREATE_TABLE_AS),
    a_table_that_replaces: Statement(&REPLACE_TABLE),
    a_drop_of_a_table: Statement(&DROP_TABLE),
    an_undrop: Statement(&UNDROP_TABLE),
    a_rename_of_a_table: Statement(&RENAME_TABLE),
    a_truncation: Statement(&TRUNCATE),
    a_merge: Statement(&MERGE),
    a_new_column: Statement(&ADD_COLUMN),
    a_restored_version: Statement(&RESTORE),
    a_compaction: Statement(&OPTIMIZE),
    a_vacuum: Vacuum,
    a_view_that_replaces: Statement(&REPLACE_VIEW),
}
