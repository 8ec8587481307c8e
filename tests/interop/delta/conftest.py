"""Starts the real server (`$AIRSTRIP_BIN`) for the tests; its root is where other programs' Delta tables are dropped.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import itertools
import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pytest
from pyarrow import flight

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402

numbers = itertools.count()


class Server(serving.Server):
    def __init__(self, root, *args):
        super().__init__(root, *args)
        self._clients = []
        self._is_stopped = False

    def client(self):
        """A new connection."""
        self._clients.append(flight.connect(self.uri))
        return self._clients[-1]

    def connect(self, **options):
        """A new connection of the ADBC driver."""
        self._clients.append(dbapi.connect(self.uri, autocommit=True, **options))
        return self._clients[-1]

    def close(self, connection):
        self._clients.remove(connection)
        connection.close()

    def stop(self):
        """Asks for the end. The clients are still connected: idle ones must not hold up a drain."""
        if self._process.poll() is not None and self._is_stopped:
            return
        self._is_stopped = True
        try:
            super().stop()
        finally:
            for client in self._clients:
                client.close()


@pytest.fixture
def root(tmp_path):
    """The root of `server`; beside it, `tmp_path` is outside of any root."""
    path = tmp_path / "datasets"
    path.mkdir()
    return path


@pytest.fixture
def start(root, request):
    """Starts servers on `root`: `start("--read-only")`."""

    def start(*args):
        server = Server(root, *args)
        request.addfinalizer(server.stop)
        return server

    return start


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def connection(server):
    return server.connect()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One server for tests that only need a `name` of their own."""
    server = Server(tmp_path_factory.mktemp("shared"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_client(shared):
    return shared.client()


@pytest.fixture
def sql(shared):
    """A connection to the shared server: a session of its own."""
    connection = shared.connect()
    yield connection
    shared.close(connection)


@pytest.fixture
def name():
    """A dataset name that no other test uses."""
    return f"dataset{next(numbers)}"


@pytest.fixture
def lake(shared, name):
    """Where the table `name` lies that another program writes into the root."""
    return shared.root / name
