//! Places in the server fail, panic or wait, one after the other, while it is asked for what leads there: afterwards a
//! dataset is the old one or the new one, an answer that is OK is whole, and the next request works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::FlightClient;
use arrow_flight::error::FlightError;
use futures::TryStreamExt;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{Server, batch, command, get, put};
use crate::operation::{Clients, Operation, code};
use crate::statements::{ADD_COLUMN, DROP_VIEW, OPTIMIZE, RESTORE, TRUNCATE};

/// The places of `src/failpoint.rs`.
const PLACES: [&str; 18] = [
    "decode",
    "staged_write",
    "staged_finish",
    "publish",
    "receipt",
    "trash",
    "dropped",
    "placed",
    "committed",
    "note",
    "footer",
    "snapshot",
    "piece",
    "plan",
    "batch",
    "list",
    "action",
    "answer",
];

const WORK: [Work; 16] = [
    Work::Changes(Operation::Create),
    Work::Changes(Operation::Replace),
    Work::Changes(Operation::Drop),
    Work::Changes(Operation::Rename),
    Work::Changes(Operation::Append),
    Work::Changes(Operation::Promote),
    Work::Changes(Operation::Delete),
    Work::Changes(Operation::Register),
    Work::Changes(Operation::CreateView),
    Work::Changes(Operation::Statement(&DROP_VIEW)),
    Work::Changes(Operation::Statement(&TRUNCATE)),
    Work::Changes(Operation::Statement(&OPTIMIZE)),
    Work::Changes(Operation::Statement(&RESTORE)),
    Work::Changes(Operation::Statement(&ADD_COLUMN)),
    Work::Reads("read"),
    Work::Reads("select v, n, s from read where n >= 0"),
];

const ROWS: i64 = 1000;
const BATCHES: i64 = 3;
/// Work that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server is asked for.
#[derive(Debug, Clone, Copy)]
enum Work {
    Changes(Operation),
    /// A ticket that gives all rows of the same dataset.
    Reads(&'static str),
}

/// How a place fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delay,
    Error,
    Panic,
}

struct Asking {
    server: Server,
    /// What the server is to fail at.
    file: PathBuf,
    clients: Clients,
    reader: FlightClient,
    /// Files in the staging directory.
    left: usize,
    _dir: tempfile::TempDir,
}

impl Asking {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, root) = (dir.path().join("fail"), dir.path().join("root"));
        std::fs::create_dir(&root).unwrap();
        let mut program = command();
        program.env("AIRSTRIP_FAIL_AT", &file);
        // Nothing is known without a look.
        let caches =
            ["--footer-cache", "0", "--column-cache", "0", "--frame-cache", "0", "--plan-cache", "0"];
        let server = Server::running(program, &root, &caches, Stdio::null());
        let mut reader = server.client().await;
        let batches = (0..BATCHES).map(|version| batch(version, ROWS)).collect();
        put(&mut reader, "read", batches).await.unwrap();
        let clients = Clients::over(server.channel().await);
        Self { server, file, clients, reader, left: 0, _dir: dir }
    }

    async fn read(&mut self, ticket: &str) -> Result<(), FlightError> {
        // Tools list what there is before they read it.
        let listed: Vec<_> = self.reader.list_flights("read").await?.try_collect().await?;
        assert_eq!(listed.len(), 1, "a list is short");
        let batches = get(&mut self.reader, ticket.to_owned()).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(i64::try_from(rows), Ok(ROWS * BATCHES), "{ticket}: an answer is short");
        Ok(())
    }

    /// Whether there are files of more than those that were left before in the staging directory.
    async fn litters(&mut self) -> bool {
        let start = Instant::now();
        while self.server.staged() > self.left && start.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = std::mem::replace(&mut self.left, self.server.staged());
        self.left > before
    }

    /// Does the work while `place` fails, if there is one, and says whether it came to that.
    async fn ask(&mut self, work: Work, fault: Option<(&str, Kind)>) -> bool {
        let context = format!("{work:?}, {fault:?}");
        let old = match work {
            Work::Changes(operation) => operation.prepare(&mut self.clients, self.server.root()).await,
            Work::Reads(_) => 0,
        };
        if let Some((place, kind)) = fault {
            std::fs::write(&self.file, format!("{place} {kind:?}").to_lowercase()).unwrap();
        }
        let done = match work {
            Work::Changes(operation) => timeout(PATIENCE, operation.run(&mut self.clients, old)).await,
            Work::Reads(ticket) => timeout(PATIENCE, self.read(ticket)).await,
        };
        let came_there = fault.is_some() && std::fs::remove_file(&self.file).is_err();
        let done = done.unwrap_or_else(|_| panic!("{context}: it hangs"));
        let may_fail = came_there && fault.is_some_and(|(_, kind)| kind != Kind::Delay);
        match &done {
            Ok(()) => {}
            Err(error) => {
                assert!(may_fail, "{context}: {error}");
                let expected = [Some(Code::Unavailable), Some(Code::Internal)];
                assert!(expected.contains(&code(error)), "{context}: {error}");
            }
        }
        if let Work::Changes(operation) = work {
            let (state, new) = (operation.state(&mut self.clients).await, operation.next(old));
            assert!(
                state == new || (done.is_err() && state == old),
                "{context}: {state}, not {new}: {done:?}"
            );
        }
        came_there
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_place_that_fails_loses_nothing() {
    let mut asking = Asking::new().await;
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut litter = Vec::new();
    for place in PLACES {
        for work in WORK {
            // With a delay all goes on; that tells who comes there.
            if !asking.ask(work, Some((place, Kind::Delay))).await {
                continue;
            }
            *hits.entry(place).or_default() += 1;
            for kind in [Kind::Error, Kind::Panic] {
                assert!(
                    asking.ask(work, Some((place, kind))).await,
                    "{work:?} does not come to {place} again"
                );
                asking.ask(work, None).await;
                if asking.litters().await {
                    litter.push(format!("{work:?}, {place}, {kind:?}"));
                }
            }
        }
        assert!(hits.contains_key(place), "nothing comes to {place}");
    }
    assert!(litter.is_empty(), "files are left by {litter:#?}");
    println!("how many of {} kinds of work come to a place: {hits:?}", WORK.len());
}
