"""The few steps that most tests share."""

import contextlib
import time

import adbc_driver_flightsql.dbapi as dbapi
import pytest

# Computes for minutes, gives one row, and needs next to no memory.
LONG = "select sum(a.n * b.n % 7) as s from numbers a, numbers b where a.n % 3 = b.n % 5"


def rows(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        return cursor.execute(sql, parameters).fetchall()


def table(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        return cursor.execute(sql, parameters).fetch_arrow_table()


def run(connection, *statements):
    """Statements whose results nobody looks at."""
    for sql in statements:
        with connection.cursor() as cursor:
            cursor.execute(sql)


def ingest(connection, name, data, **options):
    """A cursor keeps the options of an ingest, so each gets a new one."""
    with connection.cursor() as cursor:
        return cursor.adbc_ingest(name, data, **options)


@contextlib.contextmanager
def fails(status, match=None, error=dbapi.Error):
    """What is inside ends with ADBC's status of that name."""
    with pytest.raises(error, match=match) as raised:
        yield raised
    assert raised.value.status_code.name == status, raised.value


def states(connection, part):
    """The states of the statements whose text holds `part`, the newest first."""
    sql = """select state from system.queries
             where strpos(sql, ?) > 0 and strpos(sql, 'system.queries') = 0 order by submitted desc"""
    return [state for (state,) in rows(connection, sql, (part,))]


def soon(check, seconds=5):
    """Waits until `check` gives something true; a cancelled statement ends a moment after its client."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def nested(type):
    """A type and all types inside of it."""
    yield type
    for index in range(type.num_fields):
        yield from nested(type.field(index).type)
