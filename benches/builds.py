"""Two builds of Airstrip on one machine, the first being the base: what a change costs.

usage: python3 benches/builds.py BASE NEW [tpch|transfers|folders|partitions] [--scale 1] [--runs 15]

Both have to be of one profile. They take turns, and who is first changes each time. Beside the wall time of the client stand
the CPU seconds of the server, which say more where the machine is not quiet. See README.md beside this file.
"""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import provision
from harness import Sample, Side

QUERIES = Path(__file__).resolve().parents[1] / "tests/sqllogic/tpch"
TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
WARMUPS = 2
FILES = 1_000  # of a folder of several writers
PARTITIONS = 10_000
FOLDER_AGE_SECONDS = 4  # what changed less long ago is not remembered
BY_PARTITION = (
    "select id from t where k = 77",
    "select k from t order by k limit 1",
    "select t.k, name from t join few on t.k = few.k",
    "select sum(id) from t",
)

Action = Callable[[Side], Sample]


class Builds:
    """What is compared, and how often."""

    def __init__(self, options):
        self.binaries = (options.base, options.new)
        self.work, self.scale, self.runs = options.work, options.scale, options.runs

    @contextmanager
    def sides(self, files=(), arguments=()) -> Iterator[list[Side]]:
        """A started server of each build, on a root of its own that has `files`."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self.side(name, binary, files, arguments))
                for name, binary in zip(("base", "new"), self.binaries, strict=True)
            ]

    def side(self, name: str, binary: Path, files, arguments) -> Side:
        command = lambda root: [binary, "serve", root, "--listen", "127.0.0.1:0", *arguments]
        return Side(name, command, self.work, files)

    def compare(self, case: str, sides: list[Side], action: Action) -> str:
        """A line of the table."""
        for side in sides:
            for _ in range(WARMUPS):
                action(side)
        pairs = []
        for turn in range(self.runs):
            order = sides if turn % 2 == 0 else sides[::-1]
            samples = {side.name: action(side) for side in order}
            pairs.append((samples["base"], samples["new"]))
        return line(case, pairs)


def line(case: str, pairs: list[tuple[Sample, Sample]]) -> str:
    if any(base.rows != new.rows for base, new in pairs):
        raise RuntimeError(f"{case}: not the same number of rows")
    base, new = (median(sample.wall for sample in side) for side in zip(*pairs, strict=True))
    ratios = sorted(new.wall / base.wall for base, new in pairs)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    cpu = [sum(sample.cpu for sample in side) for side in zip(*pairs, strict=True)]
    shares = f"{median(ratios):.3f} ({low:.3f} to {high:.3f})"
    return f"| {case} | {len(pairs)} | {base * 1e3:.1f} | {new * 1e3:.1f} | {shares} | {cpu[1] / max(cpu[0], 0.01):.3f} |"


def tpch(builds: Builds) -> Iterator[str]:
    """The 22 queries, their columns in the cache."""
    tables = provision.tpch(builds.work, builds.scale, TABLES)
    with builds.sides([tables / f"{name}.parquet" for name in TABLES], ["--read-only"]) as sides:
        for path in sorted(QUERIES.glob("*.slt")):
            query = re.search(r"^query [^\n]*\n(.*?)\n----", path.read_text(), re.DOTALL | re.MULTILINE)[1]
            yield builds.compare(path.stem, sides, lambda side, query=query: side.run("sql", query=query))


def transfers(builds: Builds) -> Iterator[str]:
    """An upload of lineitem, and its downloads: by name and as SQL, decoded each time and not."""
    tables = provision.tpch(builds.work, builds.scale, TABLES)
    source = str(tables / "lineitem.parquet")
    with builds.sides() as sides:
        yield builds.compare("upload", sides, lambda side: side.run("put", name="lineitem", source=source))
        yield from downloads(builds, sides, "")
    with builds.sides([tables / "lineitem.parquet"], ["--frame-cache", "0", "--column-cache", "0"]) as sides:
        yield from downloads(builds, sides, ", decoded each time")


def downloads(builds: Builds, sides: list[Side], how: str) -> Iterator[str]:
    yield builds.compare(f"download{how}", sides, lambda side: side.run("get", name="lineitem"))
    yield builds.compare(f"select *{how}", sides, lambda side: side.run("sql", query="select * from lineitem"))


def folders(builds: Builds) -> Iterator[str]:
    """The first listing of a fresh server on a folder of many files: of one writer, and of three."""
    for kind, writers in (("one writer", 1), ("three writers", 3)):
        with builds.sides() as sides:
            for side in sides:
                provision.folder_of_writers(side.root / "t", FILES, writers)
            yield builds.compare(f"list_flights, {FILES} files of {kind}", sides, lambda side: side.restart().run("list"))


def partitions(builds: Builds) -> Iterator[str]:
    """Queries of a folder with 10,000 folders, each of which has a small file."""
    data = provision.partitions(builds.work, PARTITIONS)
    with builds.sides(arguments=["--read-only"]) as sides:
        for side in sides:
            shutil.copy(data / "few.parquet", side.root)
            shutil.copytree(data / "t", side.root / "t", copy_function=os.link)
        time.sleep(FOLDER_AGE_SECONDS)
        for query in BY_PARTITION:
            yield builds.compare(f"`{query}`", sides, lambda side, query=query: side.run("sql", query=query))


GROUPS = {"tpch": tpch, "transfers": transfers, "folders": folders, "partitions": partitions}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=lambda text: Path(text).resolve())
    parser.add_argument("new", type=lambda text: Path(text).resolve())
    parser.add_argument("groups", nargs="*", choices=list(GROUPS), default=list(GROUPS), help="all of them where none is named")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--runs", type=int, default=15, help="pairs of each case")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/airstrip-bench", metavar="DIR")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    provision.enter_venv(options.work)
    print("| case | pairs | base ms | new ms | new / base (middle half) | CPU new / base |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in options.groups:
        for row in GROUPS[name](Builds(options)):
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
