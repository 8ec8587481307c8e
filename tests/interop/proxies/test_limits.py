"""What is slow works with the document's settings, and each of them is needed: without it, it fails."""

import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import DEADLINE, LONG, call, count, get, put

# Seconds that proxies may wait where the test says so, in place of the document's.
LIMIT = 1


def late(client, name):
    """A query whose first row takes longer than `LIMIT`."""
    size, seconds = 1_000_000, 0
    while seconds < 1.5 * LIMIT:
        size *= 2
        started = time.monotonic()
        get(client, f"select max(value % 7) from range({size})")
        seconds = time.monotonic() - started


def much_too_late(client, name):
    get(client, LONG.format(name))


def slow_upload(client, name):
    """One that sends nothing for longer than `LIMIT`."""
    table = pa.table({"k": range(1000)})
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(name), table.schema, call())
    with writer:
        writer.write_table(table)
        time.sleep(1.5 * LIMIT)
        writer.write_table(table)
        writer.done_writing()
        while reader.read() is not None:
            pass
    assert count(client, name) == 2000


def slow_download(client, name):
    """One that takes nothing for longer than `LIMIT`, and more than all buffers on the way hold."""
    rows = 10_000_000
    reader = client.do_get(flight.Ticket(f"select value from range({rows})"), call())
    seen = reader.read_chunk().data.num_rows
    time.sleep(1.5 * LIMIT)
    assert seen + sum(chunk.data.num_rows for chunk in reader) == rows


def large_upload(client, name):
    put(client, name, pa.table({"k": range(1_000_000)}))


def test_what_is_slow_works(proxy, name):
    works = [late, slow_upload, slow_download]
    with flight.connect(proxy.uri) as client, ThreadPoolExecutor() as pool:
        for work in [pool.submit(work, client, name) for work in works]:
            work.result(DEADLINE)


@pytest.mark.parametrize(
    ("proxy", "old", "new", "work"),
    [
        ("nginx", "client_max_body_size 0;", "", large_upload),
        ("nginx", "grpc_read_timeout 1d", f"grpc_read_timeout {LIMIT}s", much_too_late),
        ("nginx", "client_body_timeout 1d", f"client_body_timeout {LIMIT}s", slow_upload),
        ("nginx", " send_timeout 1d", f" send_timeout {LIMIT}s", slow_download),
        ("haproxy-2.8", "timeout server 1d", f"timeout server {LIMIT}s", much_too_late),
        ("haproxy-2.8", "timeout client 1d", f"timeout client {LIMIT}s", slow_upload),
        ("envoy", "timeout: 0s }", f"timeout: {LIMIT}s }}", much_too_late),
        ("envoy", "timeout: 0s }", f"timeout: {LIMIT}s }}", slow_download),
        ("envoy", "stream_idle_timeout: 0s", f"stream_idle_timeout: {LIMIT}s", slow_upload),
    ],
)
def test_without_its_setting_it_does_not(started, direct, name, proxy, old, new, work):
    with flight.connect(started(proxy, (old, new)).uri) as client:
        begun = time.monotonic()
        with pytest.raises(pa.ArrowException):
            work(client, name)
        assert time.monotonic() - begun < DEADLINE / 2
    assert count(direct, name) is None
