"""The few steps that most tests share."""

import json

from pyarrow import flight

# Seconds for any call: a hang is a failure, not a wait.
DEADLINE = 60

# pyarrow has one exception for several gRPC statuses (ArrowInvalid also for FAILED_PRECONDITION and
# RESOURCE_EXHAUSTED, the bare ArrowException for ALREADY_EXISTS): these say which one it was.
INVALID = "Flight returned invalid argument error"
PRECONDITION = "gRPC returned precondition failed error"
EXISTS = "Flight returned already exists error"
DAMAGED = "gRPC returned data loss error"


def path(*parts):
    return flight.FlightDescriptor.for_path(*parts)


def call(timeout=DEADLINE, **airstrip):
    """Options of a call; `if_version="x"` is the header `x-airstrip-if-version: x`."""
    headers = [(f"x-airstrip-{key.replace('_', '-')}".encode(), value.encode()) for key, value in airstrip.items()]
    return flight.FlightCallOptions(timeout=timeout, headers=headers)


def put_batches(client, name, schema, batches, **airstrip):
    """Uploads the batches as they are (an empty one too); returns the receipt, the last PutResult."""
    writer, reader = client.do_put(path(name), schema, call(**airstrip))
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        return json.loads(read_results(reader)[-1])


def put(client, name, table, **airstrip):
    return put_batches(client, name, table.schema, table.to_batches(), **airstrip)


def read_results(reader):
    """The app_metadata of every PutResult that is still to come."""
    results = []
    while (metadata := reader.read()) is not None:
        results.append(metadata.to_pybytes())
    return results


def get(client, ticket, **airstrip):
    """All that a ticket (a dataset's name, or SQL) gives."""
    return client.do_get(flight.Ticket(ticket), call(**airstrip)).read_all()


def info(client, *parts):
    return client.get_flight_info(path(*parts), call())


def action(client, kind, body):
    """Runs an action with a bare name or a JSON body; returns its one answer, which is JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    [result] = client.do_action(flight.Action(kind, body.encode()), call())
    return json.loads(result.body.to_pybytes())


def names(client, criteria=b""):
    """What is listed, sorted; one dataset is the same with `.parquet` and without."""
    flights = client.list_flights(criteria, call())
    return sorted(".".join(part.decode() for part in f.descriptor.path).removesuffix(".parquet") for f in flights)
