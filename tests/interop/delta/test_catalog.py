"""Delta tables and plain datasets are the same kind of thing to whoever lists, describes, renames and drops them."""

import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import flight

from helpers import action, append, by_id, call, get, info, names, put, rows, run

DATA = pa.table(
    {"id": pa.array([1, 2, 3], pa.uint32()), "p": ["a", None, "c"], "t": pa.array([1, None, 3], pa.time64("ns"))}
)
KINDS = ["plain", "appended", "promoted", "partitioned"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def dataset(shared_client, name, kind):
    """The same rows as datasets of all kinds."""
    match kind:
        case "plain":
            put(shared_client, name, DATA)
        case "appended":
            append(shared_client, name, DATA)
        case "promoted":
            put(shared_client, name, DATA.slice(0, 1))
            append(shared_client, name, DATA.slice(1))
        case "partitioned":
            append(shared_client, name, DATA, partition_by="p")
    return name


def test_describe_dataset(shared_client, dataset, kind):
    described = action(shared_client, "describe_dataset", dataset)
    assert described["kind"] == ("DATASET_KIND_FILE" if kind == "plain" else "DATASET_KIND_DELTA")
    assert described["rows"] == "3"
    assert [column["name"] for column in described["columns"]] == DATA.schema.names
    assert described["columns"][0]["type"] == "UInt32"
    assert described.get("partitionColumns", []) == (["p"] if kind == "partitioned" else [])
    assert described.get("damage", "") == ""
    counts = {column["name"]: column.get("nullCount") for column in described["columns"]}
    assert counts["t"] == "1"
    if kind == "plain":
        assert "deltaVersion" not in described and described.get("commits", []) == []
    else:
        commits = described["commits"]
        assert [int(commit.get("version", 0)) for commit in commits] == list(range(len(commits)))[::-1]
        assert int(described["deltaVersion"]) == len(commits) - 1
        assert all(commit["operation"] and commit["time"] and json.loads(commit["parameters"]) for commit in commits)
        assert sum(int(commit.get("filesAdded", 0)) for commit in commits) == int(described["files"])


def test_get_flight_info(shared_client, dataset):
    found = info(shared_client, dataset)
    assert found.schema == DATA.schema
    assert found.total_records == 3
    assert found.total_bytes > 0
    parts = [shared_client.do_get(endpoint.ticket, call()).read_all() for endpoint in found.endpoints]
    assert by_id(pa.concat_tables(parts)) == by_id(DATA)
    assert shared_client.get_schema(flight.FlightDescriptor.for_path(dataset), call()).schema == found.schema


def test_list_flights(shared_client, dataset):
    [found] = [f for f in shared_client.list_flights(b"", call()) if f.descriptor.path[0].decode().startswith(dataset)]
    assert found.schema == DATA.schema
    assert found.total_records == 3


def test_get_tables(sql, dataset):
    objects = sql.adbc_get_objects(depth="all", table_name_filter=dataset).read_all().to_pylist()
    [table] = [t for catalog in objects for schema in catalog["catalog_db_schemas"] for t in schema["db_schema_tables"]]
    assert (table["table_name"], table["table_type"]) == (dataset, "TABLE")
    assert [column["column_name"] for column in table["table_columns"]] == DATA.schema.names
    assert sql.adbc_get_table_schema(dataset).names == DATA.schema.names
    listed = f"select table_type from information_schema.tables where table_name = '{dataset}'"
    assert rows(sql, listed) == [("BASE TABLE",)]


def test_one_name_with_the_suffix_and_without(shared_client, dataset):
    assert by_id(get(shared_client, f"{dataset}.parquet")) == by_id(get(shared_client, dataset))
    assert info(shared_client, f"{dataset}.parquet").total_records == 3
    assert names(shared_client).count(dataset) == 1
    append(shared_client, f"{dataset}.parquet", DATA)
    assert get(shared_client, dataset).num_rows == 6


def test_rename_and_drop(shared, shared_client, dataset):
    action(shared_client, "rename_dataset", {"name": dataset, "newName": f"{dataset}_new"})
    assert by_id(get(shared_client, f"{dataset}_new")) == by_id(DATA)
    with pytest.raises(KeyError):
        get(shared_client, dataset)
    append(shared_client, f"{dataset}_new", DATA)
    assert get(shared_client, f"{dataset}_new").num_rows == 6
    action(shared_client, "drop_dataset", f"{dataset}_new")
    with pytest.raises(KeyError):
        get(shared_client, f"{dataset}_new")
    assert [path for path in shared.root.iterdir() if dataset in path.name] == []
    put(shared_client, f"{dataset}_new", DATA)
    assert action(shared_client, "describe_dataset", f"{dataset}_new")["kind"] == "DATASET_KIND_FILE"


def test_the_version_of_a_receipt_is_the_datasets(shared_client, dataset):
    receipt = append(shared_client, dataset, DATA)
    assert action(shared_client, "describe_dataset", dataset)["version"] == receipt["version"]
    again = append(shared_client, dataset, DATA, if_version=receipt["version"])
    assert again["version"] != receipt["version"]
    with pytest.raises(pa.ArrowInvalid, match="precondition"):
        append(shared_client, dataset, DATA, if_version=receipt["version"])
    with pytest.raises(pa.ArrowInvalid, match="precondition"):
        put(shared_client, dataset, DATA, if_version=receipt["version"])
    with pytest.raises(pa.ArrowException, match="(?i)exists"):
        put(shared_client, dataset, DATA, mode="create")
    with pytest.raises(pa.ArrowInvalid, match="4"):
        append(shared_client, dataset, DATA, expected_rows="4")
    assert get(shared_client, dataset).num_rows == 9


def test_a_read_only_server_serves_and_changes_nothing(start, root):
    write_deltalake(root / "t", DATA.select(["p"]))
    server = start("--read-only")
    client, connection = server.client(), server.connect()
    assert get(client, "t").num_rows == 3
    assert rows(connection, "select count(*) from at('t', 0)") == [(3,)]
    for change in (
        lambda: append(client, "t", DATA),
        lambda: run(connection, "delete from t"),
        lambda: action(client, "optimize_dataset", "t"),
        lambda: action(client, "vacuum_dataset", "t"),
        lambda: action(client, "restore_dataset", {"name": "t", "to": "0"}),
    ):
        with pytest.raises(Exception, match="(?i)read-only"):
            change()
    assert DeltaTable(root / "t").version() == 0


def test_a_table_that_appears_is_listed(shared_client, sql, lake):
    assert lake.name not in names(shared_client)
    write_deltalake(lake, DATA.select(["p"]), partition_by=[])
    assert lake.name in names(shared_client)
    assert rows(sql, f"select count(*) from {lake.name}") == [(3,)]


def test_a_restart_serves_the_same(start):
    server = start()
    client = server.client()
    put(client, "t", DATA)
    append(client, "t", DATA)
    append(client, "u", DATA, partition_by="p")
    before = {name: (get(client, name), action(client, "describe_dataset", name)) for name in ("t", "u")}
    server.stop()
    client = start().client()
    for name, (data, described) in before.items():
        assert get(client, name).equals(data)
        assert action(client, "describe_dataset", name) == described
