//! The machine loses power at any time while something is done: what was acknowledged is there, and the rest is old or new.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;

use crate::harness::Server;
use crate::history::{History, Left};
use crate::inject::{Traced, injector};
use crate::operation::{Clients, Operation};

/// What the server still does after its answer is done by then.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// What a campaign has found.
#[derive(Debug)]
pub(crate) struct Found {
    /// States that a loss of power can leave.
    pub(crate) states: usize,
    /// Those of them that differ.
    pub(crate) distinct: usize,
    /// Those that a server was started on.
    pub(crate) opened: usize,
    /// What was neither old nor new there, or old though the new one was acknowledged.
    pub(crate) violations: Vec<String>,
    /// What the server did.
    pub(crate) calls: String,
}

/// An operation that is done while power may be lost.
struct Done {
    operation: Operation,
    old: Seen,
    new: Seen,
    /// How many calls there had been when it was acknowledged.
    acknowledged: usize,
}

/// What is seen of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: i64,
    /// What the trash holds of it.
    kept: i64,
}

impl Seen {
    async fn of(operation: Operation, clients: &mut Clients) -> Self {
        let state = operation.state(clients).await;
        Self { state, kept: operation.kept(clients).await }
    }
}

/// Loses power in all ways while `operations` are done at once, and starts a server on up to `most` of the states that are
/// left. `taken_out` is a safeguard that the server goes without. `None` where calls cannot be traced.
pub(crate) async fn lose_power(
    operations: &[Operation],
    taken_out: Option<&str>,
    most: usize,
) -> Option<Found> {
    let (root, trace) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Traced::start_without(injector()?, root.path(), taken_out);
    let mut clients = Clients::of(&server).await;
    let mut before = Vec::new();
    for operation in operations {
        // The first time some things are made that are there later.
        let state = operation.prepare(&mut clients, root.path()).await;
        operation.run(&mut clients, state).await.unwrap();
        operation.prepare(&mut clients, root.path()).await;
    }
    for operation in operations {
        before.push(Seen::of(*operation, &mut clients).await);
    }
    tokio::time::sleep(AFTERWARDS).await;
    let mut history = History::begin(root.path());
    server.trace(Some(trace.path()));
    let mut done = Vec::new();
    for (operation, old) in operations.iter().zip(before) {
        done.push(run(*operation, old, Clients::of(&server).await, trace.path()));
    }
    let mut done = join_all(done).await;
    tokio::time::sleep(AFTERWARDS).await;
    server.trace(None);
    server.kill();
    history.read(trace.path());
    for done in &mut done {
        done.acknowledged = history.calls_of(done.acknowledged);
    }
    let (states, left) = history.left(&done.iter().map(|done| done.acknowledged).collect::<Vec<_>>());
    let (distinct, step) = (left.len(), left.len().div_ceil(most));
    let calls = std::fs::read_to_string(trace.path().join("calls")).unwrap();
    let mut found = Found { states, distinct, opened: 0, violations: Vec::new(), calls };
    for left in left.iter().step_by(step) {
        let after = tempfile::tempdir().unwrap();
        history.restore(left, after.path());
        found.opened += 1;
        for done in &done {
            found.violations.extend(check(done, left, after.path()).await);
        }
    }
    Some(found)
}

/// Does `operation`, and counts the lines of the trace once it is acknowledged.
async fn run(operation: Operation, old: Seen, mut clients: Clients, trace: &Path) -> Done {
    operation.run(&mut clients, old.state).await.unwrap();
    let acknowledged = std::fs::read_to_string(trace.join("calls")).unwrap().lines().count();
    let kept = old.kept + i64::from(operation.displaces());
    Done { operation, old, new: Seen { state: operation.next(old.state), kept }, acknowledged }
}

/// What is wrong with what an operation left.
async fn check(done: &Done, left: &Left, root: &Path) -> Option<String> {
    let (operation, root) = (done.operation, root.to_owned());
    let look = async move {
        let server = Server::on(&root, &["--log", "off"]);
        Seen::of(operation, &mut Clients::over(server.channel().await)).await
    };
    let seen = tokio::spawn(look).await.map_err(|error| error.to_string());
    let Done { old, new, acknowledged, .. } = done;
    let is_acknowledged = left.calls >= *acknowledged;
    let is_right = seen == Ok(*new) || !is_acknowledged && seen == Ok(*old);
    (!is_right).then(|| {
        let Left { calls, what, .. } = left;
        format!(
            "{operation:?} after {calls} calls (acknowledged: {is_acknowledged}) is {seen:?}, not {old:?} or \
             {new:?}:\n{what}"
        )
    })
}
