"""Tables with column mapping are read by the names that their columns have now, and are not changed."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from helpers import (
    action,
    append,
    by_id,
    commit,
    delete_rows,
    fails,
    get,
    info,
    put,
    query,
    rows,
    run,
)

INNER = pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.string())])), ("d", pa.int64())])
DATA = pa.table(
    {
        "id": range(20),
        "kind": [["a", "b", None, "ü/ %="][n % 4] for n in range(20)],
        "low": range(20),
        "high": range(100, 120),
        "pair": pa.array([{"a": n, "b": {"c": str(n)}, "d": -n} if n % 4 else None for n in range(20)], INNER),
        "items": [[{"x": n, "y": -n}, None] if n % 2 else [] for n in range(20)],
        "map": pa.array([[("k", {"x": n})] for n in range(20)], pa.map_(pa.string(), pa.struct([("x", pa.int64())]))),
    }
)

MODES = pytest.mark.parametrize("mode", ["name", "id"])


def write(lake, mode, **options):
    write_deltalake(lake, DATA, configuration={"delta.columnMapping.mode": mode}, **options)


def metadata(lake):
    """The newest version's number and metadata."""
    newest = max((lake / "_delta_log").glob("*.json"))
    return int(newest.stem), [action["metaData"] for action in actions(lake) if "metaData" in action][-1]


def actions(lake):
    """All that the log says, in order."""
    entries = sorted((lake / "_delta_log").glob("*.json"))
    return [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]


def physical(fields, name):
    """What the files call a column."""
    return named(fields, name)["metadata"]["delta.columnMapping.physicalName"]


def numbered(name, type, id):
    """A field that has this id in a Parquet file."""
    return pa.field(name, type, metadata={"PARQUET:field_id": str(id)})


def change_columns(lake, change):
    """A commit that changes the table's columns as other programs do: in the metadata alone."""
    version, now = metadata(lake)
    schema = json.loads(now["schemaString"])
    change(schema["fields"])
    commit(lake, version + 1, {"metaData": {**now, "schemaString": json.dumps(schema)}})


def named(fields, name):
    [field] = [field for field in fields if field["name"] == name]
    return field


def renamed(**names):
    def change(fields):
        for field in fields:
            field["name"] = names.get(field["name"], field["name"])

    return change


def new(name, id, type="long"):
    keys = {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": f"col-{name}-{id}"}
    return {"name": name, "type": type, "nullable": True, "metadata": keys}


def matches(client, sql, lake, expected):
    """Airstrip's raw stream and its SQL have the rows of `expected`, and so has another reader."""
    assert by_id(pa.table(DeltaTable(lake).scan())) == by_id(expected)
    assert by_id(get(client, lake.name)) == by_id(expected)
    assert by_id(query(sql, f"select * from {lake.name}")) == by_id(expected)
    # With a condition, it is the query engine that reads the files.
    assert by_id(query(sql, f"select * from {lake.name} where id >= 0")) == by_id(expected)
    names = expected.column_names
    assert sorted(get(client, lake.name).column_names) == sorted(names)
    assert sorted(info(client, lake.name).schema.names) == sorted(names)
    assert sorted(name for name, *_ in rows(sql, f"describe {lake.name}")) == sorted(names)
    for told in (info(client, lake.name).schema, action(client, "describe_dataset", lake.name)):
        assert "columnMapping" not in str(told) and "col-" not in str(told)


@MODES
@pytest.mark.parametrize("partition_by", [[], ["kind"]], ids=["plain", "partitioned"])
def test_what_deltalake_writes(shared_client, sql, lake, mode, partition_by):
    write(lake, mode, partition_by=partition_by)
    matches(shared_client, sql, lake, DATA)
    # Not as a slice: deltalake aborts on some.
    more = DATA.take(pa.array(range(3, 8)))
    write_deltalake(lake, more, mode="append")
    matches(shared_client, sql, lake, pa.concat_tables([DATA, more]))
    for condition, expected in [
        ("low = 7", [7, 7]),
        ("high = 107", [7, 7]),
        ("low > 100", []),
        ("kind = 'ü/ %='", [3, 3, 7, 7, 11, 15, 19]),
        ("kind is null and high < 110", [2, 6, 6]),
        ("pair['a'] = 5", [5, 5]),
        ("pair['b']['c'] = '6'", [6, 6]),
        ("items[1]['y'] = -7", [7, 7]),
    ]:
        assert [id for id, in rows(sql, f"select id from {lake.name} where {condition} order by id")] == expected, condition
    assert rows(sql, f"select count(*), min(low), max(high), count(kind) from {lake.name}") == [(25, 0, 119, 19)]


@MODES
@pytest.mark.parametrize("partition_by", [[], ["kind"]], ids=["plain", "partitioned"])
def test_a_checkpoint(shared_client, sql, lake, mode, partition_by):
    write(lake, mode, partition_by=partition_by)
    DeltaTable(lake).create_checkpoint()
    (lake / "_delta_log" / f"{0:020}.json").write_text("")
    matches(shared_client, sql, lake, DATA)


@MODES
def test_renamed_partition_columns(shared_client, sql, lake, mode):
    write(lake, mode, partition_by=["kind", "low"])
    version, now = metadata(lake)
    schema = json.loads(now["schemaString"])
    renamed(kind="low", low="kind")(schema["fields"])
    now |= {"schemaString": json.dumps(schema), "partitionColumns": ["low", "kind"]}
    commit(lake, version + 1, {"metaData": now})
    matches(shared_client, sql, lake, DATA.rename_columns(["id", "low", "kind", "high", "pair", "items", "map"]))
    assert rows(sql, f"select id from {lake.name} where kind = 7") == [(7,)]
    assert rows(sql, f"select count(*), max(kind) from {lake.name} where low = 'ü/ %='") == [(5, 19)]
    assert rows(sql, f"select count(*) from {lake.name} where low is null") == [(5,)]


@MODES
def test_renamed_and_dropped_columns(shared_client, sql, lake, mode):
    name = lake.name
    write(lake, mode)
    change_columns(lake, renamed(low="high", high="low", kind="Sort of/thing"))
    swapped = DATA.rename_columns(["id", "Sort of/thing", "high", "low", "pair", "items", "map"])
    matches(shared_client, sql, lake, swapped)
    # The bounds that files are skipped by are those of the right column.
    assert len(rows(sql, f"select id from {name} where low >= 100")) == 20
    assert rows(sql, f"select id from {name} where high >= 100") == []
    assert rows(sql, f"select min(low), max(high) from {name}") == [(100, 19)]

    # A column that is dropped leaves its values in the files; a later one of its name is another one.
    change_columns(lake, lambda fields: fields.remove(named(fields, "low")))
    matches(shared_client, sql, lake, swapped.drop_columns(["low"]))
    change_columns(lake, lambda fields: fields.append(new("low", 50)))
    old = swapped.drop_columns(["low"]).append_column("low", pa.nulls(20, pa.int64()))
    matches(shared_client, sql, lake, old)
    assert rows(sql, f"select id from {name} where low >= 100") == []
    more = old.drop_columns(["low", "id"]).append_column("low", pa.array(range(1000, 1020)))
    more = more.append_column("id", pa.array(range(20, 40))).select(old.column_names)
    write_deltalake(lake, more, mode="append")
    matches(shared_client, sql, lake, pa.concat_tables([old, more]))
    assert rows(sql, f"select count(*), min(low), count(low) from {name} where low >= 1010") == [(10, 1010, 10)]
    # Versions have the names that they had.
    assert by_id(query(sql, f"select * from at('{name}', 0)")) == by_id(DATA)
    assert by_id(get(shared_client, f"{name}@1")) == by_id(swapped)


def test_names_that_were_once_other_columns(shared_client, sql, lake):
    """A table that was written before the mapping: its files' names are those that the columns had then."""
    data = DATA.select(["id", "low", "high"])
    write_deltalake(lake, data)
    _, now = metadata(lake)
    schema = json.loads(now["schemaString"])
    for id, field in enumerate(schema["fields"], 1):
        field["metadata"] = {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": field["name"]}
    now["configuration"] = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"}
    now["schemaString"] = json.dumps(schema)
    features = {"readerFeatures": ["columnMapping"], "writerFeatures": ["columnMapping", "invariants", "appendOnly"]}
    commit(lake, 1, {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}, {"metaData": now})
    matches(shared_client, sql, lake, data)

    def change(fields):
        fields.remove(named(fields, "low"))
        named(fields, "high")["name"] = "low"
        fields.append(new("high", 4))

    change_columns(lake, change)
    expected = pa.table({"id": data["id"], "low": data["high"], "high": pa.nulls(20, pa.int64())})
    matches(shared_client, sql, lake, expected)
    assert rows(sql, f"select count(*) from {lake.name} where low >= 100") == [(20,)]
    assert rows(sql, f"select count(*) from {lake.name} where high is null and low >= 110") == [(10,)]


def test_files_with_other_names(shared_client, sql, lake):
    """A table that goes by ids, over a file whose names say something else: as after a conversion in place."""
    write(lake, "id")
    version, now = metadata(lake)
    fields = json.loads(now["schemaString"])["fields"]
    ids = {field["name"]: field["metadata"]["delta.columnMapping.id"] for field in fields}
    inner = {field["name"]: field["metadata"]["delta.columnMapping.id"] for field in named(fields, "pair")["type"]["fields"]}
    # The names of `low` and `high` in the file are swapped, `pair.a` has another one, and `id` has the name of a column
    # that the table no longer has.
    pair = pa.struct([numbered("was_a", pa.int64(), inner["a"]), numbered("d", pa.int64(), inner["d"])])
    columns = {
        numbered("kind", pa.int64(), ids["id"]): DATA["id"],
        numbered(physical(fields, "low"), pa.int64(), ids["high"]): DATA["high"],
        numbered(physical(fields, "high"), pa.int64(), ids["low"]): DATA["low"],
        numbered(physical(fields, "kind"), pa.string(), 1000): DATA["kind"],
        numbered("pair", pair, ids["pair"]): pa.array([{"was_a": n, "d": -n} for n in range(20)], pair),
    }
    pq.write_table(pa.table(list(columns.values()), pa.schema(list(columns))), lake / "other.parquet")
    removed = [a["add"] for a in actions(lake) if "add" in a]
    size = (lake / "other.parquet").stat().st_size
    add = {"path": "other.parquet", "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True}
    removes = [{"remove": {"path": a["path"], "deletionTimestamp": 1, "dataChange": True}} for a in removed]
    commit(lake, version + 1, *removes, {"add": add})
    for _ in range(3):
        # Often enough for the server to keep what it decodes.
        found = query(sql, f"select id, kind, low, high, pair['a'] as a, pair['d'] as d from {lake.name} order by id")
        expected = DATA.select(["id", "low", "high"]).append_column("kind", pa.nulls(20, pa.string()))
        expected = expected.append_column("a", pa.array(range(20))).append_column("d", pa.array(range(0, -20, -1)))
        assert by_id(found) == by_id(expected)
        assert get(shared_client, lake.name).select(["id", "low", "high"]).sort_by("id") == DATA.select(["id", "low", "high"])
    assert rows(sql, f"select id from {lake.name} where high = 107 and low < 50") == [(7,)]
    assert rows(sql, f"select count(*) from {lake.name} where kind is not null") == [(0,)]


@MODES
def test_fields_of_structs(shared_client, sql, lake, mode):
    write(lake, mode)
    for _ in range(3):
        # Often enough for the server to keep what it sends.
        assert by_id(get(shared_client, lake.name)) == by_id(DATA)

    def swap(fields):
        renamed(a="d", d="a")(named(fields, "pair")["type"]["fields"])
        renamed(x="y", y="x")(named(fields, "items")["type"]["elementType"]["fields"])
        renamed(x="z")(named(fields, "map")["type"]["valueType"]["fields"])

    change_columns(lake, swap)
    pair = [pair and {"d": pair["a"], "b": pair["b"], "a": pair["d"]} for pair in DATA["pair"].to_pylist()]
    items = [[item and {"y": item["x"], "x": item["y"]} for item in items] for items in DATA["items"].to_pylist()]
    map = [[(key, {"z": value["x"]}) for key, value in pairs] for pairs in DATA["map"].to_pylist()]
    type = pa.struct([("d", pa.int64()), INNER.field("b"), ("a", pa.int64())])
    columns = {
        "pair": pa.array(pair, type),
        "items": items,
        "map": pa.array(map, pa.map_(pa.string(), pa.struct([("z", pa.int64())]))),
    }
    swapped = pa.table({**{name: DATA[name] for name in ("id", "kind", "low", "high")}, **columns})
    matches(shared_client, sql, lake, swapped)
    assert rows(sql, f"select id from {lake.name} where pair['a'] = -5") == [(5,)]

    def other_fields(fields):
        inner = named(fields, "pair")["type"]["fields"]
        inner.remove(named(inner, "d"))
        inner.insert(0, new("d", 60))
        inner.append(new("e", 61, "string"))

    change_columns(lake, other_fields)
    pair = [pair and {"d": None, "b": pair["b"], "a": pair["a"], "e": None} for pair in pair]
    type = pa.struct([("d", pa.int64()), INNER.field("b"), ("a", pa.int64()), ("e", pa.string())])
    place = swapped.column_names.index("pair")
    matches(shared_client, sql, lake, swapped.set_column(place, "pair", pa.array(pair, type)))


@MODES
def test_deletion_vectors(shared_client, sql, lake, mode):
    write(lake, mode)
    features = ["columnMapping", "deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    commit(lake, 1, {"protocol": protocol})
    delete_rows(lake, [0, 3, 19], version=2)
    expected = DATA.filter(pc.invert(pc.is_in(DATA["id"], pa.array([0, 3, 19]))))
    matches(shared_client, sql, lake, expected)
    change_columns(lake, renamed(low="high", high="low"))
    matches(shared_client, sql, lake, expected.rename_columns(["id", "kind", "high", "low", "pair", "items", "map"]))
    assert rows(sql, f"select count(*), max(low) from {lake.name} where low >= 100") == [(17, 118)]


def test_types_that_airstrip_gave(shared_client, sql, lake):
    """A table that Airstrip made has its columns' types still when another program has mapped and renamed them."""
    type, other = pa.uint8(), pa.int16()
    data = pa.table({"id": [1, 2], "small": pa.array([255, None], type), "wide": pa.array([-1, 999], other)})
    put(shared_client, lake.name, data)
    append(shared_client, lake.name, data.slice(0, 0))
    run(sql, f"delete from {lake.name} where id = 77")
    [path] = [path for path in (lake, lake.with_suffix(".parquet")) if (path / "_delta_log").is_dir()]
    version, now = metadata(path)
    schema = json.loads(now["schemaString"])
    for id, field in enumerate(schema["fields"], 1):
        field["metadata"] = {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": field["name"]}
    renamed(small="wide", wide="small")(schema["fields"])
    now["configuration"] |= {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"}
    now["schemaString"] = json.dumps(schema)
    commit(path, version + 1, {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, {"metaData": now})
    expected = data.rename_columns(["id", "wide", "small"])
    assert get(shared_client, lake.name).schema.equals(expected.schema)
    assert by_id(get(shared_client, lake.name)) == by_id(expected)
    assert rows(sql, f"select id from {lake.name} where wide > 200") == [(1,)]


@MODES
def test_they_are_not_changed(shared, shared_client, sql, lake, mode):
    write(lake, mode)
    name, one = lake.name, DATA.take(pa.array([0]))
    log = sorted(path.name for path in (lake / "_delta_log").iterdir())
    for statement in (
        f"insert into {name} (id) values (1)",
        f"insert overwrite {name} select * from {name}",
        f"delete from {name} where id = 1",
        f"update {name} set low = 1",
        f"merge into {name} t using {name} s on t.id = s.id when matched then delete",
        f"alter table {name} add column extra bigint",
        f"create or replace table {name} as select 1 as id",
        f"truncate table {name}",
    ):
        with fails("NOT_IMPLEMENTED", "column mapping.*copy"):
            run(sql, statement)
    for call in (
        lambda: append(shared_client, name, one),
        lambda: append(shared_client, name, one, schema="merge"),
        lambda: put(shared_client, name, one),
        lambda: action(shared_client, "optimize_dataset", name),
        lambda: action(shared_client, "optimize_dataset", {"name": name, "zOrderBy": ["id"]}),
        lambda: action(shared_client, "vacuum_dataset", name),
        lambda: action(shared_client, "restore_dataset", {"name": name, "to": "0"}),
    ):
        with pytest.raises(pa.ArrowNotImplementedError, match="column mapping"):
            call()
    assert sorted(path.name for path in (lake / "_delta_log").iterdir()) == log
    matches(shared_client, sql, lake, DATA)
    # What the error says helps.
    run(sql, f"create table {name}_copy as select * from {name}", f"update {name}_copy set low = 1 where id = 7")
    assert rows(sql, f"select sum(low) from {name}_copy") == [(184,)]
    assert "physicalName" not in str(get(shared_client, f"{name}_copy").schema)
    run(sql, f"alter table {name} rename to {name}_other", f"drop table {name}_other")
    assert not lake.exists()
