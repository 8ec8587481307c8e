"""Starts the real server (`$AIRSTRIP_BIN`) on a root in which other programs have written their tables.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import ctypes
import os
import re
import signal
import subprocess

import pytest
from pyarrow import flight

STOP_SECONDS = 15


class Server:
    """A running `airstrip serve ROOT`, at `uri`."""

    def __init__(self, root):
        self.root = root
        self._process = subprocess.Popen(
            [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            text=True,
            # Settings of the caller's environment are not what the tests expect.
            env={k: v for k, v in os.environ.items() if not k.startswith("AIRSTRIP_")},
            preexec_fn=_die_with_parent,
        )
        found = re.search(r"grpc://(\S+)", self._process.stdout.readline())
        assert found, f"no line with the server's address; exit code {self._process.wait()}"
        self.uri = found[0]
        self.client = flight.connect(self.uri)

    def stop(self):
        self.client.close()
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(STOP_SECONDS) == 0


def _die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a pytest that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "datasets"
    path.mkdir()
    return path


@pytest.fixture
def server(root):
    server = Server(root)
    yield server
    server.stop()


@pytest.fixture
def client(server):
    return server.client
