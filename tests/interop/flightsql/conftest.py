"""Starts the real server (`$AIRSTRIP_BIN`) for the tests, and connects ADBC's Flight SQL driver to it.

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

import samples

START_SECONDS = 20
STOP_SECONDS = 15

numbers = itertools.count()


class Server:
    """A running `airstrip serve ROOT`, at `uri`.

    Its stderr is ours, so that pytest shows the server's log next to a failure.
    """

    def __init__(self, root, *args):
        self.root = root
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

    @property
    def address(self):
        """`host:port`."""
        return self.uri.removeprefix("grpc://")

    def _watch(self, uris):
        """Reads stdout to its end (a full pipe would block the server); hands over the startup line's URI."""
        for line in self._process.stdout:
            sys.stderr.write(line)
            if found := re.search(r"grpc://(\S+)", line):
                uris.put(found[0])
        uris.put(None)

    def connect(self, options=None, **keywords):
        """A new connection of the ADBC driver."""
        return dbapi.connect(self.uri, options or {}, autocommit=True, **keywords)

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"the server still ran {STOP_SECONDS} s after SIGTERM")
        assert code == 0, f"exit code {code} after SIGTERM"


def _die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a pytest that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


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
