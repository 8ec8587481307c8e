"""Folders whose files several writers stored in nearly the same types, old timestamps, and Parquet's logical types."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import PRECONDITION, action, append, commit, fails, folder, get, names, put, readings, rows, run

US, NS = pa.timestamp("us"), pa.timestamp("ns")


def write(root, name, *files):
    """A dataset `name` with a file of the column `c` for each of `files`: an array, or what writes to a path."""
    (root / f".{name}").mkdir()
    for number, made in enumerate(files):
        path = root / f".{name}" / f"{number}.parquet"
        if callable(made):
            made(path)
        else:
            pq.write_table(made if isinstance(made, pa.Table) else pa.table({"c": made}), path)
    (root / f".{name}").rename(root / name)


def without_arrow(array):
    return lambda path: pq.write_table(pa.table({"c": array}), path, store_schema=False)


def by_duckdb(select):
    return lambda path: duckdb.connect().execute(f"copy ({select}) to '{path}' (format parquet)")


def pair_list(name, nullable=True, values=([1], [2])):
    return pa.array(list(values), pa.list_(pa.field(name, pa.int64(), nullable)))


TEXTS = ["a", "b"]
FOLDERS = {
    "pandas_and_spark": (
        [lambda path: pd.DataFrame({"c": TEXTS}).to_parquet(path), without_arrow(TEXTS)],
        pa.large_string(),
    ),
    "pyarrow_and_polars": ([pa.array(TEXTS), lambda path: pl.DataFrame({"c": TEXTS}).write_parquet(path)], None),
    "duckdb_and_pandas": (
        [by_duckdb("from (values ('a'), ('b')) v(c)"), lambda path: pd.DataFrame({"c": TEXTS}).to_parquet(path)],
        pa.large_string(),
    ),
    "categories": ([pa.array(TEXTS).dictionary_encode(), without_arrow(TEXTS)], pa.string()),
    "categories_of_integers": (
        [lambda path: pd.DataFrame({"c": pd.Categorical([3, 5])}).to_parquet(path), pa.array([4])],
        pa.int64(),
    ),
    "lists": ([pa.array([[1], [2]]), lambda path: pl.DataFrame({"c": [[1], [2]]}).write_parquet(path)], None),
    "items": ([pair_list("element", False), pair_list("item")], None),
    "fixed_lists": ([pa.array([[1, 2]], pa.list_(pa.int64(), 2)), pa.array([[3]])], None),
    "utc": ([pa.array([1], pa.timestamp("us", "UTC")), pa.array([2], pa.timestamp("us", "+00:00"))], None),
    "zones": (
        [pa.array([1], pa.timestamp("us", "Europe/Zurich")), pa.array([2000], pa.timestamp("ns", "UTC"))],
        pa.timestamp("ns", "UTC"),
    ),
    "only_null": ([pa.array(TEXTS), pa.nulls(2)], pa.string()),
    "nulls_first": ([pa.nulls(1), pa.array([[{"a": 1}]])], None),
    "integers": ([pa.array([1, None], pa.int32()), pa.array([2**40])], pa.int64()),
    "unsigned": ([pa.array([2**32 - 1], pa.uint32()), pa.array([-1], pa.int32())], pa.int64()),
    "largest": ([pa.array([2**64 - 1], pa.uint64()), pa.array([-(2**63)])], pa.decimal128(20, 0)),
    "floats": ([pa.array([0.5], pa.float32()), pa.array([0.1])], pa.float64()),
    "integers_and_floats": ([pa.array([1, 2**53]), pa.array([0.1, None])], pa.float64()),
    "decimals": (
        [pa.array([Decimal("1.25")], pa.decimal128(5, 2)), pa.array([Decimal("12345.6789")], pa.decimal128(10, 4))],
        pa.decimal128(10, 4),
    ),
    "units": ([pa.array([0, 1500], US), pa.array([1000], NS)], NS),
    "dates": ([pa.array([dt.date(2024, 2, 29)]), pa.array([dt.datetime(2024, 3, 1, 12)], US)], US),
    "times": ([pa.array([1], pa.time32("s")), pa.array([1000], pa.time64("ns"))], pa.time64("ns")),
    "structs": ([pa.array([{"a": 1}]), pa.array([{"a": 2, "b": "x"}])], None),
    "structs_in_lists": ([pa.array([[{"a": 1}], None]), pa.array([[{"b": "x", "a": 2}]])], None),
    "maps": (
        [
            pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
            by_duckdb("select map {'k': 2::bigint} as c"),
        ],
        None,
    ),
    "bytes": ([pa.array([b"ab"], pa.binary(2)), pa.array([b"abc"])], pa.binary()),
}


# What DuckDB unites otherwise, or gives pyarrow in another type.
NOT_AS_DUCKDB = {"zones", "utc", "bytes", "maps", "structs_in_lists", "nulls_first", "largest", "units"} | {
    "categories_of_integers"
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_files_of_nearly_one_type_are_united(server, client, kind):
    files, expected = FOLDERS[kind]
    write(server.root, kind, *files)
    raw = get(client, kind)
    assert raw.num_rows == sum(pq.read_metadata(path).num_rows for path in (server.root / kind).iterdir())
    # Several times, since what is read again and again is kept decoded.
    for _ in range(3):
        queried = get(client, f"select * from {kind}")
        assert queried["c"].to_pylist() == raw["c"].to_pylist()
    for found in (raw, queried):
        assert expected is None or found.schema.field("c").type == expected
    [column] = action(client, "describe_dataset", kind)["columns"]
    assert "nullCount" not in column or int(column["nullCount"]) == raw["c"].null_count
    if kind not in NOT_AS_DUCKDB:
        union = f"select c from read_parquet('{server.root}/{kind}/*.parquet', union_by_name = true)"
        texts = [
            sorted(json.dumps(value, default=str, sort_keys=True) for value in table["c"].to_pylist())
            for table in (raw, duckdb.sql(union).to_arrow_table())
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("order", [1, -1])
def test_filters_find_values_of_every_file(server, client, order):
    moments = [pa.array([dt.datetime(2024, 1, day)], US) for day in (1, 2)]
    for name, files in {
        "ints": [pa.array([1, 5], pa.int32()), pa.array([5, 2**40])],
        "moments": [moments[0], moments[1].cast(NS)],
        "decimals": [pa.array([Decimal("1.5")], pa.decimal128(3, 1)), pa.array([Decimal("1.50")], pa.decimal128(9, 2))],
        "mixed": [pa.array([1, 3]), pa.array([3.0, 3.5])],
        "texts": [pa.array(["x", "y"]), pa.array(["y", "z"], pa.large_string())],
        "categories": [pa.array(["x", "y"]).dictionary_encode(), pa.array(["y", "z"])],
    }.items():
        write(server.root, name, *files[::order])
        values = sorted(get(client, name)["c"].to_pylist())
        for value in values:
            literal = f"timestamp '{value}'" if isinstance(value, dt.datetime) else repr(value)
            literal = str(value) if isinstance(value, Decimal) else literal
            for operator, passes in {
                "=": value.__eq__,
                ">=": lambda other, value=value: other >= value,
                "<": lambda other, value=value: other < value,
            }.items():
                sql = f"select c from {name} where c {operator} {literal} order by c"
                assert get(client, sql)["c"].to_pylist() == [other for other in values if passes(other)], sql
        [row] = get(client, f"select min(c) as low, max(c) as high, count(c) as n from {name}").to_pylist()
        assert (row["low"], row["high"], row["n"]) == (values[0], values[-1], len(values)), name


def test_columns_that_files_lack_are_null(server, client):
    write(server.root, "grown", pa.table({"a": [1]}), pa.table({"b": ["x"], "a": pa.array([2], pa.int16())}))
    for ticket in ("grown", "select * from grown"):
        assert get(client, ticket).to_pydict() == {"a": [1, 2], "b": [None, "x"]}
    assert get(client, "select a from grown where b = 'x'")["a"].to_pylist() == [2]


def test_struct_fields_are_filtered_in_every_file(server, client):
    write(server.root, "s", pa.array([{"a": 1}, {"a": 5}]), pa.array([{"a": 5, "b": "x"}, None]))
    assert get(client, "select c.a as a, c.b as b from s where c.a = 5 order by b nulls first").to_pylist() == [
        {"a": 5, "b": None},
        {"a": 5, "b": "x"},
    ]
    assert get(client, "select count(*) as n from s where c.b is null").to_pylist() == [{"n": 3}]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["x"])),
        (pa.array([1.5]), pa.array([Decimal("1.5")])),
        (pa.array([0], US), pa.array([0], pa.timestamp("us", "UTC"))),
        (pa.array([True]), pa.array([1])),
        (pa.array([{"a": 1}]), pa.array([{"a": "x"}])),
    ],
)
def test_what_cannot_be_united_is_named(server, client, one, other):
    write(server.root, "odd", one, other)
    put(client, "fine", pa.table({"n": [1]}))
    for ticket in ("odd", "select * from odd"):
        with pytest.raises(pa.ArrowInvalid, match=PRECONDITION) as refused:
            get(client, ticket)
        assert all(word in str(refused.value) for word in ('"c"', "0.parquet", "1.parquet"))
    assert "fine" in names(client)
    assert get(client, "fine").num_rows == 1


def test_values_that_the_type_of_all_does_not_hold_are_errors(server, client):
    write(server.root, "far", pa.array([dt.datetime(1, 1, 1)], US), pa.array([0], NS))
    write(server.root, "long", pa.array([2**53 + 1]), pa.array([0.5]))
    for name in ("far", "long"):
        for ticket in (name, f"select * from {name}", f"select max(c) from {name} where c is not null"):
            with pytest.raises(pa.ArrowInvalid, match=PRECONDITION) as refused:
                get(client, ticket)
            assert '"c"' in str(refused.value)


def test_a_folder_of_several_writers_is_changed(server, client, connection):
    write(server.root, "t", pa.array([1], pa.int32()), pa.array([2**40]), pa.nulls(1))
    append(client, "t", pa.table({"c": pa.array([7], pa.int8())}))
    run(connection, "update t set c = 8 where c = 7")
    assert sorted(rows(connection, "select c from t"), key=str) == sorted([(1,), (2**40,), (None,), (8,)], key=str)
    for reader, found in readings(folder(server.root, "t")):
        assert set(found["c"].to_pylist()) == {1, 2**40, None, 8}, reader


def test_registered_folders_keep_their_types(server, client):
    write(server.root, "other.db", pa.array([1], pa.int32()))
    (server.root / "other.db").rename(server.root / "elsewhere")
    action(client, "register_dataset", {"name": "r", "path": "elsewhere"})
    pq.write_table(pa.table({"c": pa.array([2], pa.int16())}), server.root / "elsewhere" / "1.parquet")
    assert get(client, "r")["c"].to_pylist() == [1, 2]
    assert get(client, "select c from r where c = 2").schema.field("c").type == pa.int32()
    pq.write_table(pa.table({"c": [2**40]}), server.root / "elsewhere" / "2.parquet")
    with pytest.raises(pa.ArrowInvalid, match="register the dataset again"):
        get(client, "r")


OLD = [
    dt.datetime(1, 1, 1),
    dt.datetime(1677, 1, 1),
    None,
    dt.datetime(2024, 2, 29, 1, 2, 3, 4),
    dt.datetime(9999, 12, 31),
]


def old_timestamps(path):
    """As Spark and Hive write them: INT96, without an Arrow schema."""
    table = pa.table({"id": range(5), "t": pa.array(OLD, US), "l": pa.array([[at] for at in OLD], pa.list_(US))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False)


def micros(zone):
    """The year 1000, as a literal in microseconds."""
    return f"arrow_cast('1000-01-01', 'Timestamp(Microsecond, {zone})')"


def test_int96_is_microseconds(server, client):
    old_timestamps(server.root / "old.parquet")
    for ticket in ("old", "select * from old", "select id, t, l from old order by id"):
        found = get(client, ticket)
        assert found.schema.field("t").type == US
        assert found["t"].to_pylist() == OLD
        assert found["l"].to_pylist() == [[at] for at in OLD]
    assert get(client, f"select id from old where t < {micros('None')}")["id"].to_pylist() == [0]
    [row] = get(client, "select min(t) as low, max(t) as high from old").to_pylist()
    assert (row["low"], row["high"]) == (OLD[0], OLD[-1])


def test_int96_with_nanoseconds_of_its_writer_keeps_them(server, client):
    table = pa.table({"t": pa.array([1], NS)})
    pq.write_table(table, server.root / "fine.parquet", use_deprecated_int96_timestamps=True)
    for ticket in ("fine", "select * from fine"):
        assert get(client, ticket)["t"].cast(pa.int64()).to_pylist() == [1]


def test_delta_tables_of_int96_are_changed(server, client, connection):
    lake = server.root / "lake"
    (lake / "_delta_log").mkdir(parents=True)
    old_timestamps(lake / "part.parquet")
    column = {"nullable": True, "metadata": {}}
    items = {"type": "array", "elementType": "timestamp", "containsNull": True}
    types = {"id": "long", "t": "timestamp", "l": items}
    fields = [{"name": name, "type": kind, **column} for name, kind in types.items()]
    table = {"id": str(uuid.uuid4()), "format": {"provider": "parquet", "options": {}}, "partitionColumns": []}
    table |= {"schemaString": json.dumps({"type": "struct", "fields": fields}), "configuration": {}}
    add = {"path": "part.parquet", "size": (lake / "part.parquet").stat().st_size, "partitionValues": {}}
    add |= {"modificationTime": 0, "dataChange": True}
    commit(lake, 0, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": table}, {"add": add})
    moments = [at and at.replace(tzinfo=dt.UTC) for at in OLD]

    def check():
        for ticket in ("lake", "select * from lake order by id"):
            found = get(client, ticket).sort_by("id")
            assert found["t"].to_pylist() == moments
            assert found["l"].to_pylist() == [[at] for at in moments]

    check()
    early = "t < " + micros('Some("UTC")')
    run(connection, f"update lake set id = id + 10 where {early}", "delete from lake where id = 3")
    moments = moments[1:3] + moments[4:] + moments[:1]
    check()
    action(client, "optimize_dataset", {"name": "lake", "z_order_by": ["t"]})
    check()


def test_uuids_and_json_are_shown_as_such(server, client):
    text = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    duckdb.connect().execute(
        f"""copy (select '{text}'::uuid as u, '{{"a": 1}}'::json as j, ['{text}'::uuid] as l)
        to '{server.root}/logical.parquet' (format parquet)"""
    )
    described = action(client, "describe_dataset", "logical")["columns"]
    assert [column.get("extension", "") for column in described] == ["arrow.uuid", "arrow.json", ""]
    get(client, "select 1")
    for ticket in ("logical", "select u, j, l from logical"):
        found = get(client, ticket)
        assert found.schema.field("u").type == pa.uuid(), ticket
        assert found["u"].to_pylist() == [uuid.UUID(text)]
        assert found.schema.field("j").type.extension_name == "arrow.json"
        assert found.schema.field("l").type.value_type == pa.uuid()


def test_uuids_compare_with_texts(server, client, connection):
    one, other = sorted(str(uuid.uuid4()) for _ in range(2))
    duckdb.connect().execute(
        f"copy (select unnest(['{one}', '{other}'])::uuid as u) to '{server.root}/ids.parquet' (format parquet)"
    )
    run(connection, "create view few as select u as key from ids")
    for condition, count in {
        f"u = '{one}'": 1,
        f"'{one}' = u": 1,
        f"u <> '{one.upper()}'": 1,
        f"u in ('{one}', '{other}')": 2,
        f"u not in ('{one}')": 1,
        f"u between '{one}' and '{other}'": 2,
        f"u > '{one}'": 1,
    }.items():
        assert rows(connection, f"select count(*) from ids where {condition}") == [(count,)], condition
    assert rows(connection, f"select count(*) from few where key = '{one}'") == [(1,)]
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from ids where u = ?", [one])
        assert cursor.fetchall() == [(1,)]
    with fails("INVALID_ARGUMENT", "UUID"):
        rows(connection, "select * from ids where u = 'x'")


def test_extension_types_pass_through_sql(server, client, connection):
    duckdb.connect().execute(
        f"copy (select uuid() as u, 1 as n) to '{server.root}/ids.parquet' (format parquet)"
    )
    run(connection, "create table copied as select u, n from ids")
    for ticket in ("copied", "select u as other from copied", "select u from ids order by n limit 1"):
        assert get(client, ticket).schema.field(0).type == pa.uuid(), ticket


@pytest.mark.parametrize("version", ["V1", "V2", "NONE"])
def test_geometries_are_shown_as_such(server, client, connection, version):
    duckdb.connect().execute(
        f"""copy (select 'POINT(1 2)'::geometry('OGC:CRS84') as g) to '{server.root}/places.parquet'
        (format parquet, geoparquet_version '{version}')"""
    )
    [column] = action(client, "describe_dataset", "places")["columns"]
    assert column["extension"] == "geoarrow.wkb"
    assert "CRS84" in column["extensionMetadata"]
    run(connection, "create table copied as select g from places")
    for ticket in ("places", "select g from places", "copied"):
        metadata = get(client, ticket).schema.field("g").metadata
        assert metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"
        assert json.loads(metadata[b"ARROW:extension:metadata"])["crs"]


def test_variants_keep_their_type(server, client, connection):
    duckdb.connect().execute(
        f"copy (select unnest([42::variant, 'x'::variant]) as v) to '{server.root}/things.parquet' (format parquet)"
    )
    run(connection, "create table copied as select v from things", "create view seen as select v as w from things")
    for ticket in ("things", "select v from things", "copied", "seen"):
        found = get(client, ticket).schema.field(0)
        assert found.metadata[b"ARROW:extension:name"] == b"arrow.parquet.variant", ticket
    assert action(client, "describe_dataset", "things")["columns"][0]["extension"] == "arrow.parquet.variant"


def test_half_floats(server, client):
    halves = pa.array(np.array([1.5, -0.25], np.float16))
    pq.write_table(pa.table({"h": halves}), server.root / "half.parquet", store_schema=False)
    assert get(client, "half").schema.field("h").type == pa.float16()
    assert action(client, "describe_dataset", "half")["columns"][0]["type"] == "Float16"


def test_a_downloaded_tensor_is_appended(server, client):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    pq.write_table(pa.table({"t": tensors}), server.root / "tensor.parquet")
    read = get(client, "tensor")
    assert read.schema.field("t").type == tensors.type
    append(client, "tensor", read)
    both = get(client, "tensor")
    assert both.schema.field("t").type == tensors.type
    assert both["t"].to_pylist() == read["t"].to_pylist() * 2


def test_zones_of_coarse_units_are_kept(server, client):
    table = pa.table({"z": pa.array([0], pa.timestamp("s", "Europe/Zurich"))})
    pq.write_table(table, server.root / "zone.parquet")
    expected = pq.read_schema(server.root / "zone.parquet").field("z").type
    for ticket in ("zone", "select * from zone"):
        assert get(client, ticket).schema.field("z").type == expected
        assert get(client, ticket)["z"].to_pylist() == pq.read_table(server.root / "zone.parquet")["z"].to_pylist()


def test_two_columns_of_one_name_are_described_apart(server, client):
    table = pa.Table.from_arrays([pa.array([1, 2]), pa.array(["x", None])], names=["a", "a"])
    pq.write_table(table, server.root / "twice.parquet")
    first, second = action(client, "describe_dataset", "twice")["columns"]
    assert (first["type"], first["min"], first["max"]) == ("Int64", "1", "2")
    assert second["type"] == "Utf8"
    assert (second["min"], second["max"], second["nullCount"]) == ("x", "x", "1")
