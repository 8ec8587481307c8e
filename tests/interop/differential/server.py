"""Two servers on one root: one as it is started, and one that reads each file anew and plans each query anew, on one core."""

import ctypes
import os
import re
import signal
import subprocess
import time

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
from pyarrow import flight

SECONDS = 120
UNCACHED = ["--read-only", "--column-cache", "0", "--plan-cache", "0", "--frame-cache", "0"]
# The variable that takes safeguards out of a debug build.
TAKE_OUT = "AIRSTRIP_TAKE_OUT"


def _die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a run that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _on_one_core():
    """Plans have as many partitions as there are cores: with one, they have other operators."""
    _die_with_parent()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Process:
    """A running `airstrip serve ROOT`, and a client of it."""

    def __init__(self, binary, root, *args, taken_out=None, start=_die_with_parent):
        variables = {k: v for k, v in os.environ.items() if not k.startswith("AIRSTRIP_")}
        if taken_out:
            variables[TAKE_OUT] = taken_out
        self._process = subprocess.Popen(
            [binary, "serve", str(root), "--listen", "127.0.0.1:0", "--log", "warn", *args],
            stdout=subprocess.PIPE,
            # What goes wrong without a safeguard is for its query to tell.
            stderr=subprocess.DEVNULL if taken_out else None,
            text=True,
            env=variables,
            preexec_fn=start,
        )
        line = self._process.stdout.readline()
        found = re.search(r"grpc://\S+", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line!r}")
        self.uri = found[0]
        self.client = flight.connect(self.uri)

    def rows(self, sql):
        """The rows of a query, as a ticket gives them."""
        table = self.client.do_get(flight.Ticket(sql), flight.FlightCallOptions(timeout=SECONDS)).read_all()
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True))

    def stop(self):
        self.client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(SECONDS)


class Airstrip:
    """What the runs talk to."""

    def __init__(self, binary, root, *args, taken_out=None):
        self.root = root
        self._asked = 0
        self._first = Process(binary, root, *args, taken_out=taken_out)
        self._uncached = Process(binary, root, *UNCACHED, taken_out=taken_out, start=_on_one_core)
        self._changes = dbapi.connect(self._first.uri, autocommit=True)

    def put(self, name, table):
        descriptor = flight.FlightDescriptor.for_path(name)
        writer, reader = self._first.client.do_put(descriptor, table.schema)
        with writer:
            writer.write_table(table)
            writer.done_writing()
            while reader.read() is not None:
                pass

    def answers(self, sql):
        """The rows of a query: with caches that take it in, with those that have it, and without any."""
        yield "as it is", lambda: self._first.rows(sql)
        self._asked += 1
        if self._asked % 2:
            yield "without caches", lambda: self._uncached.rows(sql)
        else:
            yield "a second time", lambda: self._first.rows(sql)

    def change(self, sql):
        """The rows that a statement says it changed."""
        with self._changes.cursor() as cursor:
            cursor.execute(sql)
            return cursor.rowcount

    def stop(self):
        self._changes.close()
        self._first.stop()
        self._uncached.stop()
