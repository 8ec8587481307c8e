"""Airstrip against what its users would write themselves, on one machine: see README.md beside this file.

usage: python3 benches/run.py [list|get|put|sql|memory|all] [--scale 1] [--runs 5]
"""

import argparse
import importlib.metadata
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import provision
from harness import Sample, Side

HERE = Path(__file__).resolve().parent
DATASETS = 10_000
STALL_SECONDS = 10
LINEITEM = "lineitem.parquet"
UPLOADED = "uploaded.parquet"

QUERIES = {
    "filter, half of lineitem": "select * from lineitem where l_quantity < 25",
    "projection of 4 columns": "select l_orderkey, l_partkey, l_extendedprice, l_discount from lineitem",
    "orders join lineitem from 1995": """
        select o_orderkey, o_orderdate, l_linenumber, l_extendedprice, l_shipmode
        from orders join lineitem on o_orderkey = l_orderkey where o_orderdate >= date '1995-01-01'""",
    "group by l_partkey": "select l_partkey, count(*) as n, sum(l_extendedprice) as s from lineitem group by l_partkey",
    "sort of 3 columns": "select l_orderkey, l_shipdate, l_extendedprice from lineitem order by l_shipdate, l_orderkey",
    "top 100 by price": "select * from lineitem order by l_extendedprice desc limit 100",
    # Order keys have gaps; this one is there at every scale from 0.01 on.
    "one order by key": "select * from orders where o_orderkey = 30017",
}

Pair = tuple[Sample, Sample]


@dataclass
class Bench:
    """What every case needs to know."""

    airstrip: Path
    work: Path
    tables: Path
    runs: int
    upload_bytes: int

    def side(self, name: str, files=()) -> Side:
        """A started server by its name: `airstrip`, or a script in peers/."""
        if name == "airstrip":
            listen = ["--listen", "127.0.0.1:0"]
            return Side(name, lambda root: [self.airstrip, "serve", root, *listen], self.work, files)
        script = HERE / "peers" / f"{name}_server.py"
        return Side(name, lambda root: [sys.executable, script, root], self.work, files)

    def compare(self, peer: str, files, action) -> list[Pair]:
        """Warm both sides up with one run, then run them in turn, so that a slow minute of the machine meets both."""
        with ExitStack() as stack:
            sides = [stack.enter_context(self.side(name, files)) for name in ("airstrip", peer)]
            for side in sides:
                action(side)
            return [tuple(action(side) for side in sides) for _ in range(self.runs)]


def row(case: str, peer: str, pairs: list[Pair]) -> str:
    """A line of the table. Ratios are taken pair by pair, for the same reason that sides run in turn."""
    if len({sample.rows for pair in pairs for sample in pair}) != 1:
        raise RuntimeError(f"{case}: airstrip and {peer} do not give the same rows: {pairs}")
    ratios = [theirs.wall / ours.wall for ours, theirs in pairs]
    cells = [case, peer, f"{pairs[0][0].rows:,}"]
    cells += [f"{median(s.wall for s in side):.3f}" for side in zip(*pairs)]
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    cells += [f"{median(ratios):.2f}{spread}"]
    cells += [f"{median(s.cpu for s in side):.2f}" for side in zip(*pairs)]
    cells += [f"{max(s.peak for s in side):.0f}" for side in zip(*pairs)]
    return f"| {' | '.join(cells)} |"


HEADER = """
| {} | peer | rows | airstrip s | peer s | peer / airstrip | airstrip CPU s | peer CPU s | airstrip MB | peer MB |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


def listing(bench: Bench):
    files = sorted(provision.small_datasets(bench.work, DATASETS).iterdir())
    yield row("cold", "recipe", bench.compare("recipe", files, lambda side: side.restart().run("list")))
    yield row("warm", "recipe", bench.compare("recipe", files, lambda side: side.run("list")))


def get(bench: Bench):
    files = [bench.tables / LINEITEM]
    pairs = bench.compare("recipe", files, lambda side: side.run("get", name=LINEITEM))
    yield row("lineitem", "recipe", pairs)
    yield row("lineitem: first batch", "recipe", [tuple(replace(s, wall=s.first) for s in pair) for pair in pairs])

    def everything(side: Side) -> Sample:
        if side.name == "airstrip":
            return side.run("get", name=LINEITEM)
        return side.run("sql", query="select * from lineitem")

    yield row("lineitem", "duckdb", bench.compare("duckdb", files, everything))


def put(bench: Bench):
    def upload(side: Side) -> Sample:
        os.sync()  # An upload that is made durable must not wait for what the other side left to the kernel.
        return side.run("put", name=UPLOADED, source=str(bench.tables / LINEITEM))

    yield row("lineitem", "recipe", bench.compare("recipe", [], upload))


def sql(bench: Bench):
    files = sorted(bench.tables.iterdir())
    for case, query in QUERIES.items():
        yield row(case, "duckdb", bench.compare("duckdb", files, lambda side: side.run("sql", query=query)))


def memory(bench: Bench):
    """Once per case, each in a fresh server: the peak is what counts."""
    sides, files = ("airstrip", "recipe"), [bench.tables / LINEITEM]

    def download(name: str, stall: float) -> Sample:
        with bench.side(name, files) as side:
            return side.run("get", name=LINEITEM, stall=stall)

    def up_and_down(name: str) -> Pair:
        with bench.side(name) as side:
            upload = side.run("put", name=UPLOADED, source=str(files[0]), at_least=bench.upload_bytes)
            return upload, side.restart().run("get", name=UPLOADED)

    yield row("download", "recipe", [tuple(download(name, 0) for name in sides)])
    stalled = tuple(download(name, STALL_SECONDS) for name in sides)
    yield row(f"download, stalled {STALL_SECONDS} s", "recipe", [stalled])
    uploads, downloads = zip(*(up_and_down(name) for name in sides))
    size = f"{bench.upload_bytes / 1e9:g} GB"
    yield row(f"upload of {size}", "recipe", [uploads])
    yield row("download of that", "recipe", [downloads])


GROUPS = {"list": listing, "get": get, "put": put, "sql": sql, "memory": memory}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("group", nargs="?", default="all", choices=[*GROUPS, "all"])
    binary = HERE.parent / "target/release/airstrip"
    parser.add_argument("--bin", type=Path, default=binary, help="the server to measure (default: the release build)")
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor (default 1)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side (default 5)")
    parser.add_argument("--upload-gb", type=float, default=5, help="size of the long upload in memory (default 5)")
    cache = Path.home() / ".cache/airstrip-bench"
    parser.add_argument("--work", type=Path, default=cache, help=f"keeps packages and data (default {cache})")
    args = parser.parse_args()
    if not os.access(args.bin, os.X_OK):
        parser.error(f"{args.bin} is not there: build it with `cargo build --release`, or name another with --bin")
    return args


def main() -> int:
    args = arguments()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    provision.enter_venv(work)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cleanup runs

    tables = provision.tpch(work, args.scale)
    bench = Bench(args.bin.resolve(), work, tables, args.runs, int(args.upload_gb * 1e9))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyarrow", "duckdb"))
    print(f"TPC-H SF {args.scale:g}, {args.runs} runs, {os.cpu_count()} cores, {versions}", flush=True)
    failed = False
    for name in GROUPS if args.group == "all" else [args.group]:
        print(HEADER.format(name), flush=True)
        try:
            for line in GROUPS[name](bench):
                print(line, flush=True)
        except RuntimeError as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
