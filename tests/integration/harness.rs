//! A server process with a root of its own, and clients for it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{Action, FlightClient, FlightDescriptor, Ticket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::TryStreamExt;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

/// Names a safeguard that servers go without.
pub(crate) const TAKE_OUT: &str = "AIRSTRIP_TAKE_OUT";
/// How long anything may take before a test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) line: String,
    pub(crate) address: String,
    /// Kept for its drop, if the root is this server's own.
    #[allow(dead_code)]
    dir: Option<TempDir>,
    root: PathBuf,
}

impl Server {
    /// A server on a fresh root.
    pub(crate) fn start() -> Self {
        Self::with_args(&[])
    }

    pub(crate) fn with_args(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::on(dir.path(), args);
        server.dir = Some(dir);
        server
    }

    /// A server on `root`, which stays.
    pub(crate) fn on(root: &Path, args: &[&str]) -> Self {
        Self::spawned(root, args, Stdio::inherit())
    }

    /// A server on a fresh root, and what it logs.
    pub(crate) fn logged() -> (Self, ChildStderr) {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::spawned(dir.path(), &[], Stdio::piped());
        server.dir = Some(dir);
        let log = server.child.stderr.take().unwrap();
        (server, log)
    }

    /// A server on a fresh root that logs to `log`.
    pub(crate) fn logging_to(log: std::fs::File) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::spawned(dir.path(), &[], log.into());
        server.dir = Some(dir);
        server
    }

    fn spawned(root: &Path, args: &[&str], log: Stdio) -> Self {
        Self::running(command(), root, args, log)
    }

    /// A server on `root` that `program` is.
    pub(crate) fn running(mut program: Command, root: &Path, args: &[&str], log: Stdio) -> Self {
        let mut child = program
            .arg("serve")
            .arg(root)
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.split("grpc://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { child, _stdout: stdout, line, address, dir: None, root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> FlightClient {
        FlightClient::new(self.channel().await)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process; the connections of this test's clients stay responsive.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Files that an upload left behind.
    pub(crate) fn staged(&self) -> usize {
        std::fs::read_dir(self.root.join(".airstrip/staging")).unwrap().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, without settings of the caller's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airstrip"));
    for (name, _) in std::env::vars_os() {
        // What a test is to notice the absence of is not there.
        if name.to_string_lossy().starts_with("AIRSTRIP_") && name != TAKE_OUT {
            command.env_remove(name);
        }
    }
    command
}

/// A batch of `rows` rows: `v` is `version` throughout, `n` counts, `s` is text.
pub(crate) fn batch(version: i64, rows: i64) -> RecordBatch {
    let v: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| version)));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("row {row}"))));
    RecordBatch::try_from_iter([("v", v), ("n", n), ("s", s)]).unwrap()
}

pub(crate) fn path(name: &str) -> FlightDescriptor {
    FlightDescriptor::new_path(vec![name.to_owned()])
}

/// Uploads `batches` and returns the receipt.
pub(crate) async fn put(
    client: &mut FlightClient,
    name: &str,
    batches: Vec<RecordBatch>,
) -> Result<serde_json::Value, FlightError> {
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(name)))
        .with_schema(batches[0].schema())
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let answers: Vec<_> = client.do_put(stream).await?.try_collect().await?;
    let last = answers.last().expect("a receipt");
    Ok(serde_json::from_slice(&last.app_metadata).expect("a receipt in JSON"))
}

pub(crate) async fn get(
    client: &mut FlightClient,
    ticket: impl Into<Bytes>,
) -> Result<Vec<RecordBatch>, FlightError> {
    client.do_get(Ticket::new(ticket)).await?.try_collect().await
}

/// The rows of a result.
pub(crate) async fn count(client: &mut FlightClient, ticket: &str) -> Result<usize, FlightError> {
    Ok(get(client, ticket.to_owned()).await?.iter().map(RecordBatch::num_rows).sum())
}

/// The one number that a query gives.
pub(crate) async fn number(client: &mut FlightClient, sql: &str) -> i64 {
    let batches = get(client, sql.to_owned()).await.unwrap();
    let column = batches[0].column(0);
    column.as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

/// Does an action and gives the JSON of its one answer.
pub(crate) async fn act(
    client: &mut FlightClient,
    name: &str,
    body: impl Into<Bytes>,
) -> Result<serde_json::Value, FlightError> {
    let answers: Vec<Bytes> = client.do_action(Action::new(name, body)).await?.try_collect().await?;
    Ok(serde_json::from_slice(&answers[0]).expect("JSON"))
}

/// What is listed: the paths of the descriptors.
pub(crate) async fn listed(client: &mut FlightClient, glob: &str) -> Vec<String> {
    let infos: Vec<_> = client.list_flights(glob.to_owned()).await.unwrap().try_collect().await.unwrap();
    infos.into_iter().map(|info| info.flight_descriptor.unwrap().path.join("/")).collect()
}

/// The names that are listed: a dataset is the same with `.parquet` and without.
pub(crate) async fn names(client: &mut FlightClient, glob: &str) -> Vec<String> {
    let listed = listed(client, glob).await.into_iter();
    listed.map(|path| path.strip_suffix(".parquet").map_or(path.clone(), str::to_owned)).collect()
}

/// The code of an error, which must hold `part` in its text.
#[track_caller]
pub(crate) fn assert_error<T>(result: Result<T, FlightError>, code: Code, part: &str) {
    match result {
        Ok(_) => panic!("there is no error; expected {code:?} with {part:?}"),
        Err(FlightError::Tonic(status)) => {
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(part), "{:?} lacks {part:?}", status.message());
        }
        Err(other) => panic!("{other}"),
    }
}

/// Waits until `true_at_last` holds.
pub(crate) async fn eventually(within: Duration, mut true_at_last: impl FnMut() -> bool) {
    let start = Instant::now();
    while !true_at_last() {
        assert!(start.elapsed() < within, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A message as gRPC frames it: whether it is compressed, its length, itself.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// The descriptors that a process has open.
pub(crate) fn open_descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// What the kernel says of a process's memory, in KiB: `VmRSS` what it has, `VmHWM` the most that it had.
pub(crate) fn memory_kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time that a process has used, in clock ticks (Linux: 100 a second).
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
