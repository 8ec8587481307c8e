//! Places at which a test has a debug build fail, where no system call does: tests/faults/README.md.
//!
//! `AIRSTRIP_FAIL_AT=FILE` names a file that the test writes `place kind` into. The next one who comes to that place takes the
//! file away, and fails, panics or waits there. In release builds nothing is asked, and the variable is an error.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs, thread};

use clap::ValueEnum;

use crate::error::{Error, ErrorKind, Result};

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "AIRSTRIP_FAIL_AT";

/// How long somebody waits who is to wait.
const DELAY: Duration = Duration::from_millis(300);

/// The places. To the file they are called as here, in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Failpoint {
    /// A message of an upload is decoded.
    Decode,
    /// A batch is written to a staged file.
    StagedWrite,
    /// A staged file gets its footer.
    StagedFinish,
    /// A file or directory gets the name under which it is seen.
    Publish,
    /// An upload is there, and nobody knows yet.
    Receipt,
    /// What is dropped or replaced goes to the trash.
    Trash,
    /// A dataset is dropped, and nobody knows yet.
    Dropped,
    /// The files of a change of a Delta table are where they belong, and no entry of the log names them.
    Placed,
    /// A change of a Delta table is in its log, and nobody knows yet.
    Committed,
    /// A view or a registration is written.
    Note,
    /// A footer is read.
    Footer,
    /// A dataset is looked at.
    Snapshot,
    /// A batch of a raw stream is decoded.
    Piece,
    /// A query is planned.
    Plan,
    /// A query is asked for its next batch.
    Batch,
    /// Datasets are listed.
    List,
    /// An action begins.
    Action,
    /// An upload is answered.
    Answer,
}

enum Kind {
    Error,
    Panic,
    Delay,
}

impl Failpoint {
    /// Fails where a test wants it to.
    #[inline]
    pub(crate) fn pass(self) -> Result<()> {
        if cfg!(debug_assertions) { self.look() } else { Ok(()) }
    }

    #[expect(clippy::panic, clippy::disallowed_methods, reason = "a test asks for that")]
    fn look(self) -> Result<()> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let Some(file) = FILE.get_or_init(|| env::var_os(VARIABLE).map(PathBuf::from)) else { return Ok(()) };
        let Ok(wanted) = fs::read_to_string(file) else { return Ok(()) };
        let Some(kind) = self.kind(&wanted).filter(|_| fs::remove_file(file).is_ok()) else { return Ok(()) };
        tracing::warn!(place = ?self, "a test wants this to fail");
        match kind {
            Kind::Error => {
                Err(Error::new(ErrorKind::Unavailable, format!("{self:?}: a test wants this to fail")))
            }
            Kind::Panic => panic!("{self:?}: a test wants this to panic"),
            Kind::Delay => {
                thread::sleep(DELAY);
                Ok(())
            }
        }
    }

    /// What is to happen here, if the file's text is of this place.
    fn kind(self, wanted: &str) -> Option<Kind> {
        let (place, kind) = wanted.trim().split_once(' ')?;
        match kind {
            _ if !self.to_possible_value()?.matches(place, false) => None,
            "error" => Some(Kind::Error),
            "panic" => Some(Kind::Panic),
            "delay" => Some(Kind::Delay),
            _ => None,
        }
    }
}

/// Fails if the variable is set in a release build.
pub(crate) fn check() -> Result<()> {
    match env::var_os(VARIABLE) {
        Some(_) if !cfg!(debug_assertions) => {
            Err(Error::invalid(format!("{VARIABLE} is for tests of debug builds; unset it")))
        }
        Some(file) => {
            tracing::warn!(?file, "places fail as this file says");
            Ok(())
        }
        None => Ok(()),
    }
}
