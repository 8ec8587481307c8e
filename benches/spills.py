"""Queries that want several times the memory that they may use, of Airstrip and of DuckDB: who finishes, how fast, in how much.

usage: python3 benches/spills.py [--bin PATH] [--limit 256MiB] [--only WORD]

Each query has a fresh process. DuckDB runs in a process of its own, without a network, and its limit is that of its buffers. See
README.md beside this file.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import provision
from harness import Server

QUERIES = {
    "sort of 3 M rows": "select l_orderkey, l_partkey, l_comment from lineitem where l_linenumber <= 2 order by l_comment",
    "sort of all columns": "select * from lineitem order by l_extendedprice, l_orderkey",
    "top of a million": "select l_orderkey, l_comment from lineitem order by l_comment limit 1000000",
    "join of two big sides": "select count(*), max(o_comment), max(l_comment) from lineitem join orders on l_orderkey = o_orderkey",
    "full join": "select count(*), count(o_comment), count(l_comment) from lineitem full join orders"
    " on l_orderkey = o_orderkey and l_quantity > 25",
    "semi join": "select count(*) from orders where o_orderkey in (select l_orderkey from lineitem where l_quantity > 10)",
    "anti join": "select count(*) from lineitem l where not exists"
    " (select 1 from lineitem m where m.l_orderkey = l.l_orderkey and m.l_suppkey <> l.l_suppkey)",
    "count of distinct texts": "select count(distinct l_comment) from lineitem",
    "distinct pairs": "select count(*) from (select distinct l_orderkey, l_partkey from lineitem)",
    "union": "select count(*) from (select l_comment c from lineitem union select o_comment from orders)",
    "intersect": "select count(*) from (select l_comment from lineitem where l_linenumber < 4"
    " intersect select l_comment from lineitem where l_linenumber >= 4)",
    "groups of a key": "select l_orderkey, sum(l_extendedprice), max(l_comment) from lineitem group by l_orderkey",
    "groups of a text": "select l_comment, count(*) from lineitem group by l_comment",
    "array_agg": "select l_suppkey, array_agg(l_comment) from lineitem group by l_suppkey",
    "window": "select l_orderkey, l_linenumber, row_number() over (partition by l_suppkey order by l_shipdate) r,"
    " sum(l_quantity) over (partition by l_suppkey order by l_shipdate) from lineitem",
}
SORT = "select l_orderkey, l_comment from lineitem where l_linenumber = {} order by l_comment"
CASES = {name: [query] for name, query in QUERIES.items()} | {
    "eight sorts at once": [SORT.format(number % 7 + 1) for number in range(8)]
}
TABLES = ("lineitem", "orders")
DUCKDB_SECONDS = 600


@dataclass
class Outcome:
    """How many rows each query of a case gave, or why it gave none; the seconds of all, and the most memory, in MB."""

    rows: list[int | str]
    seconds: float
    peak: float

    def told(self) -> str:
        failed = [why for why in self.rows if isinstance(why, str)]
        told = f"{self.seconds:.1f} s, {self.peak:.0f} MB"
        return f"**{len(failed)} of {len(self.rows)} fail**, {told}" if failed else told


def at_once(queries: list[str], run) -> tuple[list[int | str], float]:
    """What `run` gives for each query, all of them at the same time, and how long that took."""
    rows: list[int | str] = [""] * len(queries)

    def one(place: int) -> None:
        try:
            rows[place] = run(queries[place])
        except Exception as error:  # noqa: BLE001: whatever it is, it is the outcome
            rows[place] = f"{type(error).__name__}: {error}"

    start = time.perf_counter()
    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(queries))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows, time.perf_counter() - start


def airstrip(binary: Path, root: Path, log: Path, limit: str, queries: list[str]) -> Outcome:
    from pyarrow import flight

    caches = ["--column-cache", "0", "--frame-cache", "0"]
    server = Server([binary, "serve", root, "--listen", "127.0.0.1:0", "--read-only", "--memory-limit", limit, *caches], log)

    def run(query: str) -> int:
        return sum(chunk.data.num_rows for chunk in flight.connect(server.uri).do_get(flight.Ticket(query)))

    try:
        rows, seconds = at_once(queries, run)
        return Outcome(rows, seconds, server.peak())
    finally:
        server.stop()


def duckdb(root: Path, limit: str, queries: list[str]) -> Outcome:
    """In a child process: what one has used is the most that any query has."""
    request = json.dumps({"root": str(root), "limit": limit, "queries": queries})
    run = subprocess.run([sys.executable, __file__, "--child"], input=request, capture_output=True, text=True, timeout=DUCKDB_SECONDS)
    if run.returncode != 0:
        return Outcome([run.stderr[-200:]] * len(queries), 0, 0)
    return Outcome(**json.loads(run.stdout))


def duckdb_child() -> None:
    import resource
    import tempfile

    import duckdb

    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as spilled:
        connection = duckdb.connect(config={"memory_limit": request["limit"], "temp_directory": spilled})
        for table in TABLES:
            connection.execute(f"create view {table} as from '{request['root']}/{table}.parquet'")

        def run(query: str) -> int:
            return sum(batch.num_rows for batch in connection.cursor().execute(query).to_arrow_reader(50_000))

        rows, seconds = at_once(request["queries"], run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    json.dump({"rows": rows, "seconds": seconds, "peak": peak}, sys.stdout)


def main() -> int:
    if sys.argv[1:] == ["--child"]:
        duckdb_child()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = Path(__file__).resolve().parents[1] / "target/release/airstrip"
    parser.add_argument("--bin", type=lambda text: Path(text).resolve(), default=release)
    parser.add_argument("--limit", default="256MiB")
    parser.add_argument("--only", default="", help="cases whose names have this in them")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/airstrip-bench", metavar="DIR")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    provision.enter_venv(options.work)
    root = provision.tpch(options.work, 1, TABLES)
    print("| case | rows | airstrip | duckdb |\n|---|--:|---|---|")
    for name, queries in CASES.items():
        if options.only in name:
            ours = airstrip(options.bin, root, options.work / "spills.log", options.limit, queries)
            theirs = duckdb(root, options.limit, queries)
            counted = [rows for rows in (*ours.rows, *theirs.rows) if isinstance(rows, int)]
            print(f"| {name} | {max(counted, default=0):,} | {ours.told()} | {theirs.told()} |", flush=True)
            if all(isinstance(rows, int) for rows in (*ours.rows, *theirs.rows)) and ours.rows != theirs.rows:
                raise RuntimeError(f"{name}: not the same number of rows: {ours.rows}, {theirs.rows}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
