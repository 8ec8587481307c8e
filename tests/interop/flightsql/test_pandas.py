"""pandas, by an ADBC connection."""

import pandas as pd
import pyarrow as pa
import pytest

from helpers import rows, run, table

FRAME = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "f": [1.5, None, -2.0],
        "s": ["a", None, "c"],
        "o": [True, False, True],
        "day": pd.to_datetime(["2026-02-03 04:05:06", None, "1970-01-01 00:00:00"]),
        "zoned": pd.to_datetime(["2026-02-03 04:05:06", None, "1970-01-01 00:00:00"]).tz_localize("Europe/Berlin"),
    }
)


def test_read_sql(connection):
    got = pd.read_sql("select id, name, height from people order by id", connection)
    assert got["id"].tolist() == [1, 2, 3, 4]
    assert got["name"].tolist()[:3] == ["Ada", "Grace", "Edsger"] and pd.isna(got["name"][3])
    assert got["height"].tolist()[:2] == [1.65, 1.52] and pd.isna(got["height"][2])


def test_read_sql_with_arrows_types(connection):
    got = pd.read_sql("select id, name from people order by id", connection, dtype_backend="pyarrow")
    assert got.dtypes.tolist() == [pd.ArrowDtype(pa.int64()), pd.ArrowDtype(pa.string())]


def test_read_sql_of_a_table(connection):
    assert len(pd.read_sql("people", connection)) == 4
    assert len(pd.read_sql_table("people", connection)) == 4


def test_to_sql_and_back(connection, name):
    assert FRAME.to_sql(name, connection, index=False) == 3
    got = pd.read_sql(f"select * from {name}", connection)
    # pandas itself turns moments with a zone to UTC when it reads.
    pd.testing.assert_frame_equal(got, FRAME.assign(zoned=FRAME["zoned"].dt.tz_convert("UTC")))
    assert table(connection, f"select zoned from {name}").schema.types == [pa.timestamp("us", "Europe/Berlin")]


def test_to_sql_with_an_index(connection, name):
    frame = FRAME.set_index("n")
    assert frame.to_sql(name, connection) == 3
    assert rows(connection, f"select n, s from {name} order by n") == [(1, "a"), (2, None), (3, "c")]


def test_to_sql_of_categories(connection, name):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y", None, "x"])})
    assert frame.to_sql(name, connection, index=False) == 4
    assert rows(connection, f"select c from {name}") == [("x",), ("y",), (None,), ("x",)]


def test_if_exists(connection, name):
    FRAME.to_sql(name, connection, index=False)
    with pytest.raises(ValueError, match=f"{name}' already exists"):
        FRAME.to_sql(name, connection, index=False)
    assert FRAME.to_sql(name, connection, index=False, if_exists="append") == len(FRAME)
    assert rows(connection, f"select count(*) from {name}") == [(2 * len(FRAME),)]
    assert FRAME.head(1).to_sql(name, connection, index=False, if_exists="replace") == 1
    assert rows(connection, f"select count(*) from {name}") == [(1,)]
    assert FRAME.to_sql(name, connection, index=False, if_exists="delete_rows") == len(FRAME)
    assert rows(connection, f"select count(*) from {name}") == [(len(FRAME),)]


def test_replace_of_what_is_missing(connection, name):
    assert FRAME.to_sql(name, connection, index=False, if_exists="replace") == 3


def test_into_a_schema(connection, name):
    run(connection, f"create schema {name}")
    assert FRAME.to_sql("t", connection, index=False, schema=name) == 3
    with pytest.raises(ValueError, match="already exists"):
        FRAME.to_sql("t", connection, index=False, schema=name)
    assert FRAME.head(2).to_sql("t", connection, index=False, schema=name, if_exists="replace") == 2
    assert rows(connection, f"select count(*) from {name}.t") == [(2,)]


def test_a_name_with_wildcards_is_not_a_pattern(connection, name):
    """pandas looks for the table first; `_` in a name must not find another table."""
    pd.DataFrame({"n": [1]}).to_sql(f"{name}axb", connection, index=False)
    assert pd.DataFrame({"n": [2]}).to_sql(f"{name}a_b", connection, index=False) == 1
    assert rows(connection, f"select n from {name}axb") == [(1,)]


def test_errors(connection):
    with pytest.raises(pd.errors.DatabaseError, match="poeple.*people"):
        pd.read_sql("select * from poeple", connection)
