"""The life of statements: cancelled by their client, too late, or left behind."""

import threading
import time

import adbc_driver_flightsql.dbapi as dbapi
import pytest

from helpers import LONG, fails, rows, run, soon, states


def cancelled_soon(cursor, work, after=0.5):
    """Runs `work`, cancels it from another thread, and checks that this ends it at once."""
    timer = threading.Timer(after, cursor.adbc_cancel)
    timer.start()
    begun = time.monotonic()
    try:
        # The driver gives OSError where the stream of batches was in use.
        with pytest.raises((dbapi.Error, OSError), match="(?i)cancell?ed"):
            work()
    finally:
        timer.join()
    assert time.monotonic() - begun < after + 3


def ended(connection, part):
    """The state of the one statement that holds `part`, once it is an end."""
    return soon(lambda: [s for s in states(connection, part) if s not in ("queued", "planning", "running")])


def test_a_query_is_cancelled_while_it_computes(connection, name):
    with connection.cursor() as cursor:
        cancelled_soon(cursor, lambda: cursor.execute(f"{LONG} -- {name}").fetchall())
    assert ended(connection, name) == ["cancelled"]


def test_a_query_is_cancelled_while_rows_flow(connection, name):
    with connection.cursor() as cursor:
        reader = cursor.execute(f"select a.n, b.n as m from numbers a, numbers b -- {name}").fetch_record_batch()
        cancelled_soon(cursor, lambda: [batch.num_rows for batch in reader])
    assert ended(connection, name) == ["cancelled"]


def test_a_connection_that_goes_away_cancels_its_query(shared, connection, name):
    with shared.connect() as other, other.cursor() as cursor:
        cursor.execute(f"select a.n, b.n as m from numbers a, numbers b -- {name}")
        assert cursor.fetchone() is not None
    assert ended(connection, name) == ["cancelled"]


@pytest.mark.parametrize("many", [False, True], ids=["execute", "executemany"])
def test_a_change_is_cancelled(server, many):
    """Its client is gone, so nothing goes on in its name, and no table appears later."""
    sql = f"create table slow as {LONG}"
    with server.connect() as connection:
        with connection.cursor() as cursor:
            work = (lambda: cursor.executemany(sql, None)) if many else (lambda: cursor.execute(sql))
            cancelled_soon(cursor, work)
        assert ended(connection, "slow") == ["cancelled"]
        with fails("NOT_FOUND"):
            rows(connection, "select * from slow")


TIMEOUT = "adbc.flight.sql.rpc.timeout_seconds."
TIMEOUTS = {
    "fetch": lambda cursor, name: cursor.execute(f"{LONG} -- {name}").fetchall(),
    "update": lambda cursor, name: cursor.execute(f"create table {name} as {LONG}"),
}


@pytest.mark.parametrize("kind", TIMEOUTS)
def test_a_timeout_of_the_clients(connection, name, kind):
    with connection.cursor(adbc_stmt_kwargs={TIMEOUT + kind: "0.7"}) as cursor:
        begun = time.monotonic()
        with fails("TIMEOUT", error=dbapi.OperationalError):
            TIMEOUTS[kind](cursor, name)
        assert time.monotonic() - begun < 4
    # The client's end and the server's are a race: either may notice first.
    assert ended(connection, name) in (["cancelled"], ["failed"])


def test_a_timeout_that_is_not_reached(connection):
    options = {TIMEOUT + kind: "20" for kind in ("fetch", "query", "update")}
    with connection.cursor(adbc_stmt_kwargs=options) as cursor:
        assert cursor.execute("select 1").fetchall() == [(1,)]


def test_a_timeout_of_the_servers(start):
    server = start("--query-timeout", "1s")
    with server.connect() as connection:
        begun = time.monotonic()
        with fails("TIMEOUT", error=dbapi.OperationalError):
            rows(connection, LONG)
        with fails("TIMEOUT", error=dbapi.OperationalError):
            run(connection, f"create table slow as {LONG}")
        assert time.monotonic() - begun < 8
        assert rows(connection, "select count(*) from people") == [(4,)]
        with fails("NOT_FOUND"):
            rows(connection, "select * from slow")


def test_a_cursor_is_used_again_after_its_cancel(connection):
    with connection.cursor() as cursor:
        cancelled_soon(cursor, lambda: cursor.execute(LONG).fetchall(), after=0.2)
        assert cursor.execute("select 1").fetchall() == [(1,)]


def test_queries_wait_their_turn_and_too_many_are_refused(start):
    server = start("--max-queries", "1", "--max-queued", "0")
    with server.connect() as connection, connection.cursor() as cursor:
        reader = cursor.execute(LONG).fetch_record_batch()
        with server.connect() as other:

            def refused():
                try:
                    rows(other, "select 1")
                except dbapi.Error as error:
                    return error

            error = soon(refused)
            assert error and "queries" in str(error), error
        cancelled_soon(cursor, lambda: reader.read_all(), after=0.1)
