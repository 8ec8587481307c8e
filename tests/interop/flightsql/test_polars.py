"""polars, by an ADBC connection and by a URI."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from helpers import fails, rows, table

FRAME = pl.DataFrame(
    {
        "n": [1, 2, None],
        "small": pl.Series([1, 2, None], dtype=pl.UInt8),
        "f": [1.5, None, -2.0],
        "s": ["a", None, "a text that is too long for the inside of a view"],
        "b": [b"\x00", None, b""],
        "o": [True, None, False],
        "day": [dt.date(2026, 2, 3), None, dt.date(1, 1, 1)],
        "moment": [dt.datetime(2026, 2, 3, 4, 5, 6), None, dt.datetime(1970, 1, 1)],
        "zoned": pl.Series([dt.datetime(2026, 2, 3, 4, 5, 6), None, None]).dt.replace_time_zone("Europe/Berlin"),
        "time": [dt.time(1, 2, 3), None, dt.time(0)],
        "length": [dt.timedelta(days=1), None, dt.timedelta(0)],
        "money": [Decimal("1.25"), None, Decimal("-3.50")],
        "list": [[1, None], None, []],
        "struct": [{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": 2, "b": None}],
    }
)


@pytest.fixture
def uri(shared):
    """The scheme is how polars finds the driver; `transport` is the driver's word for no TLS."""
    return f"flightsql://{shared.address}?transport=tcp"


def test_read_by_connection(connection):
    got = pl.read_database("select id, name from people order by id", connection)
    assert got.rows() == [(1, "Ada"), (2, "Grace"), (3, "Edsger"), (4, None)]
    assert got.schema == {"id": pl.Int64, "name": pl.String}


def test_read_by_uri(uri):
    got = pl.read_database_uri("select id, height from people order by id", uri, engine="adbc")
    assert got.rows() == [(1, 1.65), (2, 1.52), (3, None), (4, 1.8)]


def test_read_by_uri_with_a_user(shared, name):
    uri = f"flightsql://ada:secret@{shared.address}?transport=tcp"
    assert pl.read_database_uri(f"select 1 as {name}", uri, engine="adbc").rows() == [(1,)]


def test_parameters(connection):
    got = pl.read_database("select name from people where id = ?", connection, execute_options={"parameters": (2,)})
    assert got.rows() == [("Grace",)]


def test_batches(connection):
    frames = list(pl.read_database("select n from numbers", connection, iter_batches=True, batch_size=10_000))
    assert len(frames) > 1
    assert sum(frame["n"].sum() for frame in frames) == sum(range(200_000))


def test_a_result_without_rows(connection):
    got = pl.read_database("select id, name from people where false", connection)
    assert got.shape == (0, 2) and got.schema == {"id": pl.Int64, "name": pl.String}


def test_write_and_read(connection, name):
    assert FRAME.write_database(name, connection) == 3
    got = pl.read_database(f"select * from {name}", connection)
    assert got.schema == FRAME.schema
    assert got.equals(FRAME)


def test_write_by_uri(uri, connection, name):
    assert FRAME.write_database(name, uri, engine="adbc") == 3
    assert rows(connection, f"select sum(n) from {name}") == [(3,)]


def test_write_into_a_schema(uri, connection, name):
    with connection.cursor() as cursor:
        cursor.execute(f"create schema {name}")
    assert FRAME.write_database(f"{name}.t", uri, engine="adbc") == 3
    assert rows(connection, f"select count(*) from {name}.t") == [(3,)]


@pytest.mark.parametrize("type", [pl.Categorical, pl.Enum(["x", "y"])], ids=str)
def test_categories_are_written(connection, name, type):
    frame = pl.DataFrame({"c": pl.Series(["x", None, "y", "x"], dtype=type)})
    assert frame.write_database(name, connection) == 4
    assert table(connection, f"select * from {name}")["c"].to_pylist() == ["x", None, "y", "x"]


def test_if_the_table_exists(connection, name):
    frame = pl.DataFrame({"n": [1]})
    frame.write_database(name, connection)
    with fails("ALREADY_EXISTS", name):
        frame.write_database(name, connection)
    assert frame.write_database(name, connection, if_table_exists="append") == 1
    assert rows(connection, f"select n from {name}") == [(1,), (1,)]
    assert pl.DataFrame({"n": [7]}).write_database(name, connection, if_table_exists="replace") == 1
    assert rows(connection, f"select * from {name}") == [(7,)]


def test_native_types_are_read(shared):
    """Views and dictionaries are what polars has inside."""
    with shared.connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("set types = 'native'")
        got = pl.read_database("select text_view, dictionary, bytes_view from types", connection)
    assert got.rows() == [("a", "x", b"a"), (None, "y", None), ("a text that is too long for a view", "x", b"\x00")]


def test_errors(connection):
    with fails("NOT_FOUND", "poeple.*people"):
        pl.read_database("select * from poeple", connection)
