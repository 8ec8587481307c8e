"""Starts the real server (`$AIRSTRIP_BIN`) for the tests; its root is where other programs' Delta tables are dropped.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import ctypes
import itertools
import os
import queue
import re
import signal
import subprocess
import sys
import threading

import adbc_driver_flightsql.dbapi as dbapi
import pytest
from pyarrow import flight

START_SECONDS = 20
STOP_SECONDS = 15

numbers = itertools.count()


class Server:
    """A running `airstrip serve ROOT`, at `uri`.

    Its stderr is ours, so that pytest shows the server's log next to a failure.
    """

    def __init__(self, root, *args):
        self.root = root
        self._clients = []
        self._is_stopped = False
        self._process = subprocess.Popen(
            [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0", *args],
            stdout=subprocess.PIPE,
            text=True,
            # Settings of the caller's environment are not what the tests expect.
            env={k: v for k, v in os.environ.items() if not k.startswith("AIRSTRIP_")},
            preexec_fn=_die_with_parent,
        )
        uris = queue.Queue()
        threading.Thread(target=self._watch, args=(uris,), daemon=True).start()
        try:
            self.uri = uris.get(timeout=START_SECONDS)
        except queue.Empty:
            self.uri = None
        if self.uri is None:
            self._process.kill()
            pytest.fail(f"no line with the server's address (in {START_SECONDS} s); exit code {self._process.wait()}")

    def _watch(self, uris):
        """Reads stdout to its end (a full pipe would block the server); hands over the startup line's URI."""
        for line in self._process.stdout:
            sys.stderr.write(line)
            if found := re.search(r"grpc://(\S+)", line):
                uris.put(found[0])
        uris.put(None)

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
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"the server still ran {STOP_SECONDS} s after SIGTERM")
        finally:
            for client in self._clients:
                client.close()
        assert code == 0, f"exit code {code} after SIGTERM"


def _die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a pytest that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


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
