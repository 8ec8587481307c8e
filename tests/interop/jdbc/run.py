#!/usr/bin/env python3
"""Runs the JDBC checks in `src/` with every driver of `jars.txt` against `$AIRSTRIP_BIN`, and those of `pools/`,
with HikariCP, Spring's JDBC and Calcite's adapter, with the newest of them.

    AIRSTRIP_BIN=target/debug/airstrip python3 tests/interop/jdbc/run.py --cache DIR

One line per check: `ok name: detail` or `FAIL name: detail`. Exit code: 0 if all passed, 1 if one failed
or a jar could not be had, 77 if there is no Java.

Where the jars come from is said in `../shared/java.py`. `--jar VERSION=FILE` adds a driver that is on disk already, such as
one built from source; `--only VERSION` leaves out the others.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "shared"))

import java  # noqa: E402

NO_JAVA = 77
DRIVER = "flight-sql-jdbc-driver"
# All checks of one driver take about 20 s; a hanging one must not hold up the caller.
SUITE_SECONDS = 150


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, required=True, help="the folder that keeps the jars")
    arguments.add_argument("--jar", action="append", default=[], metavar="VERSION=FILE")
    arguments.add_argument("--only", action="append", default=[], metavar="VERSION")
    options = arguments.parse_args()
    missing = [tool for tool in ("java", "javac") if not java.runs(tool)]
    if missing:
        print(f"SKIPPED: the JDBC checks need a JDK of version 17 or newer; there is no {' and no '.join(missing)}")
        return NO_JAVA
    pins = java.pins(HERE / "jars.txt")
    paths = dict(zip(pins, java.provide(options.cache.resolve(), pins)))
    drivers = [(jar.version, path) for jar, path in paths.items() if jar.name == DRIVER]
    drivers += [(version, Path(path).resolve(strict=True)) for version, _, path in (j.partition("=") for j in options.jar)]
    drivers = [driver for driver in drivers if not options.only or driver[0] in options.only]
    if not drivers:
        sys.exit("no driver is left to run")
    libraries = [path for jar, path in paths.items() if jar.name != DRIVER]
    with tempfile.TemporaryDirectory(prefix="airstrip-jdbc-") as scratch:
        scratch = Path(scratch)
        # What all drivers share: the compiled checks, which know nothing but java.sql, and the tables.
        classes, pools = scratch / "classes", scratch / "pools"
        java.compile((HERE / "src").glob("*.java"), classes)
        java.compile((HERE / "pools").glob("*.java"), pools, [classes, *libraries])
        java.demo(scratch / "demo")
        runs = [(version, "Suite", [jar, classes]) for version, jar in drivers]
        version, newest = drivers[-1]
        # The driver last: it brings parts of the libraries' own packages.
        runs.append((f"{version} pools", "Pools", [pools, classes, *libraries, newest]))
        return 0 if all([run(scratch, *each) for each in runs]) else 1


def run(scratch, label, main, jars):
    print(f"driver {label}", flush=True)
    root, log = scratch / f"root-{label}", scratch / f"log-{label}"
    shutil.copytree(scratch / "demo", root)
    return java.check(label, root, log, main, jars, SUITE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
