//! Other people's clients, in environments that the test makes itself.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a suite of pytest in a virtual environment of its own. Where there is no Python the suite is
/// skipped aloud, unless this is CI.
fn pytest(suite: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(suite);
    let Some(python) = environment(suite, &folder) else { return };
    let status = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--color=no"])
        .current_dir(&folder)
        .env("AIRSTRIP_BIN", env!("CARGO_BIN_EXE_airstrip"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .unwrap();
    assert!(status.success(), "the suite {suite} failed: its output is above");
}

/// The Python of an environment that holds what the suite requires, made once per requirements.
fn environment(suite: &str, folder: &Path) -> Option<PathBuf> {
    let required = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let runs = |python: &str| {
        let code = "import sys, venv; sys.exit(sys.version_info < (3, 11))";
        Command::new(python).args(["-c", code]).status().is_ok_and(|status| status.success())
    };
    let Some(python) = ["python3", "python"].into_iter().find(|python| runs(python)) else {
        assert!(!required, "CI needs Python 3.11 or newer with the module venv");
        eprintln!("SKIPPED: the suite {suite} needs Python 3.11 or newer with the module venv");
        return None;
    };
    let requirements = folder.join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-{suite}"));
    let inside = home.join("bin/python");
    let installed = home.join("installed.txt");
    if std::fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return Some(inside);
    }
    let run = |command: &mut Command| {
        let status = command.status().unwrap();
        assert!(status.success(), "{command:?} failed");
    };
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&home));
    run(Command::new(&inside).args(["-m", "pip", "install", "-q", "-r"]).arg(&requirements));
    std::fs::write(installed, wanted).unwrap();
    Some(inside)
}

#[test]
fn pyarrow_works() {
    pytest("pyarrow");
}
