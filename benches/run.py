"""Airstrip against what its users would write themselves, on one machine: see README.md beside this file.

usage: python3 benches/run.py [GROUP|table|all] [--scale 1] [--runs 5] [--scales 0.1 1]
"""

import argparse
import importlib.metadata
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean, median

import provision
from harness import Sample, Side, in_all

HERE = Path(__file__).resolve().parent
DATASETS = 10_000
STALL_SECONDS = 10
POINT_QUERIES = 200
CLIENTS = 16
LINEITEM = "lineitem.parquet"
ORDERS = "orders.parquet"
UPLOADED = "uploaded.parquet"
# Airstrip then decodes everything anew.
NO_CACHE = ("--frame-cache", "0", "--column-cache", "0")
COMMITS = 1000  # so many, of so many rows each
PAUSE = 0.1
BEGINNINGS = 10  # for each run: they take milliseconds, of which most are luck
CPU_STEP = 0.01  # of /proc/PID/stat

# What the ratios have to be at least, at scale 1.
GET, HOT, OWN, PUT, POINT, AT_ONCE = 1.5, 2.8, 1.8, 2.1, 2.0, 1.5
CPU = 1 / 0.75
QUERY, QUERIES_TOGETHER = 0.8, 1.2
# What these have to be at most: MB, and seconds of a larger scale for one of the smallest.
PEAK, GROWTH = 400, 1.1

EVERYTHING = "select * from lineitem"
# Large results, which are what the targets are about.
QUERIES = {
    "all of lineitem": EVERYTHING,
    "filter, half of lineitem": "select * from lineitem where l_quantity < 25",
    "projection of 4 columns": "select l_orderkey, l_partkey, l_extendedprice, l_discount from lineitem",
    "orders join lineitem from 1995": """
        select o_orderkey, o_orderdate, l_linenumber, l_extendedprice, l_shipmode
        from orders join lineitem on o_orderkey = l_orderkey where o_orderdate >= date '1995-01-01'""",
    "sort of 3 columns": "select l_orderkey, l_shipdate, l_extendedprice from lineitem order by l_shipdate, l_orderkey",
}
SMALLER_QUERIES = {
    "group by l_partkey": "select l_partkey, count(*) as n, sum(l_extendedprice) as s from lineitem group by l_partkey",
    "top 100 by price": "select * from lineitem order by l_extendedprice desc limit 100",
}

Pair = tuple[Sample, Sample]


@dataclass(frozen=True)
class Case:
    """Work that Airstrip and its peers all do: `action` on a started side that has `files`."""

    name: str
    peers: tuple[str, ...]
    files: tuple[Path, ...]
    action: Callable[[Side], Sample]
    airstrip_files: tuple[Path, ...] | None = None  # where they are others
    options: tuple[str, ...] = ()  # of Airstrip's command line
    clients: int = 1
    warmups: int = 1


@dataclass
class Bench:
    """What every case needs to know."""

    airstrip: Path
    work: Path
    tables: Path
    scale: float
    scales: list[float]
    runs: int
    upload_bytes: int

    def side(self, name: str, files=(), options=(), clients: int = 1) -> Side:
        """A started server by its name: `airstrip`, which takes `options`, or a script in peers/."""
        command = [sys.executable, HERE / "peers" / f"{name}_server.py"], []
        if name == "airstrip":
            command = [self.airstrip, "serve"], ["--listen", "127.0.0.1:0", *options]
        program, rest = command
        return Side(name, lambda root: [*program, root, *rest], self.work, files, clients)

    def compare(self, case: Case) -> dict[str, list[Pair]]:
        """Warm all sides up, then run them in turn, so that a slow minute of the machine meets all. Pairs by peer."""
        with ExitStack() as stack:
            ours = case.files if case.airstrip_files is None else case.airstrip_files
            sides = [stack.enter_context(self.side("airstrip", ours, case.options, case.clients))]
            sides += [stack.enter_context(self.side(name, case.files, (), case.clients)) for name in case.peers]
            for side in sides:
                for _ in range(case.warmups):
                    case.action(side)
            rounds = [[case.action(side) for side in sides] for _ in range(self.runs)]
        return {peer: [(each[0], each[at]) for each in rounds] for at, peer in enumerate(case.peers, 1)}

    def rows(self, case: Case, **target: float) -> Iterator[str]:
        """A line for each peer: what is reached against all is reached against the fastest."""
        for peer, pairs in self.compare(case).items():
            yield row(case.name, peer, pairs, **target)

    @contextmanager
    def stored(self) -> Iterator[Path]:
        """Lineitem as Airstrip itself stores it, without the processes that did it."""
        with tempfile.TemporaryDirectory(prefix="stored-", dir=self.work) as directory:
            with self.side("airstrip") as side:
                upload(side, self.tables / LINEITEM)
                os.link(side.root / UPLOADED, Path(directory) / LINEITEM)
            yield Path(directory) / LINEITEM


def ratio(pairs: list[Pair]) -> float:
    """Ratios are taken pair by pair, for the same reason that sides run in turn."""
    return median(theirs.wall / ours.wall for ours, theirs in pairs)


def verdict(figure: float, at_least: float = 0, at_most: float = 0) -> str:
    """The cell that says whether a figure is as it should be; empty where there is nothing it should be."""
    if not at_least and not at_most:
        return ""
    reached = figure >= at_least and (not at_most or figure <= at_most)
    bound = f"at least {at_least:.2f}" if at_least else f"at most {at_most:g}"
    return f"{bound}: {'reached' if reached else 'missed'}"


def row(case: str, peer: str, pairs: list[Pair], at_least: float = 0, most_mb: float = 0) -> str:
    """A line of the table; the target is one of the ratio, or one of Airstrip's memory."""
    if len({sample.rows for pair in pairs for sample in pair}) != 1:
        raise RuntimeError(f"{case}: airstrip and {peer} do not give the same rows: {pairs}")
    ratios = [ratio([pair]) for pair in pairs]
    cells = [case, peer, f"{pairs[0][0].rows:,}"]
    cells += [f"{median(s.wall for s in side):.3f}" for side in zip(*pairs)]
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    cells += [f"{ratio(pairs):.2f}{spread}"]
    peaks = [max(s.peak for s in side) for side in zip(*pairs)]
    cells += [verdict(peaks[0], at_most=most_mb) if most_mb else verdict(ratio(pairs), at_least)]
    cells += [f"{median(s.cpu for s in side):.2f}" for side in zip(*pairs)]
    cells += [f"{peak:.0f}" for peak in peaks]
    return f"| {' | '.join(cells)} |"


HEADER = """
| {} | peer | rows | airstrip s | peer s | peer / airstrip | target | airstrip CPU s | peer CPU s | airstrip MB | peer MB |
|---|---|--:|--:|--:|--:|---|--:|--:|--:|--:|"""
GROWTH_HEADER = """
| {} | scale | rows | s | s per million rows | of the smallest scale's | target | CPU s | MB |
|---|--:|--:|--:|--:|--:|---|--:|--:|"""


def download(side: Side) -> Sample:
    """Lineitem by name; from a server that knows only SQL as the query for all of it."""
    if side.name == "duckdb":
        return side.run("sql", query=EVERYTHING)
    return side.run("get", name=LINEITEM)


def upload(side: Side, source: Path, **arguments) -> Sample:
    os.sync()  # An upload that is made durable must not wait for what the other side left to the kernel.
    return side.run("put", name=UPLOADED, source=str(source), **arguments)


def beginning(side: Side) -> Sample:
    time.sleep(PAUSE)  # What the side before has begun and its client has cancelled must be over.
    return side.run("first", name=UPLOADED)


def download_case(bench: Bench) -> Case:
    return Case("lineitem", ("recipe", "duckdb"), (bench.tables / LINEITEM,), download, options=NO_CACHE)


def own_case(bench: Bench, stored: Path) -> Case:
    return replace(download_case(bench), name="lineitem as stored", airstrip_files=(stored,))


def upload_case(bench: Bench) -> Case:
    return Case("lineitem", ("recipe",), (), lambda side: upload(side, bench.tables / LINEITEM))


def query_case(bench: Bench, name: str, query: str) -> Case:
    files = tuple(bench.tables / file for file in (LINEITEM, ORDERS))
    return Case(name, ("duckdb",), files, lambda side: side.run("sql", query=query))


def point_case(bench: Bench) -> Case:
    """Keys from all over orders. They have gaps: of each 32 the first 8 are there, counted from 0 but for 0 itself."""
    orders = int(1_500_000 * bench.scale)
    numbers = [1 + orders * place // POINT_QUERIES for place in range(POINT_QUERIES)]
    keys = [number // 8 * 32 + number % 8 for number in numbers]
    queries = [f"select * from orders where o_orderkey = {key}" for key in keys]
    name = f"order by key, p50 of {POINT_QUERIES}"
    return Case(name, ("duckdb",), (bench.tables / ORDERS,), lambda side: side.run("each", queries=queries))


def clients_case(bench: Bench) -> Case:
    def together(side: Side) -> Sample:
        return side.run("get", in_all, name=ORDERS)

    return Case(f"orders, {CLIENTS} clients", ("recipe",), (bench.tables / ORDERS,), together, clients=CLIENTS)


def listing(bench: Bench) -> Iterator[str]:
    files = tuple(sorted(provision.small_datasets(bench.work, DATASETS).iterdir()))
    cold = Case("cold", ("recipe",), files, lambda side: side.restart().run("list"))
    yield from bench.rows(cold)
    yield from bench.rows(replace(cold, name="warm", action=lambda side: side.run("list")))


def get(bench: Bench) -> Iterator[str]:
    for peer, pairs in bench.compare(download_case(bench)).items():
        yield row("lineitem", peer, pairs, at_least=GET)
        if peer == "recipe":
            firsts = [tuple(replace(s, wall=s.first) for s in pair) for pair in pairs]
            yield row("lineitem: first batch", peer, firsts)
            cpu = [tuple(replace(s, wall=max(s.cpu, CPU_STEP)) for s in pair) for pair in pairs]
            yield row("lineitem: CPU of the server", peer, cpu, at_least=CPU)


def hot(bench: Bench) -> Iterator[str]:
    yield from bench.rows(replace(download_case(bench), options=(), warmups=2), at_least=HOT)


def own(bench: Bench) -> Iterator[str]:
    with bench.stored() as stored:
        yield from bench.rows(own_case(bench, stored), at_least=OWN)


def put(bench: Bench) -> Iterator[str]:
    yield from bench.rows(upload_case(bench), at_least=PUT)


def sql(bench: Bench) -> Iterator[str]:
    ratios = []
    for name, query in QUERIES.items():
        for peer, pairs in bench.compare(query_case(bench, name, query)).items():
            ratios.append(ratio(pairs))
            yield row(name, peer, pairs, at_least=QUERY)
    mean = geometric_mean(ratios)
    yield f"| geometric mean of these | duckdb | | | | {mean:.2f} | {verdict(mean, QUERIES_TOGETHER)} | | | | |"
    for name, query in QUERIES.items():
        decoded = query_case(bench, f"{name}: decoded each time", query)
        yield from bench.rows(replace(decoded, options=NO_CACHE))
    for name, query in SMALLER_QUERIES.items():
        yield from bench.rows(query_case(bench, name, query))


def point(bench: Bench) -> Iterator[str]:
    yield from bench.rows(point_case(bench), at_least=POINT)
    decoded = point_case(bench)
    yield from bench.rows(replace(decoded, name=f"{decoded.name}: decoded each time", options=NO_CACHE))


def clients(bench: Bench) -> Iterator[str]:
    yield from bench.rows(clients_case(bench), at_least=AT_ONCE)


def tables(bench: Bench) -> Iterator[str]:
    """Airstrip alone: its Delta tables against the same as plain Parquet, then many small commits."""
    lineitem = bench.tables / LINEITEM
    with bench.side("airstrip", options=NO_CACHE) as plain, bench.side("airstrip", options=NO_CACHE) as table:
        upload(plain, lineitem)
        upload(table, lineitem, mode="create")
        upload(table, lineitem, mode="append")  # from here on it is a Delta table
        rounds = [(upload(table, lineitem, mode="append"), upload(plain, lineitem)) for _ in range(bench.runs)]
    yield row("append of lineitem", "its upload", rounds, at_least=1 / 1.15)
    with bench.side("airstrip", options=NO_CACHE) as plain, bench.side("airstrip", options=NO_CACHE) as table:
        upload(plain, lineitem)
        upload(table, lineitem, mode="append")
        rounds = [tuple(side.run("get", name=UPLOADED) for side in (table, plain)) for _ in range(bench.runs + 1)]
    yield row("download of lineitem", "as plain Parquet", rounds[1:], at_least=1 / 1.1)
    yield from commits(bench)


def commits(bench: Bench) -> Iterator[str]:
    """Batches of 1,000 rows in commits of their own, and what reading the table costs meanwhile: all of a hundred
    commits' worth of rows, before and after the others."""
    query = f"select count(*), sum(value), max(text) from (select * from ingested limit {COMMITS * 100})"
    with bench.side("airstrip", options=NO_CACHE) as side:
        side.run("ingest", name="ingested", batches=100, rows=COMMITS)
        early = [side.run("sql", query=query) for _ in range(bench.runs)]
        sample = side.run("ingest", name="ingested", batches=COMMITS, rows=COMMITS)
        late = [side.run("sql", query=query) for _ in range(bench.runs)]
    rate, synced = COMMITS / sample.wall, sync_seconds(bench.work)
    yield f"| {COMMITS} commits of {COMMITS:,} rows | | {sample.rows:,} | {sample.wall:.3f} | | {rate:.0f} a second |" + (
        f" {verdict(rate, at_least=50)} | {sample.cpu:.2f} | | {sample.peak:.0f} | |"
    )
    yield f"| fsync of a new file and its directory, here | | | {synced:.4f} | | | | | | | |"
    yield row("reading 100,000 rows after those commits", "before them", list(zip(late, early)), at_least=1 / 1.2)


def sync_seconds(directory: Path) -> float:
    """What it takes to make one small file durable: a commit does so twice, for its data and for the log."""
    times = []
    with tempfile.TemporaryDirectory(prefix="sync-", dir=directory) as folder:
        handle = os.open(folder, os.O_RDONLY)
        for number in range(100):
            start = time.perf_counter()
            with open(Path(folder) / str(number), "wb") as file:
                file.write(b"x" * 20_000)
                os.fsync(file.fileno())
            os.fsync(handle)
            times.append(time.perf_counter() - start)
        os.close(handle)
    return median(times)


def memory(bench: Bench) -> Iterator[str]:
    """The cases of the other groups once more, then what only memory is of interest in."""
    cases = [("put", upload_case(bench))]
    cases += [("sql", query_case(bench, *item)) for item in (QUERIES | SMALLER_QUERIES).items()]
    cases += [("point", point_case(bench)), ("clients", clients_case(bench))]
    with bench.stored() as stored:
        for group, case in [("get", download_case(bench)), ("own", own_case(bench, stored)), *cases]:
            named = replace(case, name=f"{group}: {case.name}", peers=case.peers[:1])
            yield from bench.rows(replace(named, options=NO_CACHE, warmups=0), most_mb=PEAK)
    yield from long_transfers(bench)


def long_transfers(bench: Bench) -> Iterator[str]:
    """Once per case, each in a fresh server: the peak is what counts."""
    sides, lineitem = ("airstrip", "recipe"), bench.tables / LINEITEM

    def stalled(name: str) -> Sample:
        with bench.side(name, [lineitem], NO_CACHE) as side:
            return side.run("get", name=LINEITEM, stall=STALL_SECONDS)

    def up_and_down(name: str) -> Pair:
        with bench.side(name, options=NO_CACHE) as side:
            up = upload(side, lineitem, at_least=bench.upload_bytes)
            return up, side.restart().run("get", name=UPLOADED)

    pair = tuple(stalled(name) for name in sides)
    yield row(f"lineitem, stalled {STALL_SECONDS} s", "recipe", [pair], most_mb=PEAK)
    uploads, downloads = zip(*(up_and_down(name) for name in sides))
    yield row(f"upload of {bench.upload_bytes / 1e9:g} GB", "recipe", [uploads], most_mb=PEAK)
    yield row("download of that", "recipe", [downloads], most_mb=PEAK)


def growth(bench: Bench) -> Iterator[str]:
    """Airstrip alone: its servers of all scales, smallest first, run in turn."""
    scales = sorted(bench.scales)
    sources = [provision.tpch(bench.work, scale) / LINEITEM for scale in scales]

    def rounds(files, action) -> list[list[Sample]]:
        with ExitStack() as stack:
            sides = [stack.enter_context(bench.side("airstrip", at, NO_CACHE)) for at in files]
            turns = [[action(*each) for each in zip(sides, sources)] for _ in range(bench.runs + 1)]
        return list(zip(*turns[1:]))

    down = rounds([[source] for source in sources], lambda side, _: download(side))
    yield from growing("download", scales, down)
    yield from growing("download: first batch", scales, beginnings(bench, sources[0]), per_row=False)
    up = rounds([[] for _ in sources], upload)
    yield from growing("upload", scales, up)


def beginnings(bench: Bench, source: Path) -> list[list[Sample]]:
    """First batches by scale: `source`, the table of the smallest, stored as often as it is in each.

    Larger tables have larger keys, so that their first row group takes longer to read, however few are behind it.
    """
    scales = sorted(bench.scales)
    with ExitStack() as stack:
        sides = [stack.enter_context(bench.side("airstrip", (), NO_CACHE)) for _ in scales]
        for side, scale in zip(sides, scales):
            upload(side, source, times=round(scale / scales[0]))
        turns = [[beginning(side) for side in sides] for _ in range(BEGINNINGS * bench.runs + 1)]
    return list(zip(*turns[1:]))


def growing(name: str, scales: list[float], samples: list[list[Sample]], per_row: bool = True) -> Iterator[str]:
    """A line for each scale: how its seconds, per row or as such, compare with the smallest scale's, turn by turn."""

    def figure(sample: Sample) -> float:
        return sample.wall / sample.rows if per_row else sample.wall

    for at, (scale, column) in enumerate(zip(scales, samples)):
        growth = median(figure(s) / figure(smallest) for s, smallest in zip(column, samples[0]))
        cells = [name, f"{scale:g}", f"{column[0].rows:,}", f"{median(s.wall for s in column):.3f}"]
        cells += [f"{median(map(figure, column)) * 1e6:.3f}" if per_row else ""]
        cells += [f"{growth:.2f}", verdict(growth, at_most=GROWTH) if at else ""]
        cells += [f"{median(s.cpu for s in column):.2f}", f"{max(s.peak for s in column):.0f}"]
        yield f"| {' | '.join(cells)} |"


GROUPS = {
    "list": listing,
    "get": get,
    "hot": hot,
    "own": own,
    "put": put,
    "sql": sql,
    "point": point,
    "clients": clients,
    "tables": tables,
    "memory": memory,
    "growth": growth,
}
# Several groups under one name; `table` is those with targets.
SETS = {"table": [name for name in GROUPS if name != "list"], "all": list(GROUPS)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("group", nargs="?", default="all", choices=[*GROUPS, *SETS])
    binary = HERE.parent / "target/dist/airstrip"
    parser.add_argument("--bin", type=Path, default=binary, help="the server to measure (default: the dist build)")
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor (default 1)")
    scales = "scale factors that growth compares (default 0.1 and 1)"
    parser.add_argument("--scales", type=float, nargs="+", default=[0.1, 1], help=scales)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side (default 5)")
    parser.add_argument("--upload-gb", type=float, default=5, help="size of the long upload in memory (default 5)")
    cache = Path.home() / ".cache/airstrip-bench"
    parser.add_argument("--work", type=Path, default=cache, help=f"keeps packages and data (default {cache})")
    args = parser.parse_args()
    if not os.access(args.bin, os.X_OK):
        parser.error(f"{args.bin} is not there: build it with `cargo build --profile dist`, or name another with --bin")
    return args


def main() -> int:
    args = arguments()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    provision.enter_venv(work)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cleanup runs

    tables, upload_bytes = provision.tpch(work, args.scale), int(args.upload_gb * 1e9)
    bench = Bench(args.bin.resolve(), work, tables, args.scale, args.scales, args.runs, upload_bytes)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyarrow", "duckdb"))
    print(f"TPC-H SF {args.scale:g}, {args.runs} runs, {os.cpu_count()} cores, {versions}", flush=True)
    return run(bench, SETS.get(args.group, [args.group]))


def run(bench: Bench, groups: list[str]) -> int:
    """Print the groups' tables, and at last how many targets were reached; 1 where a group failed."""
    lines, failed = [], False
    for name in groups:
        print((GROWTH_HEADER if name == "growth" else HEADER).format(name), flush=True)
        try:
            for line in GROUPS[name](bench):
                print(line, flush=True)
                lines.append(line)
        except RuntimeError as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed = True
    reached, missed = (sum(f": {word} |" in line for line in lines) for word in ("reached", "missed"))
    if reached or missed:
        print(f"\n{reached} of {reached + missed} targets reached")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
