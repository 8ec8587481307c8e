"""Prepared statements and bound values."""

import datetime as dt
import zoneinfo
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from helpers import fails, rows, run, table

UTC = dt.timezone.utc
VALUES = [
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    float("inf"),
    True,
    False,
    "",
    "naïve ☃ 'quoted'",
    b"",
    b"\x00\xff",
    dt.date(2026, 2, 3),
    dt.date(1, 1, 1),
    dt.time(1, 2, 3, 4),
    dt.datetime(2026, 2, 3, 4, 5, 6, 7),
    dt.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    dt.timedelta(days=-1, microseconds=5),
    Decimal("-12345678901234567890.123456789"),
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("mark", ["?", "$1"])
def test_a_value_comes_back(connection, mark, value):
    assert rows(connection, f"select {mark} as v", (value,)) == [(value,)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_compared(connection, value):
    """With a column of its own type, or with IS NULL."""
    if value is None:
        assert rows(connection, "select 1 where ? is null", (value,)) == [(1,)]
    else:
        assert rows(connection, "select 1 from (select $1 as v) where v = $1", (value,)) == [(1,)]


DAY = dt.date(2026, 2, 3)
MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6)
# Type -> a value, and the type of the result where the default profile has another.
TYPES = {
    pa.int8(): -128,
    pa.int16(): -(2**15),
    pa.int32(): -(2**31),
    pa.int64(): -(2**63),
    pa.uint8(): 2**8 - 1,
    pa.uint16(): 2**16 - 1,
    pa.uint32(): 2**32 - 1,
    pa.uint64(): 2**64 - 1,
    pa.float16(): np.float16(1.5),
    pa.float32(): 1.5,
    pa.float64(): 0.1,
    pa.bool_(): True,
    pa.string(): "text",
    pa.large_string(): "text",
    pa.string_view(): "a text that is too long for a view",
    pa.binary(): b"\x00\xff",
    pa.large_binary(): b"\x00\xff",
    pa.binary_view(): b"bytes that are too long for a view",
    pa.binary(2): b"\x00\xff",
    pa.date32(): DAY,
    pa.date64(): DAY,
    pa.time32("s"): dt.time(1, 2, 3),
    pa.time32("ms"): dt.time(1, 2, 3, 4000),
    pa.time64("us"): dt.time(1, 2, 3, 4),
    pa.time64("ns"): dt.time(1, 2, 3, 4),
    **{pa.timestamp(unit): MOMENT for unit in ("s", "ms", "us", "ns")},
    **{pa.timestamp(unit, "UTC"): MOMENT.replace(tzinfo=UTC) for unit in ("s", "ms", "us", "ns")},
    pa.timestamp("us", "Europe/Berlin"): MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    **{pa.duration(unit): dt.timedelta(seconds=5) for unit in ("s", "ms", "us", "ns")},
    pa.decimal128(10, 2): Decimal("1.25"),
    pa.decimal128(38, 0): Decimal("9" * 38),
    pa.decimal256(76, 10): Decimal("1.25"),
    pa.month_day_nano_interval(): pa.MonthDayNano([1, 2, 3]),
    pa.null(): None,
    pa.dictionary(pa.int32(), pa.string()): "text",
    pa.list_(pa.int32()): [1, None],
    pa.struct([("a", pa.int32())]): {"a": 1},
}
COMPATIBLE = {
    pa.float16(): pa.float32(),
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
    pa.dictionary(pa.int32(), pa.string()): pa.string(),
}


@pytest.mark.parametrize("type", TYPES, ids=str)
def test_an_arrow_type_is_bound_as_it_is(connection, type):
    values = pa.array([TYPES[type], TYPES[type]], type)
    got = table(connection, "select $1 as v", pa.record_batch([values], ["p"]))
    assert got.schema.field("v").type == COMPATIBLE.get(type, type)
    assert got["v"].to_pylist() == values.to_pylist()


@pytest.mark.parametrize("type", TYPES, ids=str)
def test_a_null_among_the_rows_of_a_type(connection, type):
    """Rows with and without a value are one result: its column is nullable."""
    values = pa.array([TYPES[type], None, TYPES[type]], type)
    got = table(connection, "select $1 as v", pa.record_batch([values], ["p"]))
    assert got.schema.field("v") == pa.field("v", COMPATIBLE.get(type, type))
    assert got["v"].to_pylist() == values.to_pylist()


def test_several_rows_are_one_result_after_the_other(connection):
    bound = pa.record_batch({"a": [3, 1, 9], "b": [5, 2, 10]})
    sql = "select id, $2 as b from people where id = $1"
    assert rows(connection, sql, bound) == [(3, 5), (1, 2)]


def test_several_rows_in_several_batches(connection):
    reader = pa.table({"a": [1, 2, 3, 4]}).to_reader(max_chunksize=1)
    assert rows(connection, "select name from people where id = ?", reader) == [
        ("Ada",),
        ("Grace",),
        ("Edsger",),
        (None,),
    ]


def test_many_rows_and_at_most_a_thousand(connection):
    """Each is planned by itself, so there is a bound."""
    assert rows(connection, "select ? as n", pa.record_batch({"a": range(100)})) == [(n,) for n in range(100)]
    with fails("INTERNAL", "1000 rows.*upload"):
        rows(connection, "select ? as n", pa.record_batch({"a": range(1001)}))


def test_texts_are_read_as_the_type_that_is_wanted(connection):
    bound = pa.record_batch({"a": ["1", "2"]})
    assert rows(connection, "select ? + 1 as n", bound) == [(2,), (3,)]


def test_parameters_are_numbered(connection):
    assert rows(connection, "select $2 as a, $1 as b, $2 as c", (1, "two")) == [("two", 1, "two")]
    marks = ", ".join(f"${n}" for n in range(12, 0, -1))
    assert rows(connection, f"select {marks}", range(1, 13)) == [tuple(range(12, 0, -1))]
    assert rows(connection, "select ?, '?', ? -- ?", (1, 2)) == [(1, "?", 2)]


def test_columns_called_like_the_parameters_are_bound_by_name(connection):
    bound = pa.record_batch({"$2": ["b"], "$1": ["a"]})
    assert rows(connection, "select $1, $2", bound) == [("a", "b")]


PLACES = {
    "select id from people where id in (?, ?) order by id": ((1, 3), [(1,), (3,)]),
    "select id from people where name like ?": (("%ace",), [(2,)]),
    "select id from people where born between ? and ?": ((dt.date(1900, 1, 1), dt.date(1910, 1, 1)), [(2,)]),
    "select id from people where born = ?": (("1906-12-09",), [(2,)]),
    "select id from people where name = coalesce(?, 'Ada')": ((None,), [(1,)]),
    "select id + ? from people where id = 1": ((0.5,), [(1.5,)]),
    "select count(*) from people group by id > ? order by 1": ((3,), [(1,), (3,)]),
    "select n from (values (1), (2), (3)) t(n) order by n limit ?": ((2,), [(1,), (2,)]),
    "select n from (values (1), (2), (3)) t(n) order by n limit ? offset ?": ((1, 1), [(2,)]),
    "select case when ? then 'yes' else 'no' end": ((True,), [("yes",)]),
    "with t as (select ? as n) select n from t union all select n + 1 from t order by 1": ((1,), [(1,), (2,)]),
    "select cast(? as date)": (("2026-02-03",), [(DAY,)]),
    "select upper(?)": (("x",), [("X",)]),
    "explain select * from people where id = ?": ((1,), None),
}


@pytest.mark.parametrize("sql", PLACES)
def test_a_parameter_may_stand_wherever_a_value_may(connection, sql):
    parameters, expected = PLACES[sql]
    got = rows(connection, sql, parameters)
    assert got if expected is None else got == expected


def test_the_types_of_parameters(cursor):
    assert cursor.adbc_prepare("select 1") == pa.schema([])
    got = cursor.adbc_prepare("select id from people where id > ? and name = ? and born < ? and height in (?)")
    assert got == pa.schema([("$1", pa.int64()), ("$2", pa.string()), ("$3", pa.date32()), ("$4", pa.float64())])
    # In the order of their numbers, not of their names; text where nothing says otherwise.
    got = cursor.adbc_prepare("select " + ", ".join(f"${n}" for n in range(12, 0, -1)))
    assert got == pa.schema([(f"${n}", pa.string()) for n in range(1, 13)])


def test_a_statement_is_prepared_once_and_run_often(cursor):
    sql = "select name from people where id = ?"
    cursor.adbc_prepare(sql)
    assert [cursor.execute(sql, (id,)).fetchall() for id in (1, 2, 9)] == [[("Ada",)], [("Grace",)], []]


def test_two_prepared_statements_keep_their_values_apart(connection):
    with connection.cursor() as one, connection.cursor() as other:
        one.execute("select ? as n", (1,))
        other.execute("select ? as n", (2,))
        assert (one.fetchall(), other.fetchall()) == ([(1,)], [(2,)])


def test_a_prepared_statement_sees_the_tables_of_its_run(connection, name):
    run(connection, f"create table {name} as select 1 as n")
    with connection.cursor() as cursor:
        sql = f"select n from {name} where n >= ?"
        assert cursor.execute(sql, (0,)).fetchall() == [(1,)]
        run(connection, f"create or replace table {name} as select 2 as n")
        assert cursor.execute(sql, (0,)).fetchall() == [(2,)]


WRONG = {
    "nothing was bound": ("select ? + 1", None, "has parameters"),
    "too few": ("select ?, ?", (1,), "2 parameters, 1"),
    "too many": ("select ?", (1, 2), "1 parameters?, 2"),
    "both kinds of marks": ("select ?, $1", (1, 2), "mixes parameters"),
    "a text that is no number": ("select id from people where id = ?", ("x",), r"\$1 is no Int64"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_values_are_refused_with_a_reason(connection, kind):
    sql, parameters, text = WRONG[kind]
    with fails("INVALID_ARGUMENT", text):
        rows(connection, sql, parameters)


def test_executemany_runs_changes_and_refuses_queries(connection, name):
    """It is DoPut(PreparedStatementUpdate)."""
    with connection.cursor() as cursor:
        cursor.executemany(f"create table {name} as select 7 as n", None)
        assert cursor.rowcount == 1
        with fails("INVALID_ARGUMENT", "is a query, not an update"):
            cursor.executemany("select ?", [(1,), (2,)])
    assert rows(connection, f"select n from {name}") == [(7,)]


@pytest.mark.parametrize("many", [False, True], ids=["execute", "executemany"])
def test_changes_of_names_take_no_parameters(connection, name, many):
    with connection.cursor() as cursor, fails("NOT_IMPLEMENTED", "take parameters"):
        if many:
            cursor.executemany(f"create table {name} as select ? as n", [(1,)])
        else:
            cursor.execute(f"create table {name} as select ? as n", (1,))
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")


def test_changes_of_rows_take_parameters(connection, name):
    run(connection, f"create table {name} (n int, s varchar, d date)")
    with connection.cursor() as cursor:
        cursor.executemany(f"insert into {name} values (?, ?, ?)", [(i, f"row {i}", dt.date(2026, 1, i)) for i in range(1, 6)])
        assert cursor.rowcount == 5
        cursor.execute(f"update {name} set s = ? where n = ?", ("changed", 2))
        assert cursor.rowcount == 1
        cursor.executemany(f"delete from {name} where n = ?", [(1,), (3,), (77,)])
        assert cursor.rowcount == 2
    assert rows(connection, f"select n, s, d from {name} order by n") == [
        (2, "changed", dt.date(2026, 1, 2)),
        (4, "row 4", dt.date(2026, 1, 4)),
        (5, "row 5", dt.date(2026, 1, 5)),
    ]


def test_nulls_among_the_rows_of_an_insert(connection, name):
    run(connection, f"create table {name} (a int not null, b smallint, s varchar)")
    bound = [(1, None, "x"), (2, 3, None), (3, None, None)]
    insert = f"insert into {name} values (?, ?, ?)"
    with connection.cursor() as cursor:
        cursor.executemany(insert, bound)
        assert rows(connection, f"select * from {name} order by a") == bound
        with fails("INVALID_ARGUMENT", 'column "a" is NOT NULL'):
            cursor.executemany(insert, [(4, 1, "y"), (None, 1, "z")])
    assert rows(connection, f"select count(*) from {name}") == [(3,)]


def test_binding_by_name_is_not_in_the_driver(connection):
    """DB-API's named style needs an option that this driver does not have."""
    with fails("NOT_IMPLEMENTED", "bind_by_name"):
        rows(connection, "select $a", {"a": 1})
