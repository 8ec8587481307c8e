"""Flight SQL's messages by hand: what drivers hide can be sent and seen here.

Only the parts of protobuf that these messages use: varints and length-delimited fields.
"""

import pyarrow as pa
from pyarrow import flight

TYPE = "type.googleapis.com/arrow.flight.protocol.sql."
# Seconds for any call: a hang is a failure, not a wait.
OPTIONS = flight.FlightCallOptions(timeout=30)


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(out)


def message(*fields):
    """A message of (number, value) pairs."""
    out = b""
    for number, value in fields:
        if isinstance(value, (str, bytes)):
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
        else:
            out += varint(number << 3) + varint(int(value))
    return out


def parse(data):
    """A message's fields, as lists by number."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 2:
            length = number()
            value = data[at : at + length]
            at += length
        else:
            assert key & 7 == 0, f"wire type {key & 7}"
            value = number()
        fields.setdefault(key >> 3, []).append(value)
    return fields


def wrapped(name, *fields):
    """A message of Flight SQL in an Any."""
    return message((1, TYPE + name), (2, message(*fields)))


def descriptor(name, *fields):
    return flight.FlightDescriptor.for_command(wrapped(name, *fields))


def info(client, name, *fields):
    return client.get_flight_info(descriptor(name, *fields), OPTIONS)


def schema(client, name, *fields):
    return client.get_schema(descriptor(name, *fields), OPTIONS).schema


def read(client, info):
    """All that a FlightInfo with one endpoint leads to."""
    [endpoint] = info.endpoints
    return client.do_get(endpoint.ticket, OPTIONS).read_all()


def get(client, name, *fields):
    return read(client, info(client, name, *fields))


def action(client, kind, body):
    """The body of an action's one result, or None."""
    results = [result.body.to_pybytes() for result in client.do_action(flight.Action(kind, body), OPTIONS)]
    assert len(results) <= 1
    return results[0] if results else None


class Prepared:
    """The answer to CreatePreparedStatement."""

    def __init__(self, client, sql):
        answer = parse(
            action(client, "CreatePreparedStatement", wrapped("ActionCreatePreparedStatementRequest", (1, sql)))
        )
        assert answer[1] == [(TYPE + "ActionCreatePreparedStatementResult").encode()]
        fields = parse(answer[2][0])
        [self.handle] = fields[1]
        self.dataset_schema = ipc_schema(fields.get(2, [b""])[0])
        self.parameter_schema = ipc_schema(fields.get(3, [b""])[0])
        self.is_update = bool(fields.get(4, [0])[0])


def ipc_schema(data):
    return pa.ipc.read_schema(pa.py_buffer(data)) if data else None


def put(client, descriptor, schema, batches=()):
    """Uploads batches; gives the app_metadata of the answers."""
    writer, reader = client.do_put(descriptor, schema, OPTIONS)
    answers = []
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        while (metadata := reader.read()) is not None:
            answers.append(metadata.to_pybytes())
    return answers
