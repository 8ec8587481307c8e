"""Starts the real server (`$AIRSTRIP_BIN`) for the tests, and connects ADBC's Flight SQL driver to it.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import itertools
import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pytest
from pyarrow import flight

import samples

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402

numbers = itertools.count()


class Server(serving.Server):
    def connect(self, options=None, **keywords):
        """A new connection of the ADBC driver."""
        return dbapi.connect(self.uri, options or {}, autocommit=True, **keywords)


def _serve(request, root, *args):
    root.mkdir()
    samples.write(root)
    server = Server(root, *args)
    request.addfinalizer(server.stop)
    return server


@pytest.fixture
def server(request, tmp_path):
    """A server for tests that look at all there is, or that could disturb others."""
    return _serve(request, tmp_path / "datasets")


@pytest.fixture
def start(request, tmp_path):
    """Starts servers with settings of their own: `start("--query-timeout", "1s")`."""
    return lambda *args: _serve(request, tmp_path / f"datasets{next(numbers)}", *args)


@pytest.fixture(scope="session")
def shared(request, tmp_path_factory):
    """One server for tests that only need a `name` of their own."""
    return _serve(request, tmp_path_factory.mktemp("shared") / "datasets")


@pytest.fixture
def connection(shared):
    """A connection of its own, and so a session of its own, to the shared server."""
    with shared.connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection):
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def client(shared):
    """A plain Flight client, for what must be seen below the drivers."""
    with flight.connect(shared.uri) as client:
        yield client


@pytest.fixture
def name():
    """The name of a table that no other test uses."""
    return f"table{next(numbers)}"
