"""Uploads that end before their time: nothing of them is published."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import connect, count, put, soon

SCHEMA = pa.schema([("k", pa.int64())])
# Seconds in which a half upload that came through would be published.
PATIENCE = 0.5


@contextlib.contextmanager
def killed(uri, uploads):
    """Processes that upload three batches each to names, or more until they die; what they sent has arrived inside."""
    script = str(Path(__file__).parent / "upload.py")
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([sys.executable, script, uri, name, *how], stdout=subprocess.PIPE, text=True)
            )
            for name, how in uploads.items()
        ]
        try:
            for child in children:
                assert child.stdout.readline() == "half\n"
            time.sleep(0.3)
            yield
        finally:
            for child in children:
                child.kill()


def ended(server, name):
    """Whether the server's log tells, soon, how the upload to `name` ended."""
    return soon(lambda: any('method="DoPut"' in line and f'about="{name}"' in line for line in server.log))


def test_a_client_that_dies_publishes_nothing(proxy, server, direct, name):
    put(direct, f"{name}replaced", pa.table({"k": [1, 2]}))
    server.log.clear()
    uploads = {
        f"{name}replaced": ("1000",),
        f"{name}small": ("1000",),
        f"{name}large": ("500000",),
        # Killed while they write.
        f"{name}small_on": ("1000", "on"),
        f"{name}large_on": ("500000", "on"),
    }
    with killed(proxy.uri, uploads):
        pass
    for upload in uploads:
        assert ended(server, upload), f"the server does not see that the client of {upload} is gone"
    time.sleep(PATIENCE)
    assert {upload: count(direct, upload) for upload in uploads} == dict.fromkeys(uploads) | {f"{name}replaced": 2}


def test_an_ingest_whose_source_fails_publishes_nothing(proxy, direct, name):
    """ADBC's driver resets the stream then, over a connection that lives on.

    HAProxy before 2.8 sends the server the stream's regular end, and the reset only after it.
    """

    def batches():
        for _ in range(3):
            yield pa.record_batch([pa.array(range(1000))], SCHEMA)
        time.sleep(0.3)
        raise ValueError("the source broke")

    with connect(proxy.uri) as client, client.cursor() as cursor:
        with pytest.raises(dbapi.Error, match="the source broke"):
            cursor.adbc_ingest(name, pa.RecordBatchReader.from_batches(SCHEMA, batches()))
    time.sleep(PATIENCE)
    assert count(direct, name) is None


def test_an_upload_that_is_refused_says_why(proxy, direct, name):
    """The server answers before the client has sent all."""
    put(direct, name, pa.table({"k": [1]}))
    large = pa.table({"k": range(2_500_000)})
    with flight.connect(proxy.uri) as client, pytest.raises(pa.ArrowException, match="exists"):
        put(client, name, large, mode="create")
    assert count(direct, name) == 1
