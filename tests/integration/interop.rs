//! Other people's clients, in environments that the test makes itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::harness::Server;

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
    let started = Instant::now();
    let status =
        command.current_dir(folder(suite)).env("AIRSTRIP_BIN", env!("CARGO_BIN_EXE_airstrip")).status();
    let status = status.unwrap();
    // Not by a macro, whose text is shown for failures alone.
    let _ = writeln!(std::io::stderr(), "{suite}: {:.1} minutes", started.elapsed().as_secs_f64() / 60.0);
    assert!(status.success(), "the suite {suite} failed: its output is above");
}

/// Runs a suite of pytest in a virtual environment of its own.
fn pytest(suite: &str) {
    let Some(python) = environment(suite, &folder(suite)) else { return };
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--color=no"]);
    run(suite, pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("JAR_CACHE", jars()));
}

/// The folder that keeps the jars of Maven Central.
fn jars() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("jdbc")
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

/// The rows of README's table, from what the suites record.
fn clients() -> String {
    let mut rows =
        vec!["| client | version | works | does not, and why |".to_owned(), "|---|---|---|---|".to_owned()];
    for suite in ["flightsql", "marimo", "jdbc", "spark", "adbc-java", "go"] {
        let text = std::fs::read(folder(suite).join("clients.json")).unwrap();
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        for entry in entries {
            let list = |key: &str| {
                let items = entry[key].as_array().unwrap_or_else(|| panic!("{suite}: {entry} lacks {key}"));
                let items: Vec<_> = items.iter().map(item).collect();
                items.join("; ").replace('|', "\\|")
            };
            let (client, version) = (entry["client"].as_str().unwrap(), entry["version"].as_str().unwrap());
            rows.push(format!("| {client} | {version} | {} | {} |", list("works"), list("does_not")));
        }
    }
    rows.join("\n")
}

/// A text, or a thing and its reason.
fn item(item: &serde_json::Value) -> String {
    match item.as_str() {
        Some(text) => text.to_owned(),
        None => format!("{} ({})", item["what"].as_str().unwrap(), item["why"].as_str().unwrap()),
    }
}

#[test]
fn the_readme_lists_the_clients() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find("<!-- clients:").unwrap();
    let start = start + text[start..].find("-->").unwrap() + "-->".len();
    let end = text.find("<!-- end of clients -->").unwrap();
    let made = format!("{}\n\n{}\n\n{}", &text[..start], clients(), &text[end..]);
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    assert!(text == made, "README's table of clients is old; make it anew with UPDATE_README=1");
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

/// Tables that deltalake and polars write and read.
#[test]
fn delta_works() {
    pytest("delta");
}

/// Random queries and statements, answered as DuckDB answers them.
#[test]
fn differential_works() {
    pytest("differential");
}

/// Folders and tables that polars, DuckDB, deltalake, PyIceberg, Lance and Spark write.
#[test]
fn folders_of_other_writers_work() {
    pytest("writers");
}

/// PyArrow and ADBC through nginx, HAProxy, Caddy and Envoy, with the settings of docs/proxies.md.
#[test]
fn proxies_work() {
    pytest("proxies");
}

/// A dbt project of seeds, views, tables, incremental models and snapshots, by the adapter dbt-qod.
#[test]
fn dbt_works() {
    pytest("dbt");
}

/// SQLAlchemy 2 over ADBC.
#[test]
fn sqlalchemy_works() {
    pytest("sqlalchemy");
}

/// The command line client of arrow-flight, built from its crate.
fn flight_sql_client() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flight_sql_client-59.3.2");
    let binary = home.join("bin/flight_sql_client");
    if !binary.exists() {
        let mut install = Command::new(env!("CARGO"));
        install.args(["install", "arrow-flight", "--version", "59.3.2", "--locked", "--debug", "--quiet"]);
        install
            .args(["--features", "cli,flight-sql,tls-ring", "--bin", "flight_sql_client", "--root"])
            .arg(&home);
        let status = install.arg("--target-dir").arg(home.join("build")).status().unwrap();
        assert!(status.success(), "flight_sql_client could not be built");
    }
    binary
}

#[test]
fn the_command_line_client_works() {
    let binary = flight_sql_client();
    let server = Server::start();
    let (host, port) = server.address.split_once(':').unwrap();
    let run = |arguments: &[&str]| {
        let mut client = Command::new(&binary);
        let output = client.args(["--host", host, "--port", port]).args(arguments).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{error}");
        out.into_owned()
    };
    let shows = |arguments: &[&str], part: &str| {
        let out = run(arguments);
        assert!(out.contains(part), "{arguments:?} gave {out}, which lacks {part:?}");
    };
    let create = "create table t as select * from (values (1, 'a'), (2, 'b')) t(id, name)";
    run(&["statement-query", create]);
    shows(&["statement-query", "select count(*) as n from t"], "| 2 |");
    shows(&["prepared-statement-query", "select name from t where id = $1", "-p", "$1=2"], "| b    |");
    shows(&["--username", "ann", "--password", "x", "statement-query", "select 7 as n"], "| 7 |");
    shows(&["catalogs"], "airstrip");
    shows(&["db-schemas", "airstrip"], "information_schema");
    shows(&["tables", "airstrip", "--table-types", "TABLE"], "TABLE");
    shows(&["table-types"], "LOCAL TEMPORARY");
}

/// Whether there is a JDK, and a way to its jars; else says so.
fn has_java(suite: &str) -> bool {
    if !succeeds(Command::new("javac").arg("-version")) {
        skip(suite, "a JDK of version 17 or newer");
        return false;
    }
    let has_repository = std::env::var_os("MAVEN_REPOSITORY").is_some();
    if !has_repository && !succeeds(Command::new("mvn").arg("--version")) {
        skip(suite, "Maven, or MAVEN_REPOSITORY with the URL of a repository");
        return false;
    }
    true
}

/// Runs a suite's `run.py`, which compiles its checks and runs them with jars.
fn java(suite: &str) {
    if !has_java(suite) {
        return;
    }
    let Some(python) = python(suite) else { return };
    run(suite, Command::new(python).args(["run.py", "--cache"]).arg(jars()));
}

/// The JDBC driver by itself, and beneath HikariCP, Spring's JDBC and Calcite.
#[test]
fn jdbc_works() {
    java("jdbc");
}

/// ADBC's driver for Java.
#[test]
fn adbc_for_java_works() {
    java("adbc-java");
}

/// PySpark over the JDBC driver.
#[test]
fn spark_works() {
    if has_java("spark") {
        pytest("spark");
    }
}

/// SQL cells and data sources of marimo over ADBC.
#[test]
fn marimo_works() {
    pytest("marimo");
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
