"""The few steps that most tests share."""

import json
import os
import time

import pytest
from pyarrow import flight

# Seconds for any call: a hang is a failure, not a wait.
DEADLINE = 60
WEEKS = 20 * 86400


def call(**airstrip):
    """Options of a call; `if_version="x"` is the header `x-airstrip-if-version: x`."""
    headers = [(f"x-airstrip-{key.replace('_', '-')}".encode(), value.encode()) for key, value in airstrip.items()]
    return flight.FlightCallOptions(timeout=DEADLINE, headers=headers)


def put(client, name, table, /, **airstrip):
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(name), table.schema, call(**airstrip))
    with writer:
        writer.write_table(table)
        writer.done_writing()
        return json.loads(reader.read().to_pybytes())


def get(client, ticket):
    """All that a ticket (a dataset's name, or SQL) gives."""
    return client.do_get(flight.Ticket(ticket), call()).read_all()


def action(client, kind, body):
    """Runs an action with a bare name or a JSON body; returns its one answer, which is JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    [result] = client.do_action(flight.Action(kind, body.encode()), call())
    return json.loads(result.body.to_pybytes())


def names(client):
    flights = client.list_flights(b"", call())
    return sorted(f.descriptor.path[-1].decode().removesuffix(".parquet") for f in flights)


def tree(folder):
    """All files below a folder, with what is in them."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def age(folder):
    """Makes all files below a folder look older than any retention."""
    old = time.time() - WEEKS
    for path in folder.rglob("*"):
        os.utime(path, (old, old))


def assert_refused(client, root, name, *parts):
    """Nothing serves, lists, changes or removes the folder `name`, and each error says what it is."""
    before = tree(root / name)
    calls = [
        lambda: get(client, name),
        lambda: get(client, f'select * from "{name}"'),
        lambda: client.get_flight_info(flight.FlightDescriptor.for_path(name), call()),
        lambda: action(client, "describe_dataset", name),
        lambda: action(client, "drop_dataset", name),
        lambda: action(client, "optimize_dataset", name),
        lambda: action(client, "vacuum_dataset", name),
        lambda: action(client, "register_dataset", {"name": "other", "path": name}),
        lambda: put(client, name, ROW),
        lambda: put(client, name, ROW, mode="append"),
    ]
    for attempt in calls:
        with pytest.raises(Exception) as raised:
            attempt()
        text = str(raised.value)
        assert all(part in text for part in parts), text
    assert name not in names(client)
    assert tree(root / name) == before


def _row():
    import pyarrow as pa

    return pa.table({"id": [9]})


ROW = _row()
