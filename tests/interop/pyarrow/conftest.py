"""Starts the real server (`$AIRSTRIP_BIN`) for the tests: a process, a port and a root of its own.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import itertools
import sys
from pathlib import Path

import pytest
from pyarrow import flight

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402

numbers = itertools.count()


class Server(serving.Server):
    def __init__(self, root, *args):
        super().__init__(root, *args)
        self._clients = []

    def client(self):
        """A new connection."""
        self._clients.append(flight.connect(self.uri))
        return self._clients[-1]

    def stop(self):
        """Asks for the end. The clients are still connected: idle ones must not hold up a drain."""
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
def name():
    """A dataset name that no other test uses."""
    return f"dataset{next(numbers)}"
