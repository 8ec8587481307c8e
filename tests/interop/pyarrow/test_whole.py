"""Writers that fail half-way.

pyarrow ends a stream in the regular way wherever its writer is closed: an exception inside of `with writer:`, Ctrl-C, a
writer that is dropped. Nothing on the wire tells such an end from a true one, so the client has to say what is whole.
"""

import gc
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import call, get, path, put, read_results

SCHEMA = pa.schema([("k", pa.int64())])
BATCH = pa.record_batch([range(1000)], schema=SCHEMA)
WHOLE = pa.table({"k": range(5000)})
BATCHES = 6
# Seconds in which a half upload that came through would be published.
PATIENCE = 0.5

# What pyarrow makes of the server's refusal.
REFUSED = (pa.ArrowException, flight.FlightError, OSError)
# What makes an upload whole that has BATCHES batches.
TERMS = {"explicit": {"commit": "explicit"}, "expected": {"expected_rows": str(BATCHES * BATCH.num_rows)}}


@pytest.fixture(params=TERMS)
def terms(request):
    return TERMS[request.param]


def batches(fails_after=BATCHES):
    for number in range(BATCHES):
        if number == fails_after:
            raise ValueError("the source broke")
        yield BATCH


def open_put(client, name, terms):
    return client.do_put(path(name), SCHEMA, call(**terms))


def finish(writer, reader, terms):
    """Commits if that is asked for, and gives the receipt."""
    if "commit" in terms:
        writer.write_metadata(b"commit")
    writer.done_writing()
    return json.loads(read_results(reader)[-1])


def is_untouched(client, name):
    time.sleep(PATIENCE)
    return get(client, name).equals(WHOLE)


def test_a_whole_upload_is_stored(shared_client, name, terms):
    put(shared_client, name, WHOLE)
    writer, reader = open_put(shared_client, name, terms)
    with writer:
        for batch in batches():
            writer.write_batch(batch)
        assert finish(writer, reader, terms)["rows"] == "6000"
    assert get(shared_client, name).num_rows == 6000


def test_an_exception_inside_of_with(shared_client, name, terms):
    put(shared_client, name, WHOLE)
    writer, reader = open_put(shared_client, name, terms)
    # Closing the writer meets the server's error; the source's stands in its context.
    with pytest.raises(REFUSED, match="nothing was stored") as raised, writer:
        for batch in batches(fails_after=3):
            writer.write_batch(batch)
        finish(writer, reader, terms)
    assert "the source broke" in str(raised.value.__context__)
    assert is_untouched(shared_client, name)


def test_a_writer_that_is_dropped(shared_client, name, terms):
    put(shared_client, name, WHOLE)
    writer, reader = open_put(shared_client, name, terms)
    writer.write_batch(BATCH)
    del writer, reader
    gc.collect()
    assert is_untouched(shared_client, name)


def test_an_exception_in_a_thread(shared_client, name, terms):
    """Another one writes meanwhile, over the same connection."""
    put(shared_client, name, WHOLE)

    def write(name, fails_after, outcomes):
        writer, reader = open_put(shared_client, name, terms)
        try:
            with writer:
                for batch in batches(fails_after):
                    writer.write_batch(batch)
                    time.sleep(0.05)
                outcomes[name] = finish(writer, reader, terms)["rows"]
        except (ValueError, *REFUSED) as error:
            outcomes[name] = error

    outcomes = {}
    threads = [
        threading.Thread(target=write, args=arguments)
        for arguments in ((name, 3, outcomes), (f"{name}other", BATCHES, outcomes))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(outcomes[name], Exception)
    assert outcomes[f"{name}other"] == "6000"
    assert is_untouched(shared_client, name)


# Writes slowly, until it is interrupted.
CHILD = """
import sys, time
import test_whole as t
from pyarrow import flight
writer, reader = t.open_put(flight.connect(sys.argv[1]), sys.argv[2], t.TERMS[sys.argv[3]])
with writer:
    for _ in range(1000):
        writer.write_batch(t.BATCH)
        print("wrote", flush=True)
        time.sleep(0.1)
"""


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_a_process_that_is_ended(shared, shared_client, name, terms, end):
    put(shared_client, name, WHOLE)
    command = [sys.executable, "-c", CHILD, shared.uri, name, terms]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parent, **pipes) as child:
        for _ in range(3):
            assert child.stdout.readline() == "wrote\n"
        child.send_signal(end)
        child.wait(20)
    assert is_untouched(shared_client, name)


def test_metadata_before_the_first_batch_stands_for_the_header(shared_client, name):
    put(shared_client, name, WHOLE)
    for commits in (False, True):
        writer, reader = open_put(shared_client, name, {})
        try:
            with writer:
                writer.write_metadata(b'{"x-airstrip-commit": "explicit"}')
                for batch in batches():
                    writer.write_batch(batch)
                if commits:
                    writer.write_metadata(json.dumps({"commit": True, "rows": 6000}).encode())
                writer.done_writing()
                # What is meant for the server is not sent back.
                [receipt] = read_results(reader)
                assert json.loads(receipt)["rows"] == "6000"
        except REFUSED as error:
            assert "app_metadata is `commit`" in str(error)
            assert not commits
        assert get(shared_client, name).num_rows == (6000 if commits else 5000)


def test_a_server_that_requires_it_says_how(start, name):
    client = start("--require-commit").client()
    with pytest.raises(pa.ArrowInvalid, match="x-airstrip-expected-rows.*x-airstrip-commit"):
        put(client, name, WHOLE)
    put(client, name, WHOLE, expected_rows="5000")
    assert get(client, name).equals(WHOLE)


def test_what_shrinks_too_much_is_refused_until_it_is_meant(start, name):
    client = start("--max-shrink", "0.5").client()
    put(client, name, WHOLE)
    with pytest.raises(pa.ArrowInvalid, match="x-airstrip-allow: shrink"):
        put(client, name, pa.table({"k": [1]}))
    assert get(client, name).equals(WHOLE)
    put(client, name, pa.table({"k": [1]}), allow="shrink")
    assert get(client, name).num_rows == 1
