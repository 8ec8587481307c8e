//! A server whose system calls can be made to fail, one by one.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::command;

/// What happens at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this error, and is not done.
    Fails(Errno),
    /// The process ends before it.
    Kills,
}

/// An error of the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    Io = 5,
    NoMemory = 12,
    TooManyFiles = 24,
    NoSpace = 28,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails(Errno::Io) => "EIO",
            Self::Fails(Errno::NoMemory) => "ENOMEM",
            Self::Fails(Errno::TooManyFiles) => "EMFILE",
            Self::Fails(Errno::NoSpace) => "ENOSPC",
            Self::Kills => "SIGKILL",
        })
    }
}

/// What there was since a fault was armed.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Calls that touched the root.
    pub(crate) calls: u64,
    /// Those that the fault came to.
    pub(crate) failed: u64,
    /// The first one of these.
    pub(crate) first: String,
}

/// The injector, made of its source by this machine's C compiler; `None` where there is none. CI has to have one.
pub(crate) fn injector() -> Option<&'static Path> {
    static MADE: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("inject");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/inject.c");
        let compiled = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-pthread", "-o"])
            .arg(&program)
            .arg(source)
            .output();
        let why = match compiled {
            Ok(output) if output.status.success() => return Some((dir, program)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "the injector cannot be compiled: {why}"
        );
        eprintln!("SKIPPED: no system call is made to fail, for the injector cannot be compiled: {why}");
        None
    });
    made.as_ref().map(|(_, program)| program.as_path())
}

/// A server under the injector. Dropped, both are killed.
pub(crate) struct Traced {
    child: Child,
    /// `None` once the server is to end.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStderr>,
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Traced {
    /// A server on `root`; everything that it looks up is looked up anew each time.
    pub(crate) fn start(injector: &Path, root: &Path) -> Self {
        Self::start_without(injector, root, None)
    }

    /// The same without one of its safeguards.
    pub(crate) fn start_without(injector: &Path, root: &Path, taken_out: Option<&str>) -> Self {
        let server = command();
        let mut traced = Command::new(injector);
        for (name, _) in server.get_envs() {
            traced.env_remove(name);
        }
        traced.envs(taken_out.map(|name| ("AIRSTRIP_TAKE_OUT", name)));
        let mut child = traced
            .arg(root)
            .arg(server.get_program())
            .arg("serve")
            .arg(root)
            .args(["--listen", "127.0.0.1:0", "--compact-files", "0"])
            .args(["--footer-cache", "0", "--column-cache", "0", "--frame-cache", "0", "--plan-cache", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.split("grpc://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { child, commands, answers, _stdout: stdout, address }
    }

    /// The answer to a command; nothing once the server has ended.
    fn ask(&mut self, command: &str) -> Option<String> {
        let commands = self.commands.as_mut()?;
        writeln!(commands, "{command}").and_then(|()| commands.flush()).ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        Some(answer.trim_end().to_owned()).filter(|answer| !answer.is_empty())
    }

    /// From now on calls are counted, and nothing happens to them.
    pub(crate) fn watch(&mut self) {
        assert_eq!(self.ask("arm 0 -1 0").as_deref(), Some("armed"));
    }

    /// The `number`th call from now on has the fault, and with `stays` all after it.
    pub(crate) fn arm(&mut self, number: u64, fault: Fault, stays: bool) {
        let errno = match fault {
            Fault::Fails(errno) => errno as i32,
            Fault::Kills => 0,
        };
        let armed = self.ask(&format!("arm {number} {errno} {}", i32::from(stays)));
        assert_eq!(armed.as_deref(), Some("armed"));
    }

    /// Ends the fault, and tells what there was; `None` if the server was killed.
    pub(crate) fn count(&mut self) -> Option<Counted> {
        let answer = self.ask("count")?;
        let mut parts = answer.splitn(3, ' ');
        let mut number = || parts.next().unwrap().parse().unwrap();
        let (calls, failed) = (number(), number());
        Some(Counted { calls, failed, first: parts.next().unwrap_or_default().to_owned() })
    }

    /// From now on what changes files is noted in a folder, or not any more.
    pub(crate) fn trace(&mut self, folder: Option<&Path>) {
        let folder = folder.map_or("-", |folder| folder.to_str().unwrap());
        assert_eq!(self.ask(&format!("trace {folder}")).as_deref(), Some("set"));
    }

    /// Kills the server: the injector does at the end of its input, and waits for it.
    pub(crate) fn kill(&mut self) {
        drop(self.commands.take());
        self.wait();
    }

    /// Waits for the end of a server that was killed.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}
