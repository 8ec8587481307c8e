#!/usr/bin/env python3
"""Runs the checks in `src/` of ADBC's Flight SQL driver for Java against `$AIRSTRIP_BIN`.

    AIRSTRIP_BIN=target/debug/airstrip python3 tests/interop/adbc-java/run.py --cache DIR

Output and exit codes are those of `../jdbc/run.py`, whose class Check it uses; jars come as `../shared/java.py` says.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "shared"))

import java  # noqa: E402

NO_JAVA = 77
# All checks take about 10 s; a hanging one must not hold up the caller.
SUITE_SECONDS = 120


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, required=True, help="the folder that keeps the jars")
    options = arguments.parse_args()
    missing = [tool for tool in ("java", "javac") if not java.runs(tool)]
    if missing:
        print(f"SKIPPED: the ADBC checks need a JDK of version 17 or newer; there is no {' and no '.join(missing)}")
        return NO_JAVA
    pins = java.pins(HERE / "jars.txt")
    jars = java.provide(options.cache.resolve(), pins)
    [version] = [jar.version for jar in pins if jar.name == "adbc-driver-flight-sql"]
    with tempfile.TemporaryDirectory(prefix="airstrip-adbc-java-") as scratch:
        scratch = Path(scratch)
        sources = [HERE.parent / "jdbc/src/Check.java", *(HERE / "src").glob("*.java")]
        java.compile(sources, scratch / "classes", jars)
        java.demo(scratch / "root")
        passed = java.check(version, scratch / "root", scratch / "log", "AdbcSuite", [scratch / "classes", *jars], SUITE_SECONDS)
        return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
