"""Tables with types of Arrow that Delta lacks, in partitions, in maintenance, and in other programs' hands."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake

from helpers import INVALID, action, append, by_id, folder, get, put, query, run

DATA = pa.table(
    {
        "id": [1, 2, 3],
        "small": pa.array([0, 255, None], pa.uint8()),
        "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "word": pa.array(["a", None, "b"]).dictionary_encode(),
        "time": pa.array([1, None, 2], pa.time64("ns")),
        "span": pa.array([-1, None, 2**40], pa.duration("s")),
        "nanos": pa.array([1, None, 2**62], pa.timestamp("ns", "UTC")),
    }
)


def assert_served(client, name, expected):
    got = get(client, name)
    assert got.schema.equals(expected.schema, check_metadata=True)
    assert by_id(got) == by_id(expected)


class TestPartitions:
    VALUES = {
        pa.uint8(): [0, 255, None],
        pa.uint64(): [2**64 - 1, 0, None],
        pa.int8(): [-128, 127, None],
        pa.large_string(): ["a/b=c %", "ü", None],
        pa.string_view(): ["a", "long enough to live outside of a view", None],
        pa.dictionary(pa.int8(), pa.string()): ["a", "b", None],
        pa.date64(): [0, -86_400_000, None],
        pa.time32("s"): [0, 86_399, None],
        pa.time64("ns"): [1, 86_399_999_999_999, None],
        pa.timestamp("s"): [-1, 2**33, None],
        pa.timestamp("ns"): [-1, 2**62 + 1, None],
        pa.timestamp("ms", "Europe/Zurich"): [1, 1_700_000_000_001, None],
        pa.duration("us"): [-(2**40), 5, None],
        pa.decimal64(10, 2): [Decimal("-1.50"), Decimal("0.01"), None],
        pa.float16(): [0.5, -65504.0, None],
        pa.float64(): [float("nan"), float("-inf"), -0.0, None],
    }

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_of_a_type(self, shared_client, sql, name, type):
        values = self.VALUES[type]
        numbers = pa.array(range(len(values)))
        data = pa.table({"id": numbers, "p": pa.array(values, type)})
        append(shared_client, name, data, partition_by="p")
        assert_served(shared_client, name, data)
        append(shared_client, name, data.set_column(0, "id", pa.array(range(100, 100 + len(values)))))
        run(sql, f"delete from {name} where id = 0", f"update {name} set id = 0 where id = 100")
        rest = pa.table({"id": [0, *range(1, len(values)), *range(101, 100 + len(values))]})
        column = pa.array([values[id % 100] for id in rest["id"].to_pylist()], type)
        assert_served(shared_client, name, rest.append_column(pa.field("p", type), column))
        action(shared_client, "optimize_dataset", name)
        assert_served(shared_client, name, rest.append_column(pa.field("p", type), column))

    @pytest.mark.parametrize("type", [pa.binary(), pa.binary(2), pa.list_(pa.int8())], ids=str)
    def test_what_cannot_be_is_refused_by_name(self, shared, shared_client, name, type):
        data = pa.table({"id": [1], "p": pa.array([[1, 2]] if pa.types.is_list(type) else [b"ab"], type)})
        with pytest.raises(pa.ArrowInvalid, match=f'{INVALID}.*"p"'):
            append(shared_client, name, data, partition_by="p")
        assert not (shared.root / name).exists()


class TestMaintenance:
    def test_z_order(self, shared_client, name):
        for at in range(3):
            append(shared_client, name, DATA.slice(at, 1))
        action(shared_client, "optimize_dataset", {"name": name, "zOrderBy": ["big", "word", "time", "nanos"]})
        assert_served(shared_client, name, DATA)

    def test_z_order_of_a_partitioned_table(self, shared_client, name):
        append(shared_client, name, DATA, partition_by="word")
        action(shared_client, "optimize_dataset", {"name": name, "zOrderBy": ["big", "id"]})
        assert_served(shared_client, name, DATA)

    @pytest.mark.parametrize("by", ["nowhere", "word"])
    def test_what_cannot_be_ordered_by_is_refused_by_name(self, shared_client, name, by):
        append(shared_client, name, DATA, partition_by="word")
        with pytest.raises(pa.ArrowInvalid, match=f"{INVALID}.*{by}"):
            action(shared_client, "optimize_dataset", {"name": name, "zOrderBy": [by]})

    def test_restore_over_a_change_of_columns(self, shared_client, sql, name):
        append(shared_client, name, DATA)
        put(shared_client, name, pa.table({"id": ["text"]}))
        action(shared_client, "restore_dataset", {"name": name, "to": "0"})
        assert_served(shared_client, name, DATA)
        assert query(sql, f"select * from at('{name}', 1)").to_pylist() == [{"id": "text"}]
        append(shared_client, name, DATA.set_column(0, "id", [[4, 5, 6]]))
        assert get(shared_client, name).num_rows == 6

    def test_an_added_column_of_such_a_type(self, shared_client, name):
        append(shared_client, name, DATA.select(["id"]))
        more = DATA.set_column(0, "id", [[4, 5, 6]])
        append(shared_client, name, more, schema="merge")
        got = get(shared_client, name)
        assert got.schema == DATA.schema
        assert by_id(got)[3:] == by_id(more)


class TestOfOthers:
    """What deltalake does to a table that says which types of Arrow it has."""

    def test_appends(self, shared, shared_client, name):
        append(shared_client, name, DATA)
        path = folder(shared.root, name)
        row = {"id": 9, "small": 7, "big": Decimal(5), "word": "z", "time": 5, "span": 6, "nanos": 7}
        write_deltalake(path, pa.Table.from_pylist([row], DeltaTable(path).to_pyarrow_table().schema), mode="append")
        added = pa.table(
            {
                "id": [9],
                **{
                    field.name: pa.array([int(row[field.name])], pa.int64()).cast(field.type)
                    for field in DATA.schema
                    if field.name in ("small", "big", "time", "span", "nanos")
                },
            }
        )
        got = get(shared_client, name)
        assert got.schema == DATA.schema
        assert by_id(got.drop_columns("word"))[3] == by_id(added)[0]
        assert sorted(map(str, got["word"].to_pylist())) == ["None", "a", "b", "z"]

    def test_a_value_that_the_type_cannot_hold_is_named(self, shared, shared_client, sql, name):
        append(shared_client, name, DATA.select(["id", "small"]))
        path = folder(shared.root, name)
        write_deltalake(path, pa.table({"id": [9], "small": pa.array([300], pa.int16())}), mode="append")
        with pytest.raises(pa.ArrowInvalid, match='"small".*declared type'):
            get(shared_client, name)
        run(sql, f"delete from {name} where id = 9")
        assert_served(shared_client, name, DATA.select(["id", "small"]))

    def test_added_columns(self, shared, shared_client, name):
        append(shared_client, name, DATA)
        DeltaTable(folder(shared.root, name)).alter.add_columns([Field("extra", "double")])
        assert_served(shared_client, name, DATA.append_column("extra", pa.nulls(3, pa.float64())))
        append(shared_client, name, pa.table({"id": [4], "extra": [1.5]}))
        assert by_id(get(shared_client, name))[3]["extra"] == 1.5

    def test_another_schema(self, shared, shared_client, name):
        """One that was kept for earlier columns is not believed of others."""
        append(shared_client, name, DATA)
        other = pa.table({"id": ["text"], "small": [1.5], "new": [dt.date(2026, 1, 31)]})
        write_deltalake(folder(shared.root, name), other, mode="overwrite", schema_mode="overwrite")
        assert get(shared_client, name).to_pylist() == other.to_pylist()
        append(shared_client, name, other)
        assert get(shared_client, name).num_rows == 2

    def test_changes(self, shared, shared_client, name):
        append(shared_client, name, DATA)
        table = DeltaTable(folder(shared.root, name))
        table.update(predicate="id = 1", updates={"word": "'changed'"})
        table.delete("id = 3")
        table.optimize.compact()
        expected = DATA.slice(0, 2).set_column(3, "word", pa.array(["changed", None]).dictionary_encode())
        assert_served(shared_client, name, expected)


def test_names_that_differ_in_case_are_refused_or_kept(shared, shared_client, name):
    """Delta takes them for one."""
    data = pa.table({"id": [1], "a": [1], "A": [2]})
    try:
        append(shared_client, name, data)
    except pa.ArrowInvalid as error:
        assert INVALID in str(error) and "'A'" in str(error)
        assert not (shared.root / name).exists()
    else:
        assert_served(shared_client, name, data)
        assert DeltaTable(folder(shared.root, name)).to_pyarrow_table().to_pylist() == data.to_pylist()


def test_a_merge_of_schemas_does_not_change_types(shared_client, name):
    append(shared_client, name, pa.table({"id": pa.array([1], pa.int32())}))
    with pytest.raises(pa.ArrowInvalid, match=f'{INVALID}.*"id"'):
        append(shared_client, name, pa.table({"id": ["x"], "extra": [1]}), schema="merge")
    append(shared_client, name, pa.table({"id": [2], "extra": [1]}), schema="merge")
    assert get(shared_client, name).schema == pa.schema([("id", pa.int32()), ("extra", pa.int64())])


def test_fields_of_a_struct_are_not_dropped(shared_client, name):
    """A struct with other fields is another type: refused, or merged, but not cut off."""
    append(shared_client, name, pa.table({"id": [1], "s": [{"a": 1}]}))
    more = pa.table({"id": [2], "s": [{"a": 2, "b": 3}]})
    for header in ({}, {"schema": "merge"}):
        try:
            append(shared_client, name, more, **header)
        except pa.ArrowInvalid as error:
            assert '"s"' in str(error)
        else:
            assert by_id(get(shared_client, name))[-1]["s"] == {"a": 2, "b": 3}
