"""Queries through the ADBC driver: every way to fetch, partitions, schemas ahead of results."""

import datetime as dt
import threading
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import samples
from helpers import fails, rows, run, table

PEOPLE = [tuple(row.values()) for row in samples.PEOPLE.to_pylist()]
ALL = "select * from people order by id"


def test_fetchone_fetchmany_fetchall(cursor):
    cursor.execute(ALL)
    assert [column[0] for column in cursor.description] == ["id", "name", "born", "height"]
    assert cursor.fetchone() == PEOPLE[0]
    assert cursor.fetchmany(2) == PEOPLE[1:3]
    assert cursor.rownumber == 3
    assert cursor.fetchall() == PEOPLE[3:]
    assert cursor.fetchone() is None
    assert cursor.fetchall() == []


def test_a_cursor_is_an_iterator_and_is_used_again(cursor):
    for _ in range(3):
        assert list(cursor.execute(ALL)) == PEOPLE
    assert cursor.execute("select 'another' as text").fetchall() == [("another",)]


def test_a_result_is_dropped_half_way(cursor):
    """The next statement of the cursor does not wait for the rest of the one before."""
    for _ in range(3):
        cursor.execute("select * from numbers")
        assert cursor.fetchone() is not None
    assert cursor.execute("select 1").fetchone() == (1,)


def test_arrow(cursor):
    got = cursor.execute(ALL).fetch_arrow_table()
    assert got.schema == samples.PEOPLE.schema
    assert got.equals(samples.PEOPLE)
    assert cursor.execute(ALL).fetchallarrow().equals(samples.PEOPLE)


def test_a_reader_of_batches(cursor):
    reader = cursor.execute("select * from numbers").fetch_record_batch()
    batches = list(reader)
    assert len(batches) > 1
    # Files are read in parallel, and nothing asked for an order.
    assert pa.Table.from_batches(batches).sort_by("n").equals(samples.NUMBERS)


def test_the_c_stream(cursor):
    stream = cursor.execute(ALL).fetch_arrow()
    assert pa.RecordBatchReader.from_stream(stream).read_all().equals(samples.PEOPLE)


def test_frames(cursor):
    frame = cursor.execute(ALL).fetch_df()
    pd.testing.assert_frame_equal(frame, samples.PEOPLE.to_pandas())
    assert cursor.execute(ALL).fetch_polars().equals(pl.from_arrow(samples.PEOPLE))


def test_rows_keep_their_order(connection):
    """`ordered` is set, and the driver reads endpoints in parallel: there is one."""
    got = table(connection, "select n from numbers order by n desc")
    assert got["n"].to_numpy().tolist() == list(range(samples.ROWS - 1, -1, -1))


def test_literals_have_the_types_that_python_expects(connection):
    sql = """select 1 as a, 2.5 as b, 'x' as c, true as d, null as e, date '2026-02-03' as f,
             timestamp '2026-02-03T04:05:06' as g, cast('1.25' as decimal(10, 2)) as h, X'00ff' as i,
             cast(7 as tinyint unsigned) as j, time '04:05:06' as k, [1, 2] as l"""
    got = rows(connection, sql)[0]
    assert got == (
        1,
        2.5,
        "x",
        True,
        None,
        dt.date(2026, 2, 3),
        dt.datetime(2026, 2, 3, 4, 5, 6),
        Decimal("1.25"),
        b"\x00\xff",
        7,
        dt.time(4, 5, 6),
        [1, 2],
    )


STATEMENTS_THAT_READ = {
    "values (1, 'a'), (2, 'b')": [(1, "a"), (2, "b")],
    "with t as (select 1 as n) select n + 1 from t": [(2,)],
    "select * from generate_series(1, 3)": [(1,), (2,), (3,)],
    "select count(*) from numbers": [(samples.ROWS,)],
    "select id from people intersect select 3": [(3,)],
    "describe people": [
        ("id", "BIGINT", "NO"),
        ("name", "VARCHAR", "YES"),
        ("born", "DATE", "YES"),
        ("height", "DOUBLE", "YES"),
    ],
    "select p.name from people p join (values (2)) v(id) using (id);": [("Grace",)],
    "-- a comment\nselect /* another */ 1": [(1,)],
}


@pytest.mark.parametrize("sql", STATEMENTS_THAT_READ)
def test_statements_that_read(connection, sql):
    assert rows(connection, sql) == STATEMENTS_THAT_READ[sql]


def test_explain(connection):
    plans = dict(rows(connection, "explain select sum(n) from numbers where n < 5"))
    assert set(plans) == {"logical_plan", "physical_plan"}
    assert "numbers" in plans["logical_plan"]
    [(kind, text)] = rows(connection, "explain analyze select sum(n) from numbers")
    assert kind == "Plan with Metrics" and "output_rows" in text


def test_a_schema_without_running(cursor, name):
    schema = cursor.adbc_execute_schema("select id, name from people")
    assert schema == pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    assert cursor.execute("select id, name from people").fetch_arrow_table().schema == schema
    with fails("NOT_FOUND"):
        cursor.adbc_execute_schema(f"select * from {name}")


def test_the_schema_of_a_change_does_not_make_it(connection, name):
    """The driver has no schema to show for it; the point is that nothing was run to find out."""
    with connection.cursor() as cursor, fails("NOT_IMPLEMENTED"):
        cursor.adbc_execute_schema(f"create table {name} as select 1 as n")
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")


def test_partitions_are_read_by_any_connection(shared, connection):
    with connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("select * from people where id < ? order by id", (3,))
        assert schema == samples.PEOPLE.schema
        assert len(partitions) == 1
        # More than once, too: a ticket is a question, not an answer that is used up.
        for _ in range(2):
            cursor.adbc_read_partition(partitions[0])
            assert cursor.fetchall() == PEOPLE[:2]
    with shared.connect() as other, other.cursor() as cursor:
        cursor.adbc_read_partition(partitions[0])
        assert cursor.fetch_arrow_table().equals(samples.PEOPLE.slice(0, 2))


def test_a_partition_keeps_the_options_that_it_was_made_with(shared, connection, name):
    run(connection, f"create schema {name}", f"create table {name}.t as select 'x' as n", f"use {name}")
    with connection.cursor() as cursor:
        partitions, _ = cursor.adbc_execute_partitions("select n from t")
    with shared.connect() as other, other.cursor() as cursor:
        cursor.adbc_read_partition(partitions[0])
        assert cursor.fetchall() == [("x",)]


def test_incremental_execution(connection):
    """PollFlightInfo: all endpoints at once, then none, which is the driver's sign for the end."""
    options = {"adbc.statement.exec.incremental": "true"}
    with connection.cursor(adbc_stmt_kwargs=options) as cursor:
        partitions, schema = cursor.adbc_execute_partitions(ALL)
        assert len(partitions) == 1 and schema == samples.PEOPLE.schema
        again, _ = cursor.adbc_execute_partitions(ALL)
        assert again == []
        cursor.adbc_read_partition(partitions[0])
        assert cursor.fetchall() == PEOPLE
    with connection.cursor(adbc_stmt_kwargs=options) as cursor:
        assert cursor.execute("select 1").fetchall() == [(1,)]


def test_incremental_execution_makes_a_change_once(connection, name):
    options = {"adbc.statement.exec.incremental": "true"}
    with connection.cursor(adbc_stmt_kwargs=options) as cursor:
        cursor.execute(f"create table {name} as select 1 as n")
    assert rows(connection, f"select * from {name}") == [(1,)]


def test_threads_with_cursors_of_one_connection(connection):
    found, errors = {}, []

    def work(i):
        try:
            for n in range(3):
                found[i, n] = rows(connection, "select count(*) from numbers where n % 5 = ? and n > ?", (i, n))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    numbers = samples.NUMBERS["n"].to_numpy()
    expected = {(i, n): [(((numbers % 5 == i) & (numbers > n)).sum(),)] for i in range(4) for n in range(3)}
    assert found == expected


@pytest.mark.parametrize("bytes", [4 << 20, 16 << 20])
def test_messages_are_small_enough_for_every_limit(shared, bytes):
    """Rows of 3 MB each, which must not travel together."""
    options = {"adbc.flight.sql.client_option.with_max_msg_size": str(bytes)}
    with shared.connect(options) as connection:
        got = table(connection, "select repeat('x', 3000000) as s from generate_series(1, 3)")
        assert [len(text) for text in got["s"].to_pylist()] == [3_000_000] * 3
        assert table(connection, "select * from numbers").num_rows == samples.ROWS
