"""Airstrip's own actions, with JSON, bare names and protobuf as bodies."""

import base64
import datetime as dt
import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from helpers import EXISTS, INVALID, PRECONDITION, action, call, get, info, names, put

TABLE = pa.table({"n": [3, 1, None], "s": ["b", None, "a"]})


def test_actions_are_listed_with_descriptions(client):
    actions = {a.type: a.description for a in client.list_actions(call())}
    assert {"drop_dataset", "register_dataset", "describe_dataset", "rename_dataset"} <= set(actions)
    assert all(actions.values())


@pytest.mark.parametrize(
    "body", ["data", "data.parquet", {"name": "data"}, {"name": "data.parquet", "schema": "public"}]
)
def test_drop(server, client, body):
    version = put(client, "data", TABLE)["version"]
    answer = action(client, "drop_dataset", body)
    assert answer == {"name": answer["name"], "schema": "public", "version": version}
    assert answer["name"].removesuffix(".parquet") == "data"
    assert names(client) == []
    assert list(server.root.glob("*.parquet")) == []
    with pytest.raises(KeyError):
        get(client, "data")


def test_drop_of_a_version_that_is_gone_is_refused(client):
    first = put(client, "data", TABLE)["version"]
    second = put(client, "data", TABLE.slice(1))["version"]
    with pytest.raises(pa.ArrowInvalid, match=PRECONDITION):
        action(client, "drop_dataset", {"name": "data", "ifVersion": first})
    assert names(client) == ["data"]
    action(client, "drop_dataset", {"name": "data", "ifVersion": second})
    assert names(client) == []


def test_fields_may_have_their_proto_names(client):
    """protobuf's JSON mapping takes `if_version` as well as `ifVersion`."""
    put(client, "data", TABLE)
    with pytest.raises(pa.ArrowInvalid, match=PRECONDITION):
        action(client, "drop_dataset", {"name": "data", "if_version": "another"})


def test_a_protobuf_body_has_a_protobuf_answer(client):
    version = put(client, "data", TABLE)["version"].encode()
    body = _field(1, b"data") + _field(3, version)
    [result] = client.do_action(flight.Action("drop_dataset", body), call())
    answer = result.body.to_pybytes()
    assert answer.startswith(b"\x0a") and answer.endswith(_field(2, b"public") + _field(3, version))
    assert names(client) == []


def _field(number, value):
    """A length-delimited protobuf field (of less than 128 bytes)."""
    return bytes([number << 3 | 2, len(value)]) + value


@pytest.mark.parametrize("body", ["data", "data.parquet", {"name": "data"}])
def test_describe(server, client, body):
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    receipt = put(client, "data", TABLE)
    answer = action(client, "describe_dataset", body)
    assert answer["name"].removesuffix(".parquet") == "data"
    assert answer["schema"] == "public"
    assert answer["table"] == "data"
    assert answer["kind"] == "DATASET_KIND_FILE"
    assert answer["version"] == receipt["version"]
    assert answer["rows"] == "3"
    assert answer["bytes"] == str((server.root / "data.parquet").stat().st_size)
    assert answer["files"] == "1"
    assert answer["rowGroups"] == "1"
    assert answer["codecs"] == sorted(answer["codecs"])
    assert "damage" not in answer and "partitionColumns" not in answer
    assert before < dt.datetime.fromisoformat(answer["modified"]) < before + dt.timedelta(minutes=2)
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(answer["arrowSchema"])))
    assert schema.equals(TABLE.schema, check_metadata=True)


def test_describe_has_statistics_of_the_columns(client):
    table = pa.table(
        {
            "n": TABLE["n"],
            "s": TABLE["s"],
            "all_null": pa.array([None] * 3, pa.int32()),
            "day": [dt.date(2026, 1, 2), dt.date(2026, 1, 1), None],
            "list": [[1], None, []],
        }
    )
    required = pa.field("required", pa.int64(), nullable=False)
    put(client, "data", table.append_column(required, [[7, 8, 9]]))
    columns = {column.pop("name"): column for column in action(client, "describe_dataset", "data")["columns"]}
    assert list(columns) == ["n", "s", "all_null", "day", "list", "required"]
    n, s, all_null, day = (columns[name] for name in ("n", "s", "all_null", "day"))
    assert (n["type"], n["nullable"], n["nullCount"], n["min"], n["max"]) == ("Int64", True, "1", "1", "3")
    assert (s["type"], s["nullCount"], s["min"], s["max"]) == ("Utf8", "1", "a", "b")
    assert all_null["nullCount"] == "3" and "min" not in all_null and "max" not in all_null
    assert (day["nullCount"], day["min"], day["max"]) == ("1", "2026-01-01", "2026-01-02")
    assert "min" not in columns["list"]
    assert "nullable" not in columns["required"]  # false, the default, is left out
    assert columns["required"]["nullCount"] == "0"  # known to be none


def test_rename(server, client):
    put(client, "before", TABLE)
    answer = action(client, "rename_dataset", {"name": "before.parquet", "newName": "after.parquet"})
    assert answer["name"].removesuffix(".parquet") == "after"
    assert answer["schema"] == "public"
    assert names(client) == ["after"]
    assert get(client, "after").equals(TABLE)
    assert get(client, "select count(*) as n from after").to_pylist() == [{"n": 3}]
    assert [f.name for f in server.root.glob("*.parquet")] == ["after.parquet"]
    assert action(client, "describe_dataset", "after")["version"] == answer["version"]
    with pytest.raises(KeyError):
        get(client, "before")


def test_rename_needs_both_names(client):
    put(client, "data", TABLE)
    for body in ("data", {"name": "data"}, {"newName": "other"}):
        with pytest.raises(pa.ArrowInvalid, match=INVALID):
            action(client, "rename_dataset", body)
    assert names(client) == ["data"]


@pytest.fixture
def raw(server):
    """A Parquet file deeper in the root."""
    file = server.root / "_raw" / "x.parquet"
    file.parent.mkdir()
    pq.write_table(TABLE, file)
    return file


def test_register_a_file_in_the_root(server, client, raw):
    answer = action(client, "register_dataset", {"name": "taxi", "path": "_raw/x.parquet"})
    assert answer["name"] == "taxi"
    assert answer["schema"] == "public"
    assert (answer["rows"], answer["files"]) == ("3", "1")
    assert (server.root / "taxi.dataset.json").exists()
    assert "taxi" in names(client)
    assert info(client, "taxi").total_records == 3
    assert get(client, "taxi").equals(TABLE)
    assert get(client, "select max(n) as n from taxi").to_pylist() == [{"n": 3}]
    described = action(client, "describe_dataset", "taxi")
    assert described["kind"] == "DATASET_KIND_REGISTERED"
    assert described["path"].endswith("_raw/x.parquet")
    assert described["version"] == answer["version"]


def test_register_a_directory(server, client, raw):
    shutil.copy(raw, raw.with_name("y.parquet"))
    answer = action(client, "register_dataset", {"name": "taxi", "path": "_raw"})
    assert (answer["rows"], answer["files"]) == ("6", "2")
    assert get(client, "taxi").num_rows == 6


def test_register_again_needs_replace(server, client, raw):
    other = raw.with_name("y.parquet")
    pq.write_table(TABLE.slice(1), other)
    action(client, "register_dataset", {"name": "taxi", "path": "_raw/x.parquet"})
    with pytest.raises(pa.ArrowException, match=EXISTS):
        action(client, "register_dataset", {"name": "taxi", "path": "_raw/y.parquet"})
    assert info(client, "taxi").total_records == 3
    action(client, "register_dataset", {"name": "taxi", "path": "_raw/y.parquet", "replace": True})
    assert info(client, "taxi").total_records == 2


def test_register_does_not_hide_an_uploaded_dataset(client, raw):
    put(client, "data", TABLE.slice(2))
    with pytest.raises(pa.ArrowException, match=EXISTS):
        action(client, "register_dataset", {"name": "data", "path": "_raw/x.parquet"})
    assert get(client, "data").equals(TABLE.slice(2))


def test_drop_of_a_registration_leaves_the_file(server, client, raw):
    action(client, "register_dataset", {"name": "taxi", "path": "_raw/x.parquet"})
    action(client, "drop_dataset", "taxi")
    assert "taxi" not in names(client)
    assert not (server.root / "taxi.dataset.json").exists()
    assert pq.read_table(raw).equals(TABLE)


@pytest.mark.parametrize(
    "target", ["../outside.parquet", "{outside}", "/etc/passwd", "link.parquet", "_raw/../../outside.parquet"]
)
def test_register_never_leaves_the_root(server, client, raw, target):
    outside = server.root.parent / "outside.parquet"
    pq.write_table(TABLE, outside)
    os.symlink(outside, server.root / "link.parquet")
    body = {"name": "taxi", "path": target.format(outside=outside)}
    with pytest.raises((pa.ArrowInvalid, KeyError, flight.FlightUnauthorizedError)):
        action(client, "register_dataset", body)
    assert not (server.root / "taxi.dataset.json").exists()


def test_register_of_nothing(client):
    with pytest.raises(KeyError):
        action(client, "register_dataset", {"name": "taxi", "path": "no/such/file.parquet"})
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        action(client, "register_dataset", {"name": "taxi"})


def test_register_from_a_directory_that_the_server_allows(tmp_path, start):
    lake = tmp_path / "lake"
    lake.mkdir()
    pq.write_table(TABLE, lake / "x.parquet")
    client = start("--register-from", str(lake)).client()
    action(client, "register_dataset", {"name": "taxi", "path": str(lake / "x.parquet")})
    assert get(client, "taxi").equals(TABLE)


def test_a_registration_is_a_file_that_people_can_read(server, client, raw):
    action(client, "register_dataset", {"name": "taxi", "path": "_raw/x.parquet"})
    assert json.loads((server.root / "taxi.dataset.json").read_text())["path"] == "_raw/x.parquet"
