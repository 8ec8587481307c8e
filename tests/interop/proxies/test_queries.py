"""Queries end where their clients end them."""

import subprocess
import sys
import threading
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pytest
from pyarrow import flight

from helpers import LONG, call, connect, get, soon, states

# Many rows that come at once, and then no end.
ROWS = "select a.value from range(1000000000) a -- {}"


@pytest.fixture(autouse=True)
def nothing_is_left(direct, name):
    """What a test leaves running would slow down the others."""
    yield
    running = f"select id from system.queries where ended is null and strpos(sql, '-- {name}') > 0"
    for row in get(direct, running).to_pylist():
        list(direct.do_action(flight.Action("cancel_query", row["id"].encode()), call()))


def runs(direct, name):
    return soon(lambda: states(direct, name) == ["running"])


def is_over(direct, name):
    """Whether the query ends soon."""
    return soon(lambda: states(direct, name) in (["cancelled"], ["failed"]))


@pytest.mark.parametrize("sql", [LONG, ROWS], ids=["before its first row", "while rows flow"])
def test_a_cancel_ends_the_query(proxy, direct, name, sql):
    """ADBC's driver resets the stream."""

    def cancel():
        runs(direct, name)
        cursor.adbc_cancel()

    with connect(proxy.uri) as client, client.cursor() as cursor:
        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises((dbapi.Error, OSError), match="(?i)cancell?ed"):
            for _ in cursor.execute(sql.format(name)).fetch_record_batch():
                pass
        canceller.join()
    assert is_over(direct, name)


def test_a_client_that_dies_ends_its_query(proxy, direct, name):
    code = "import sys, helpers; helpers.get(helpers.flight.connect(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", code, proxy.uri, LONG.format(name)]
    with subprocess.Popen(command, cwd=Path(__file__).parent) as child:
        assert runs(direct, name)
        child.kill()
    assert is_over(direct, name)


def test_a_deadline_ends_the_query(proxy, direct, name):
    with flight.connect(proxy.uri) as client, pytest.raises(flight.FlightTimedOutError):
        get(client, LONG.format(name), timeout=1.5)
    assert is_over(direct, name)
