"""Random queries and statements, answered by Airstrip and by DuckDB.

    pip install -r requirements.txt
    AIRSTRIP_BIN=../../../target/debug/airstrip python run.py --queries 3000 --changes 300 --seed 7

Every difference is printed with its query; the exit code is 1 where there was one that `dialect.py` has no reason
for. `--kinds joins,windows` asks for some kinds alone. One seed gives one run, on any machine.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import sys
import tempfile
import time

import duckdb

import changes
import compare
import dialect
import functions  # noqa: F401: it adds its kinds
import queries
import special
import statements  # noqa: F401: it adds its kinds
import tables
from server import Airstrip

# Rows of a result that are still compared.
MOST_ROWS = 20_000
# Bytes of a query that are still sent.
MOST_TEXT = 8_000


class Report:
    """Counts what was compared, by kind, and prints what differs."""

    def __init__(self):
        self.compared, self.skipped, self.differ = (collections.Counter() for _ in range(3))
        self.explained = collections.Counter()

    def difference(self, kind, text, what):
        self.differ[kind] += 1
        print(f"--- {kind}\n{text}\n    {what}", flush=True)

    def show(self):
        for kind in sorted({*self.compared, *self.skipped}):
            print(f"{kind:32} {self.compared[kind]:6} compared, {self.skipped[kind]:4} not taken by DuckDB, {self.differ[kind]:4} differ")
        for reason, count in self.explained.items():
            print(f"{count} explained: {reason}")
        print(f"{sum(self.compared.values())} compared, {sum(self.differ.values())} differ")


def error_of(failed):
    return re.split(r"\. gRPC client|\. Client context", str(failed).replace("\n", " "))[0][:400]


def expected(duck, query):
    """DuckDB's rows and error."""
    try:
        return duck.execute(query.theirs).fetchmany(MOST_ROWS + 1), None
    except duckdb.Error as failed:
        return None, str(failed).split("\n")[0]


def check(server, duck, kind, query, report):
    """Compares all answers to a query."""
    rows, failed = expected(duck, query)
    if (rows is None and not query.errors) or (rows is not None and len(rows) > MOST_ROWS):
        report.skipped[kind] += 1
        return
    report.compared[kind] += 1
    for how, answer in server.answers(query.ours):
        try:
            ours, error = answer(), None
        except Exception as caught:  # pyarrow raises many kinds
            ours, error = None, error_of(caught)
        what = judged(query, (ours, error), (rows, failed), report)
        if what:
            report.difference(kind, query.ours, f"{how}: {what}")
            return


def judged(query, ours, theirs, report):
    """What is wrong with an answer, if anything is."""
    (found, error), (rows, failed) = ours, theirs
    if failed is not None and error is not None:
        return None if "internal" not in error else f"an error of its own: {error}"
    if failed is None and error is None:
        what = compare.difference(found, rows, query.ordered)
    elif failed is None:
        what = f"refused: {error}"
    else:
        what = f"{found[:3]}, where DuckDB says {failed}"
    if what and (reason := dialect.explanation(query, error, rows)):
        report.explained[reason] += 1
        return None
    return what


def run_queries(server, duck, options, report):
    random_queries = random.Random(options.seed)
    started = time.monotonic()
    kinds = options.kinds or list(queries.KINDS)
    while sum(report.compared.values()) < options.queries and time.monotonic() - started < options.seconds:
        kind, query = queries.make(random_queries, random_queries.choice(kinds))
        if len(query.text) <= MOST_TEXT:
            check(server, duck, kind, query, report)


def make_tables(server, duck, seed):
    duck.execute("set timezone = 'UTC'")
    tables.make(server, duck, random.Random(seed), tables.FORMS | tables.CHANGED)
    special.make(server, duck, random.Random(seed))


def run(binary, options):
    """A whole run, in a root of its own; the report."""
    report, duck = Report(), duckdb.connect()
    with tempfile.TemporaryDirectory(prefix="airstrip-differential-") as folder:
        server = Airstrip(binary, pathlib.Path(folder))
        try:
            make_tables(server, duck, options.seed)
            run_queries(server, duck, options, report)
            changes.run(server, duck, random.Random(options.seed), options.changes, report)
        finally:
            server.stop()
    return report


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--changes", type=int, default=150, help="statements that change rows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", type=lambda text: text.split(","), help="of queries, separated by commas")
    parser.add_argument("--seconds", type=int, default=3600, help="the queries end after so long")
    return parser.parse_args(given)


if __name__ == "__main__":
    asked = arguments()
    print(f"seed {asked.seed}", flush=True)
    result = run(os.environ["AIRSTRIP_BIN"], asked)
    result.show()
    sys.exit(1 if result.differ else 0)
