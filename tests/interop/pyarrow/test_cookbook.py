"""Both Flight recipes of the Arrow cookbook, as its reader types them.

The calls are the cookbook's own, without deadlines and without reading what it does not read: that
is what must work, not what our helpers make of it.
"""

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest
from pyarrow import flight

CHARACTERS = pa.table([["Mario", "Luigi", "Peach"]], names=["Character"])
UPLOADED = flight.FlightDescriptor.for_path("uploaded.parquet")


@pytest.fixture
def uploaded(client):
    """A client that has uploaded the first recipe's table and never looked at the metadata reader."""
    writer, _ = client.do_put(UPLOADED, CHARACTERS.schema)
    writer.write_table(CHARACTERS)
    writer.close()
    return client


def test_an_upload_has_a_flight_info(uploaded):
    info = uploaded.get_flight_info(UPLOADED)
    assert info.descriptor == UPLOADED
    assert info.descriptor.path[0].decode("utf-8") == "uploaded.parquet"
    assert info.total_records == 3
    assert info.total_bytes > 0
    assert info.schema.equals(CHARACTERS.schema, check_metadata=True)
    assert str(info.schema) == "Character: string"


def test_an_upload_is_read_by_the_ticket_of_its_info(uploaded):
    ticket = uploaded.get_flight_info(UPLOADED).endpoints[0].ticket
    table = uploaded.do_get(ticket).read_all()
    assert table.equals(CHARACTERS, check_metadata=True)
    assert table.to_pandas().head()["Character"].tolist() == ["Mario", "Luigi", "Peach"]


def test_an_upload_is_a_parquet_file_in_the_root(server, uploaded):
    assert pa.parquet.read_table(server.root / "uploaded.parquet").equals(CHARACTERS)


def test_an_upload_is_listed(uploaded):
    [listed] = uploaded.list_flights()
    assert listed.descriptor.path == [b"uploaded.parquet"]
    assert listed.total_records == 3
    assert listed.total_bytes > 0
    assert listed.schema == CHARACTERS.schema
    # What is listed can be asked for and fetched.
    assert uploaded.get_flight_info(listed.descriptor).total_records == 3
    assert uploaded.do_get(listed.endpoints[0].ticket).read_all().equals(CHARACTERS)


def test_a_drop_whose_result_nobody_reads_is_done(server, uploaded):
    """pyarrow resets the call as soon as it has the response's headers: the drop must come before them."""
    uploaded.do_action(flight.Action("drop_dataset", "uploaded.parquet".encode("utf-8")))
    assert list(uploaded.list_flights()) == []
    assert not (server.root / "uploaded.parquet").exists()


def test_a_drop_whose_result_is_read_is_done(server, uploaded):
    list(uploaded.do_action(flight.Action("drop_dataset", b"uploaded.parquet")))
    assert list(uploaded.list_flights()) == []
    assert not (server.root / "uploaded.parquet").exists()
    with pytest.raises(KeyError):
        list(uploaded.do_action(flight.Action("drop_dataset", b"uploaded.parquet")))


def test_a_second_upload_replaces_the_first(uploaded):
    other = pa.table({"n": [1, 2]})
    writer, _ = uploaded.do_put(UPLOADED, other.schema)
    writer.write_table(other)
    writer.close()
    [listed] = uploaded.list_flights()
    assert uploaded.do_get(listed.endpoints[0].ticket).read_all().equals(other)


def test_the_streaming_recipe(client):
    num_batches, rows_per_batch = 1024, 4096
    streamed = flight.FlightDescriptor.for_path("streamed.parquet")
    batch = pa.record_batch([pa.array(range(rows_per_batch))], names=["ints"])
    writer, _ = client.do_put(streamed, batch.schema)
    with writer:
        for _ in range(num_batches):
            writer.write_batch(batch)

    info = client.get_flight_info(streamed)
    assert info.total_records == num_batches * rows_per_batch
    rows, total = 0, 0
    for chunk in client.do_get(info.endpoints[0].ticket):
        rows += chunk.data.num_rows
        total += pa.compute.sum(chunk.data["ints"]).as_py()
    assert rows == num_batches * rows_per_batch
    assert total == num_batches * sum(range(rows_per_batch))
