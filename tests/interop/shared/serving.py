"""What the suites share that run clients against the real server: a process on a port of its own.

Only the standard library is needed. The modules have a folder to themselves: with the suites' folders on the path, a library that
looks whether `sqlalchemy` or `pyarrow` is installed would find those.
"""

import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import threading

START_SECONDS = 20
STOP_SECONDS = 15


class Server:
    """A running `airstrip serve ROOT`, at `uri`; the binary is `$AIRSTRIP_BIN`.

    Its stderr is ours, so that pytest shows the server's log next to a failure.
    """

    def __init__(self, root, *args):
        self.root = root
        self._process = subprocess.Popen(
            [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0", *args],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
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
            code = self._process.wait()
            raise AssertionError(f"no line with the server's address (in {START_SECONDS} s); exit code {code}")

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

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the server still ran {STOP_SECONDS} s after SIGTERM") from None
        assert code == 0, f"exit code {code} after SIGTERM"


def environment():
    """Settings of the caller's environment are not what the tests expect."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRSTRIP_")}


def die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a run that was killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
