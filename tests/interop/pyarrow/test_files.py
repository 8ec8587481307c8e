"""The directory is the catalog: what other programs put there is served at the next request."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import action, call, get, info, names, path, put

TABLE = pa.table(
    {"n": [1, 2, 3]}, schema=pa.schema([pa.field("n", pa.int64(), metadata={"unit": "m"})], metadata={"a": "b"})
)


def test_a_file_that_was_there_before_the_start(root, start):
    pq.write_table(TABLE, root / "old.parquet")
    assert get(start().client(), "old").equals(TABLE)


def test_a_file_is_visible_at_the_next_request(server, client):
    assert names(client) == []
    pq.write_table(TABLE, server.root / "dropped_in.parquet")
    assert get(client, "select sum(n) as n from dropped_in").to_pylist() == [{"n": 6}]
    assert names(client) == ["dropped_in"]
    assert get(client, "dropped_in").equals(TABLE, check_metadata=True)
    assert info(client, "dropped_in.parquet").total_records == 3


def test_a_file_that_was_replaced_is_never_stale(server, client):
    """Of the same size and written within the same tick of a coarse clock, too."""
    versions = set()
    for number in range(20):
        table = pa.table({"n": [number] * 10})
        pq.write_table(table, server.root / "staged")
        os.replace(server.root / "staged", server.root / "data.parquet")
        assert get(client, "data").equals(table)
        assert get(client, "select distinct n from data").to_pylist() == [{"n": number}]
        versions.add(action(client, "describe_dataset", "data")["version"])
    assert len(versions) == 20


def test_a_file_that_was_removed_is_gone(server, client):
    pq.write_table(TABLE, server.root / "data.parquet")
    assert names(client) == ["data"]
    (server.root / "data.parquet").unlink()
    assert names(client) == []
    for request in (
        lambda: info(client, "data"),
        lambda: get(client, "data"),
        lambda: get(client, "select * from data"),
    ):
        with pytest.raises(KeyError):
            request()


def test_a_hive_partitioned_directory_is_one_dataset(server, client):
    sales = pa.table({"amount": range(100), "region": [["north", "south", "east"][n % 3] for n in range(100)]})
    pq.write_to_dataset(sales, server.root / "sales", partition_cols=["region"])
    assert names(client) == ["sales"]
    assert info(client, "sales").total_records == 100
    assert info(client, "sales").schema.names == ["amount", "region"]
    assert sorted(get(client, "sales")["amount"].to_pylist()) == list(range(100))
    by_region = get(client, "select region, sum(amount) as total from sales group by region order by region")
    assert by_region.to_pydict() == {
        "region": ["east", "north", "south"],
        "total": [sum(range(2, 100, 3)), sum(range(0, 100, 3)), sum(range(1, 100, 3))],
    }
    described = action(client, "describe_dataset", "sales")
    assert described["kind"] == "DATASET_KIND_DIRECTORY"
    assert described["partitionColumns"] == ["region"]
    assert (described["rows"], described["files"]) == ("100", "3")


def test_raw_rows_of_a_partitioned_directory_have_their_partition(server, client):
    sales = pa.table({"amount": [1, 2, 3], "region": ["north", "south", "north"], "year": [2025, 2025, 2026]})
    pq.write_to_dataset(sales, server.root / "sales", partition_cols=["year", "region"])
    rows = {(row["amount"], int(row["year"]), row["region"]) for row in get(client, "sales").to_pylist()}
    assert rows == {(1, 2025, "north"), (2, 2025, "south"), (3, 2026, "north")}
    assert info(client, "sales").schema.equals(get(client, "sales").schema, check_metadata=True)
    assert get(client, "select amount from sales where year = 2026").to_pylist() == [{"amount": 3}]


def test_a_new_part_is_visible_at_the_next_request(server, client):
    directory = server.root / "parts"
    directory.mkdir()
    for part in range(3):
        pq.write_table(TABLE, directory / f"{part}.parquet")
        assert info(client, "parts").total_records == 3 * (part + 1)
        assert get(client, "parts").num_rows == 3 * (part + 1)
        assert get(client, "select count(*) as n from parts").to_pylist() == [{"n": 3 * (part + 1)}]


def test_a_db_directory_is_a_schema(server, client):
    (server.root / "finance.db").mkdir()
    pq.write_table(TABLE, server.root / "finance.db" / "orders.parquet")
    put(client, "orders", TABLE.slice(2))
    assert get(client, "select sum(n) as n from finance.orders").to_pylist() == [{"n": 6}]
    assert get(client, "select sum(n) as n from orders").to_pylist() == [{"n": 3}]
    assert info(client, "finance", "orders").total_records == 3
    ticket = info(client, "finance", "orders").endpoints[0].ticket
    assert client.do_get(ticket, call()).read_all().equals(TABLE)
    assert names(client, b"finance.*") == ["finance.orders"]
    assert action(client, "describe_dataset", {"schema": "finance", "name": "orders"})["rows"] == "3"


def test_an_upload_into_a_schema(server, client):
    (server.root / "finance.db").mkdir()
    writer, _ = client.do_put(path("finance", "orders"), TABLE.schema, call())
    with writer:
        writer.write_table(TABLE)
    assert pq.read_table(server.root / "finance.db" / "orders.parquet").equals(TABLE)
    assert get(client, "select sum(n) as n from finance.orders").to_pylist() == [{"n": 6}]


@pytest.mark.parametrize(
    "glob, expected",
    [
        (b"", ["down", "update", "upload"]),
        (b"*", ["down", "update", "upload"]),
        (b"up*", ["update", "upload"]),
        (b"upload", ["upload"]),
        (b"upload.parquet", ["upload"]),
        (b"?own", ["down"]),
        (b"*d*", ["down", "update", "upload"]),
        (b"x*", []),
    ],
)
def test_list_flights_takes_a_glob(client, glob, expected):
    for name in ("upload", "update", "down"):
        put(client, name, TABLE)
    assert names(client, glob) == expected


def test_a_glob_that_is_none_is_invalid(client):
    with pytest.raises(pa.ArrowInvalid):
        names(client, b"[")


def test_other_files_are_no_datasets(server, client):
    (server.root / "README.md").write_text("hello")
    (server.root / ".hidden.parquet").write_bytes(b"")
    (server.root / "empty_directory").mkdir()
    pq.write_table(TABLE, server.root / "data.parquet")
    assert names(client, b"*.md") == [] and names(client, b"*hidden*") == []
    assert "data" in names(client)
    with pytest.raises(KeyError):
        info(client, "README.md")


def test_links_out_of_the_root_are_not_followed(server, client):
    outside = server.root.parent / "outside"
    outside.mkdir()
    pq.write_table(TABLE, outside / "secret.parquet")
    os.symlink(outside / "secret.parquet", server.root / "file.parquet")
    os.symlink(outside, server.root / "directory")
    for name in ("file", "directory"):
        assert name not in names(client)
        for request in (get, info):
            with pytest.raises(pa.ArrowException):
                request(client, name)


def test_a_reader_keeps_its_version_when_the_dataset_is_replaced_and_dropped(client):
    """Readers are on snapshots: 64 MB do not fit into the transport's buffers."""
    table = pa.table({"n": range(8_000_000)})
    put(client, "data", table)
    reader = client.do_get(client.get_flight_info(path("data"), call()).endpoints[0].ticket, call())
    first = reader.read_chunk().data
    put(client, "data", TABLE)
    action(client, "drop_dataset", "data")
    rest = reader.read_all()
    assert pa.concat_tables([pa.Table.from_batches([first]), rest]).equals(table)


def test_a_read_only_server_serves_and_changes_nothing(root, start):
    pq.write_table(TABLE, root / "data.parquet")
    client = start("--read-only").client()
    assert get(client, "data").equals(TABLE)
    for change in (
        lambda: put(client, "data", TABLE.slice(1)),
        lambda: put(client, "new", TABLE),
        lambda: action(client, "drop_dataset", "data"),
        lambda: action(client, "rename_dataset", {"name": "data", "newName": "other"}),
        lambda: action(client, "register_dataset", {"name": "other", "path": "data.parquet"}),
    ):
        with pytest.raises(pa.ArrowException, match="(?i)read.only"):
            change()
    assert get(client, "data").equals(TABLE)
    assert [file.name for file in root.iterdir() if file.name != ".airstrip"] == ["data.parquet"]


def test_a_read_only_server_beside_a_writing_one_sees_its_uploads(start):
    writer, reader = start().client(), start("--read-only").client()
    put(writer, "data", TABLE)
    assert get(reader, "data").equals(TABLE)
    action(writer, "drop_dataset", "data")
    assert names(reader) == []
