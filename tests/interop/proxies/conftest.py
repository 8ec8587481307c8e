"""Starts the real server (`$AIRSTRIP_BIN`), and proxies in front of it with the configurations of docs/proxies.md.

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

import pytest
from pyarrow import flight

import proxies

START_SECONDS = 20
STOP_SECONDS = 15

numbers = itertools.count()


def die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a pytest that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """A running `airstrip serve ROOT`, at `uri`.

    Its log is kept, and goes to our stderr too, so that pytest shows it next to a failure.
    """

    def __init__(self, root):
        self.log = []
        self._process = subprocess.Popen(
            [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Settings of the caller's environment are not what the tests expect.
            env={k: v for k, v in os.environ.items() if not k.startswith("AIRSTRIP_")},
            preexec_fn=die_with_parent,
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
        """Reads the output to its end (a full pipe would block the server); hands over the startup line's URI."""
        for line in self._process.stdout:
            sys.stderr.write(line)
            self.log.append(line)
            if found := re.search(r" at (grpc://\S+)", line):
                uris.put(found[1])
        uris.put(None)

    @property
    def port(self):
        return int(self.uri.rpartition(":")[2])

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"the server still ran {STOP_SECONDS} s after SIGTERM")
        assert code == 0, f"exit code {code} after SIGTERM"


def pytest_report_header():
    return [f"{name}: {proxies.version(name) or 'missing'}" for name in proxies.NAMES]


def pytest_terminal_summary():
    for name in proxies.NAMES:
        if proxies.binary(name) is None and os.environ.get("CI") != "true":
            sys.stderr.write(f"\nSKIPPED: the suite proxies needs {name}\n")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("datasets"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def started(server, tmp_path_factory):
    """Starts a proxy, once for each configuration: `started("nginx", ("1d", "1s"))` with a change to the document's."""
    running = {}

    def started(name, *changes):
        if proxies.binary(name) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"the suite proxies needs {name}")
        if (name, changes) not in running:
            folder = tmp_path_factory.mktemp(name)
            running[name, changes] = proxies.Proxy(name, server.port, folder, changes, die_with_parent)
        return running[name, changes]

    yield started
    for proxy in running.values():
        proxy.stop()


@pytest.fixture(params=proxies.NAMES)
def proxy(request, started):
    """Each proxy, as the document recommends it."""
    return started(request.param)


@pytest.fixture(scope="session")
def direct(server):
    """A client without a proxy, which sees what the server does."""
    with flight.connect(server.uri) as client:
        yield client


@pytest.fixture
def name():
    """The name of a dataset that no other test uses."""
    return f"dataset{next(numbers)}"
