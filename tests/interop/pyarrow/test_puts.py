"""What an upload may consist of, its options (headers), and its answers (PutResults)."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.ipc
import pytest
from pyarrow import flight

from helpers import EXISTS, INVALID, PRECONDITION, action, call, get, info, names, path, put, put_batches, read_results

ONE = pa.table({"n": [1]})
TWO = pa.table({"n": [1, 2]})
SCHEMA = pa.schema([pa.field("n", pa.int64(), metadata={"k": "v"}), ("s", pa.string())], metadata={"a": "b"})


def test_no_batch_at_all_is_an_empty_dataset(client):
    """pyarrow's close() sends the schema even when nothing was written."""
    writer, _ = client.do_put(path("empty"), SCHEMA)
    writer.close()
    assert get(client, "empty").equals(SCHEMA.empty_table(), check_metadata=True)
    assert info(client, "empty").total_records == 0
    assert info(client, "empty").schema.equals(SCHEMA, check_metadata=True)
    assert get(client, "select count(*) as n from empty").to_pylist() == [{"n": 0}]


def test_batches_of_no_rows_are_an_empty_dataset(client):
    receipt = put_batches(client, "empty", SCHEMA, [_empty_batch()] * 3)
    assert int(receipt.get("rows", 0)) == 0
    assert get(client, "empty").equals(SCHEMA.empty_table(), check_metadata=True)


def test_batches_of_no_rows_between_others_change_nothing(client):
    full = pa.record_batch([[1], ["a"]], schema=SCHEMA)
    put_batches(client, "mixed", SCHEMA, [_empty_batch(), full, _empty_batch(), full, _empty_batch()])
    assert get(client, "mixed").equals(pa.Table.from_batches([full, full]), check_metadata=True)


def _empty_batch():
    return pa.record_batch([[], []], schema=SCHEMA)


def test_messages_far_above_grpcs_usual_limit(client):
    """One batch of 32 MB: pyarrow sends it as one message, where gRPC servers take 4 MB by default."""
    table = pa.table({"n": pa.array(range(4_000_000))})
    [batch] = table.to_batches()
    put_batches(client, "large", table.schema, [batch])
    sizes = [chunk.data.nbytes for chunk in client.do_get(flight.Ticket("large"), call())]
    assert sum(sizes) == table.nbytes
    # Clients with that default limit (Rust's, Grafana's) must be able to read what we send.
    assert max(sizes) < 4 * 1024 * 1024
    assert get(client, "large").equals(table)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_batches_are_taken_or_refused_with_a_reason(client, codec):
    table = pa.table({"s": ["abc" * 100] * 1000})
    options = flight.FlightCallOptions(timeout=60, write_options=pa.ipc.IpcWriteOptions(compression=codec))
    writer, _ = client.do_put(path("packed"), table.schema, options)
    try:
        with writer:
            writer.write_table(table)
    except (pa.ArrowInvalid, NotImplementedError) as error:
        assert "compress" in str(error)
        assert names(client) == []
    else:
        assert get(client, "packed").equals(table)


def test_the_receipt_says_what_became_durable(server, client):
    writer, reader = client.do_put(path("uploaded.parquet"), TWO.schema, call())
    with writer:
        writer.write_table(TWO)
        writer.done_writing()
        [answer] = read_results(reader)
    receipt = json.loads(answer)
    assert set(receipt) == {"name", "schema", "rows", "bytes", "version"}
    assert receipt["name"].removesuffix(".parquet") == "uploaded"
    assert receipt["schema"] == "public"
    assert receipt["rows"] == "2"  # protobuf's JSON has 64-bit integers as strings
    assert receipt["bytes"] == str((server.root / "uploaded.parquet").stat().st_size)
    assert receipt["version"] == action(client, "describe_dataset", "uploaded")["version"]
    assert int(receipt["bytes"]) == info(client, "uploaded").total_bytes


def test_metadata_of_batches_is_echoed_in_order_before_the_receipt(client):
    """What Arrow's own integration client checks; a batch without metadata has no answer."""
    [batch] = TWO.to_batches()
    sent = [b"first", b"\x00\xff binary", b"third"]
    writer, reader = client.do_put(path("acknowledged"), TWO.schema, call())
    with writer:
        writer.write_with_metadata(batch, sent[0])
        assert reader.read().to_pybytes() == sent[0], "an answer must not wait for the end of the upload"
        writer.write_batch(batch)
        writer.write_with_metadata(batch, sent[1])
        writer.write_with_metadata(batch, sent[2])
        writer.done_writing()
        *echoes, receipt = read_results(reader)
    assert echoes == sent[1:]
    assert json.loads(receipt)["rows"] == "8"
    assert get(client, "acknowledged").num_rows == 8


def test_many_acknowledgements_that_nobody_reads_do_not_block_an_upload(client):
    [batch] = ONE.to_batches()
    writer, _ = client.do_put(path("unread"), ONE.schema)
    for number in range(1000):
        writer.write_with_metadata(batch, str(number).encode())
    writer.close()
    assert info(client, "unread").total_records == 1000


def test_mode_create_takes_a_free_name_once(client):
    put(client, "once", ONE, mode="create")
    with pytest.raises(pa.ArrowException, match=EXISTS) as error:
        put(client, "once", TWO, mode="create")
    assert "once" in str(error.value)
    assert get(client, "once").equals(ONE)
    # The other spelling is the same dataset.
    with pytest.raises(pa.ArrowException, match=EXISTS):
        put(client, "once.parquet", TWO, mode="create")


def test_mode_replace_is_the_default(client):
    put(client, "data", ONE, mode="replace")
    put(client, "data", TWO)
    put(client, "data", ONE, mode="replace")
    assert get(client, "data").equals(ONE)


def test_of_two_creates_at_once_one_wins(server):
    """The check and the publishing are one step."""

    def create(number):
        try:
            put(server.client(), "raced", pa.table({"n": [number]}), mode="create")
            return [number]
        except pa.ArrowException as error:
            assert EXISTS in str(error)
            return []

    with ThreadPoolExecutor(8) as pool:
        [winner] = sum(pool.map(create, range(8)), [])
    assert get(server.client(), "raced").to_pylist() == [{"n": winner}]


def test_if_version_replaces_only_what_was_seen(client):
    first = put(client, "data", ONE)["version"]
    second = put(client, "data", TWO, if_version=first)["version"]
    assert second != first
    with pytest.raises(pa.ArrowInvalid, match=PRECONDITION):
        put(client, "data", ONE, if_version=first)
    assert get(client, "data").equals(TWO)
    put(client, "data", ONE, if_version=second)
    assert get(client, "data").equals(ONE)


def test_if_version_of_a_dataset_that_is_gone(client):
    version = put(client, "data", ONE)["version"]
    action(client, "drop_dataset", "data")
    with pytest.raises(pa.ArrowInvalid, match=PRECONDITION):
        put(client, "data", TWO, if_version=version)
    assert names(client) == []


def test_expected_rows_that_arrive(client):
    assert put(client, "data", TWO, expected_rows="2")["rows"] == "2"
    put(client, "none", TWO.slice(0, 0), expected_rows="0")
    assert names(client) == ["data", "none"]


@pytest.mark.parametrize("expected", ["1", "3"])
def test_an_upload_of_other_than_the_expected_rows_is_not_published(server, client, expected):
    put(client, "data", ONE)
    with pytest.raises(pa.ArrowInvalid) as error:
        put(client, "data", TWO, expected_rows=expected)
    assert "2" in str(error.value) and expected in str(error.value)
    assert get(client, "data").equals(ONE)
    assert [file.name for file in server.root.rglob("*.parquet")] == ["data.parquet"]


@pytest.mark.parametrize(
    "header, culprit",
    [({"mode": "sideways"}, "sideways"), ({"expected_rows": "many"}, "many"), ({"expected_rows": "-1"}, "-1")],
    ids=str,
)
def test_a_header_with_a_bad_value_is_refused(client, header, culprit):
    with pytest.raises(pa.ArrowInvalid, match=INVALID) as error:
        put(client, "data", ONE, **header)
    assert culprit in str(error.value)
    assert names(client) == []


def test_an_upload_whose_deadline_passes_is_not_published(server, client):
    """The client resets the stream between two batches: to the server that must not look like its end."""
    put(client, "data", ONE)
    writer, _ = client.do_put(path("data"), TWO.schema, call(timeout=1))
    writer.write_table(TWO)
    time.sleep(1.5)
    with pytest.raises(flight.FlightTimedOutError):
        writer.close()
    time.sleep(0.5)
    assert get(client, "data").equals(ONE)
    assert [file.name for file in server.root.rglob("*.parquet")] == ["data.parquet"]


def test_a_put_to_a_command_or_an_unknown_path_is_refused(client):
    """SQL is no target; neither is a path of three parts."""
    for descriptor in (flight.FlightDescriptor.for_command("select 1"), path("a", "b", "c")):
        writer, _ = client.do_put(descriptor, ONE.schema, call())
        with pytest.raises((pa.ArrowInvalid, NotImplementedError)):
            with writer:
                writer.write_table(ONE)
    assert names(client) == []
