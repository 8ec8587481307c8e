//! Other people's clients, in environments that the test makes itself.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder(suite: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(suite)
}

/// Says that a suite cannot run here; in CI it must.
fn skip(suite: &str, needs: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs {needs}");
    eprintln!("SKIPPED: the suite {suite} needs {needs}");
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a suite's command, whose output is the test's.
fn run(suite: &str, command: &mut Command) {
    let status =
        command.current_dir(folder(suite)).env("AIRSTRIP_BIN", env!("CARGO_BIN_EXE_airstrip")).status();
    let status = status.unwrap();
    assert!(status.success(), "the suite {suite} failed: its output is above");
}

/// Runs a suite of pytest in a virtual environment of its own.
fn pytest(suite: &str) {
    let Some(python) = environment(suite, &folder(suite)) else { return };
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--color=no"]);
    run(suite, pytest.env("PYTHONDONTWRITEBYTECODE", "1"));
}

/// A Python that can make virtual environments.
fn python(suite: &str) -> Option<&'static str> {
    let runs = |python: &&str| {
        let code = "import sys, venv; sys.exit(sys.version_info < (3, 11))";
        succeeds(Command::new(python).args(["-c", code]))
    };
    let python = ["python3", "python"].into_iter().find(runs);
    if python.is_none() {
        skip(suite, "Python 3.11 or newer with the module venv");
    }
    python
}

/// The Python of an environment that holds what the suite requires, made once per requirements.
fn environment(suite: &str, folder: &Path) -> Option<PathBuf> {
    let python = python(suite)?;
    let requirements = folder.join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-{suite}"));
    let inside = home.join("bin/python");
    let installed = home.join("installed.txt");
    if std::fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return Some(inside);
    }
    let make = |command: &mut Command| {
        let status = command.status().unwrap();
        assert!(status.success(), "{command:?} failed");
    };
    make(Command::new(python).args(["-m", "venv", "--clear"]).arg(&home));
    make(Command::new(&inside).args(["-m", "pip", "install", "-q", "-r"]).arg(&requirements));
    std::fs::write(installed, wanted).unwrap();
    Some(inside)
}

#[test]
fn pyarrow_works() {
    pytest("pyarrow");
}

/// ADBC, polars, pandas, flightsql-dbapi with SQLAlchemy.
#[test]
fn python_over_flight_sql_works() {
    pytest("flightsql");
}

#[test]
fn jdbc_works() {
    if !succeeds(Command::new("javac").arg("-version")) {
        return skip("jdbc", "a JDK of version 17 or newer");
    }
    let Some(python) = python("jdbc") else { return };
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jdbc");
    run("jdbc", Command::new(python).args(["run.py", "--cache"]).arg(cache));
}

/// arrow-go's client, and the scenarios of Arrow's integration tests that a real server can meet.
#[test]
fn go_works() {
    if !succeeds(Command::new("go").arg("version")) {
        return skip("go", "Go 1.25 or newer");
    }
    // Never from Go's cache of results: it does not know that the server changed.
    run("go", Command::new("go").args(["test", "-count=1", "-timeout=300s", "./..."]));
}
