"""TPC-H at scale factor 0.01: DuckDB's generator makes the data, its published answers are what SQL must give.

The answers come with DuckDB's `tpch` extension and were not computed here. They belong to its own
generator's data: tests/sqllogic/tpch/README.md.
"""

import datetime as dt
import math
from importlib import resources
from types import SimpleNamespace

import duckdb
import pytest

from conftest import Server
from helpers import get

SCALE = 0.01
TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]
TOLERANCE = 1e-6


@pytest.fixture(scope="session")
def tpch(tmp_path_factory):
    """A client of a server on the eight tables, and the queries and answers by number."""
    root = tmp_path_factory.mktemp("tpch")
    extension = resources.files("duckdb_extension_tpch") / f"extensions/v{duckdb.__version__}/tpch.duckdb_extension"
    # The file is DuckDB's own, though its package is not: DuckDB checks the signature as it loads it.
    with duckdb.connect() as db:
        db.load_extension(str(extension))
        db.execute("call dbgen(sf = $1)", [SCALE])
        for table in TABLES:
            db.table(table).write_parquet(str(root / f"{table}.parquet"))
        queries = dict(db.execute("from tpch_queries()").fetchall())
        answers = db.execute("select query_nr, answer from tpch_answers() where scale_factor = $1", [SCALE])
        answers = dict(answers.fetchall())
    server = Server(root)
    yield SimpleNamespace(client=server.client(), queries=queries, answers=answers)
    server.stop()


def parse(answer):
    """The rows of an answer: a line each, after one with the columns' names; `|` between the values."""
    return [line.split("|") for line in answer.splitlines()[1:]]


def agrees(value, expected):
    """Whether a value is the one that a published text stands for. Only numbers have a tolerance."""
    if isinstance(value, str):
        return value == expected
    if value is None:
        return expected == ""
    if isinstance(value, dt.date):
        return value.isoformat() == expected
    try:
        return math.isclose(value, float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False


@pytest.mark.parametrize("number", range(1, 23))
def test_a_query_has_its_published_answer(tpch, number):
    """In the answer's row order too: every query of more than one row orders them, without ties."""
    expected = parse(tpch.answers[number])
    result = get(tpch.client, tpch.queries[number])
    assert (result.num_rows, result.num_columns) == (len(expected), len(expected[0]))
    columns = [column.to_pylist() for column in result.columns]
    differences = [
        (row, name, value, text)
        for row, (values, texts) in enumerate(zip(zip(*columns, strict=True), expected, strict=True))
        for name, value, text in zip(result.column_names, values, texts, strict=True)
        if not agrees(value, text)
    ]
    assert differences == []
