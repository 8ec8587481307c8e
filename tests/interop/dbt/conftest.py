"""Starts the real server (`$AIRSTRIP_BIN`) for the tests.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import threading

import adbc_driver_flightsql.dbapi as dbapi
import pytest

START_SECONDS = 20
STOP_SECONDS = 15


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


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    server = Server(root)
    yield server
    server.stop()
