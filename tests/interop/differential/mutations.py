"""Whether the random queries would notice: each safeguard is taken out, until a query finds it missing.

    AIRSTRIP_BIN=../../../target/debug/airstrip python mutations.py
    AIRSTRIP_BIN=../../../target/debug/airstrip python mutations.py zeros int96

All of them, or those that are named. Needs a debug build: a release build cannot be started without one. A query finds
a safeguard where its answer differs from DuckDB's without it, and does not with it. The exit code is 1 where one is
not found.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import sys
import tempfile
import time

import duckdb

import queries
import run
from server import Airstrip


@dataclasses.dataclass
class Elsewhere:
    """Of a safeguard that no query finds."""

    why: str


@dataclasses.dataclass
class Beside:
    """Of a safeguard that is missed only where another one, which covers it, is missing too."""

    other: str
    kinds: list


# By which kinds of queries each safeguard is found: the names are those of src/safeguard.rs.
FOUND_BY = {
    # How statements are read.
    "joined_keys": ["joins_using"],
    "precedence": ["distinct_from"],
    "counted_rows": ["set_operations"],
    "similar_to": ["patterns"],
    "like_escape": ["escapes"],
    "ordinals": ["ordinals"],
    "cast_names": ["casts_as_names"],
    "long_numbers": ["long_numbers"],
    "rows_in": ["rows_in_subqueries"],
    # What the optimiser does.
    "filters_by_place": ["joins", "best_of_joins"],
    "aggregate_filters": ["extremes_of_several"],
    "exact_literals": ["decimals_with_points"],
    "kept_casts": ["casts_in_filters"],
    "in_subqueries": ["subqueries"],
    "exists_anywhere": ["subqueries"],
    "single_rows": ["subqueries"],
    "correlation": ["related_below"],
    "correlated_totals": ["related_below"],
    "in_lists": ["merged_lists"],
    "matches_of_any": ["simplified"],
    "moments": ["far_moments"],
    "zoneless_times": ["moments_of_zones"],
    "far_moments": ["far_moments"],
    "first_groups": ["windows_over_groups"],
    "distinct_limit": ["distinct_with_windows"],
    "lossy_casts": ["casts_in_filters"],
    "failed_estimates": Beside("lossy_casts", ["failing_estimates"]),
    "grouping_sets": ["groups_of_constants"],
    "sanity_check": ["order_by_what_is_not_selected"],
    "zeros": ["zeros"],
    "uuids": ["uuids"],
    "leaf_pushdown": ["fields_of_structs"],
    "volatile_ranges": ["ranges_of_random"],
    "window_frames": ["orders_of_windows"],
    # What functions compute.
    "overflow": ["overflows"],
    "sum": ["overflows"],
    "rounding": ["roundings"],
    "lead_lag": ["shifts"],
    "corr": ["correlations"],
    "date_part": ["far_moments"],
    "to_timestamp": ["moments_of_texts"],
    "nested_extremes": ["extremes"],
    "argument_errors": ["wrong_arguments"],
    "far_places": ["far_places"],
    "percentile_cont": ["percentiles"],
    "map_extract": ["keys_of_maps"],
    "lists_of_nulls": ["lists_of_nulls"],
    "regexp_flags": ["flags_of_patterns"],
    # What files are said to hold.
    "group_bounds": ["told_by_writers"],
    "cast_bounds": ["extremes_of_casts"],
    "trusted_footers": ["told_by_writers"],
    "noted_schema": ["files_of_writers"],
    "null_counts": ["told_by_writers"],
    "int96": ["files_of_writers"],
    "by_partition": ["partitions"],
    "file_types": ["files_that_do_not_unite"],
    "repeated_groups": ["cubes_of_one"],
    "unknown_elements": Elsewhere("DuckDB says false: tests/sqllogic/sql/lists.slt"),
    "received_decimals": Elsewhere("of uploads: tests/interop/pyarrow/test_types.py"),
}


class Fixture:
    """One root of tables and one DuckDB, and a server with all safeguards, for all mutations: they only read."""

    def __init__(self, binary, folder, seed):
        self.binary, self.folder = binary, folder
        self.duck = duckdb.connect()
        writer = Airstrip(binary, folder)
        try:
            run.make_tables(writer, self.duck, seed)
        finally:
            writer.stop()
        self.complete = self.server()

    def server(self, taken_out=None):
        return Airstrip(self.binary, self.folder, "--read-only", taken_out=taken_out)


def wrong(server, query, theirs):
    """What is wrong with a server's answers, if anything is."""
    for _, answer in server.answers(query.ours):
        try:
            ours = answer(), None
        except Exception as caught:  # pyarrow raises many kinds
            ours = None, run.error_of(caught)
        if what := run.judged(query, ours, theirs, run.Report()):
            return what
    return None


@dataclasses.dataclass
class Found:
    kind: str
    query: str
    what: str


def search(fixture, safeguard, kinds, options):
    """The first query that finds a safeguard missing, or `None`, and how many were asked."""
    complete = fixture.complete
    if isinstance(kinds, Beside):
        complete = fixture.server(kinds.other)
        safeguard, kinds = f"{kinds.other},{safeguard}", kinds.kinds
    server = fixture.server(safeguard)
    try:
        made, started = random.Random(options.seed), time.monotonic()
        for asked in range(1, options.queries + 1):
            if time.monotonic() - started > options.seconds:
                break
            kind, query = queries.make(made, made.choice(kinds))
            theirs = run.expected(fixture.duck, query)
            if theirs[0] is None and not query.errors:
                continue
            what = wrong(server, query, theirs)
            if what and not wrong(complete, query, theirs):
                return Found(kind, query.ours, what), asked
        return None, asked
    finally:
        server.stop()
        if complete is not fixture.complete:
            complete.stop()


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("safeguards", nargs="*", metavar="SAFEGUARD", help="all, if none is named")
    parser.add_argument("--queries", type=int, default=400, help="the most for one safeguard")
    parser.add_argument("--seconds", type=int, default=120, help="the most for one safeguard")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="the queries as well")
    asked = parser.parse_args(given)
    for name in asked.safeguards:
        if name not in FOUND_BY:
            parser.error(f"there is no safeguard {name}: {', '.join(FOUND_BY)}")
    return asked


def shown(found, kinds):
    """What is said of a search."""
    if isinstance(kinds, Beside):
        return f"{shown(found, kinds.kinds)}, beside {kinds.other}"
    return found.kind if found else f"NOT by {', '.join(kinds)}"


def row(safeguard, kinds, count, seconds):
    print(f"{safeguard:20} {kinds:50} {count:>9} {seconds:>8}", flush=True)


def main(options):
    missed = []
    row("safeguard", "found by", "queries", "seconds")
    with tempfile.TemporaryDirectory(prefix="airstrip-mutations-") as folder:
        fixture = Fixture(os.environ["AIRSTRIP_BIN"], pathlib.Path(folder), options.seed)
        try:
            for safeguard in options.safeguards or FOUND_BY:
                kinds = FOUND_BY[safeguard]
                if isinstance(kinds, Elsewhere):
                    row(safeguard, kinds.why, "-", "-")
                    continue
                started = time.monotonic()
                found, asked = search(fixture, safeguard, kinds, options)
                seconds = f"{time.monotonic() - started:.1f}"
                row(safeguard, shown(found, kinds), asked, seconds)
                if found and options.show:
                    print(f"    {found.query}\n    {found.what}", flush=True)
                if not found:
                    missed.append(safeguard)
        finally:
            fixture.complete.stop()
    print(f"{len(missed)} not found{': ' if missed else ''}{', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
