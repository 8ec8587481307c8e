"""Every Arrow type that Parquet can hold comes back as it was sent; what it cannot hold is refused by name."""

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers import INVALID, get, info, names, put, put_batches

DAY_MS = 86_400_000
TEXT = ["", "a", "naïve ☃", "long enough to live outside of a view's twelve bytes"]
BYTES = [b"", b"\x00", b"\xff\xfe", b"long enough to live outside of a view's twelve bytes"]
I32, I64 = [-(2**31), -1, 0, 2**31 - 1], [-(2**63), -1, 0, 2**63 - 1]

# Type -> values; `chunks` adds nulls, empty batches and, for dictionaries, other dictionaries.
TYPES = {
    pa.null(): [None],
    pa.bool_(): [True, False],
    pa.int8(): [-128, 0, 127],
    pa.int16(): [-(2**15), 0, 2**15 - 1],
    pa.int32(): I32,
    pa.int64(): I64,
    pa.uint8(): [0, 255],
    pa.uint16(): [0, 2**16 - 1],
    pa.uint32(): [0, 2**31, 2**32 - 1],
    pa.uint64(): [0, 2**63, 2**64 - 1],
    pa.float16(): [np.float16(v) for v in (0.5, -65504.0, float("inf"))],
    pa.float32(): [0.5, -3.4028234663852886e38, float("inf")],
    pa.float64(): [0.1, 5e-324, float("-inf")],
    pa.decimal32(7, 2): [Decimal("-99999.99"), Decimal("0.01")],
    pa.decimal64(18, 4): [Decimal("-99999999999999.9999"), Decimal("0.0001")],
    pa.decimal128(38, 10): [Decimal("9" * 28 + "." + "9" * 10), Decimal("-1.5")],
    pa.decimal128(5, 0): [Decimal("-99999"), Decimal("7")],
    pa.decimal256(76, 20): [Decimal("9" * 56 + "." + "9" * 20), Decimal("-1.5")],
    pa.date32(): [-719_162, 0, 20_000],
    pa.date64(): [-DAY_MS, 0, 20_000 * DAY_MS],
    pa.time32("s"): [0, 86_399],
    pa.time32("ms"): [0, 86_399_999],
    pa.time64("us"): [0, 86_399_999_999],
    pa.time64("ns"): [0, 1, 86_399_999_999_999],
    **{pa.timestamp(unit): [-1, 0, 1_700_000_000] for unit in ("s", "ms", "us", "ns")},
    **{pa.timestamp(unit, "UTC"): [-1, 0, 1_700_000_000] for unit in ("s", "ms", "us", "ns")},
    pa.timestamp("us", "Europe/Zurich"): [0, 1_700_000_000_000_000],
    pa.timestamp("ms", "+05:30"): [0, 1_700_000_000_000],
    **{pa.duration(unit): I64 for unit in ("s", "ms", "us", "ns")},
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): BYTES,
    pa.large_binary(): BYTES,
    pa.binary_view(): BYTES,
    pa.binary(4): [b"\x00\x00\x00\x00", b"abcd"],
    pa.list_(pa.int32()): [[1, None, 3], []],
    pa.list_(pa.field("element", pa.string(), nullable=False, metadata={"k": "v"})): [["a"], []],
    pa.large_list(pa.string()): [["a", None], []],
    pa.list_(pa.int16(), 2): [[1, 2], [None, 4]],
    pa.list_(pa.list_(pa.string_view())): [[["a"], None, []], []],
    pa.struct([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.string(), metadata={"k": "v"})]): [
        {"a": 1, "b": None},
        {"a": 2, "b": "x"},
    ],
    pa.list_(pa.struct([("a", pa.list_(pa.int8()))])): [[{"a": [1]}, None, {"a": None}], []],
    pa.map_(pa.string(), pa.int64()): [[("a", 1), ("b", None)], []],
    pa.map_(pa.int32(), pa.list_(pa.string()), keys_sorted=True): [[(1, ["x"]), (2, None)], []],
    **{pa.dictionary(index, pa.string()): TEXT for index in (pa.int8(), pa.int32(), pa.uint16(), pa.int64())},
    pa.dictionary(pa.int32(), pa.string(), ordered=True): TEXT,
    pa.dictionary(pa.int32(), pa.large_string()): TEXT,
    pa.dictionary(pa.int16(), pa.binary()): BYTES,
    pa.dictionary(pa.int32(), pa.binary(4)): [b"abcd", b"\x00\x00\x00\x00"],
    pa.dictionary(pa.int8(), pa.int64()): I64,
    pa.dictionary(pa.uint8(), pa.uint32()): [0, 2**32 - 1],
    pa.dictionary(pa.int32(), pa.float64()): [0.1, -0.5],
    pa.list_(pa.dictionary(pa.int32(), pa.string())): [["a", None, "b"], [], ["b"]],
    pa.struct([("d", pa.dictionary(pa.int8(), pa.string()))]): [{"d": "a"}, {"d": None}, {"d": "b"}],
    pa.uuid(): [uuid.UUID(int=0), uuid.UUID("6ccd780c-baba-1026-9564-5b8c656024db")],
    pa.json_(): ['{"a": 1}', "null", "[]"],
    pa.json_(pa.large_string()): ['{"a": 1}'],
    pa.bool8(): [1, 0],
    pa.fixed_shape_tensor(pa.float32(), [2, 2]): [[1.0, 2.0, 3.0, 4.0]],
    pa.opaque(pa.binary(), "point", "acme"): [b"\x01", b""],
    pa.struct([("id", pa.uuid())]): [{"id": uuid.UUID(int=1)}, {"id": None}],
}

# Parquet has no such type, or its writer may not: an equal round trip is right, a refusal that names the column is too.
OPTIONAL_TYPES = {
    pa.list_view(pa.int32()): [[1, None], []],
    pa.large_list_view(pa.string()): [["a", None], []],
    pa.run_end_encoded(pa.int32(), pa.string()): ["a", "a", "b"],
    pa.struct([("run", pa.run_end_encoded(pa.int16(), pa.int64()))]): [{"run": 1}, {"run": 1}],
}


def array(values, type):
    """pa.array, but structs field by field: it does not know every type there, and breaks dictionaries under nulls."""
    if not pa.types.is_struct(type):
        return pa.array(values, type)
    children = [array([value and value[field.name] for value in values], field.type) for field in type]
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.StructArray.from_arrays(children, fields=list(type), mask=missing)


def chunks(values, type):
    """Batches' worth of a column: a null, none at all, only nulls, and the values in another order."""
    return [array([*values, None], type), array([], type), array([None] * 3, type), array(values[::-1], type)]


def batches_of(schema, columns):
    return [pa.record_batch(list(arrays), schema=schema) for arrays in zip(*columns, strict=True)]


def assert_same(got, schema, batches):
    sent = pa.Table.from_batches(batches, schema)
    assert got.schema.equals(schema, check_metadata=True), f"{got.schema.to_string()}\n!=\n{schema.to_string()}"
    got.validate(full=True)
    for field, got_column, sent_column in zip(schema, got.columns, sent.columns, strict=True):
        if "dictionary<" in str(field.type):
            # Two arrays with differently ordered dictionaries are not equal to pyarrow; their values are.
            assert got_column.to_pylist() == sent_column.to_pylist(), field
        else:
            assert got_column.equals(sent_column), field


def assert_nothing_stored(server, client, name):
    with pytest.raises(KeyError):
        info(client, name)
    assert name not in names(client)
    assert [file for file in server.root.rglob("*") if name in file.name] == []


@pytest.mark.parametrize("type", TYPES, ids=str)
def test_a_type_round_trips(shared_client, name, type):
    schema = pa.schema([pa.field("column", type, metadata={"unit": "m², naïve"})], metadata={"origin": "test ☃"})
    batches = batches_of(schema, [chunks(TYPES[type], type)])
    put_batches(shared_client, name, schema, batches)
    assert_same(get(shared_client, name), schema, batches)
    assert info(shared_client, name).schema.equals(schema, check_metadata=True)
    assert info(shared_client, name).total_records == sum(batch.num_rows for batch in batches)


def test_all_types_round_trip_side_by_side(shared_client, name):
    """One schema with all of them: the dictionaries of several columns must not be mixed up."""
    schema = pa.schema([pa.field(f"c{i}", type, metadata={"i": str(i)}) for i, type in enumerate(TYPES)])
    columns = []
    for type, values in TYPES.items():
        values = (values * 4)[:4]
        columns.append([array([*values, None], type), array([], type), array(values[::-1], type)])
    batches = batches_of(schema, columns)
    put_batches(shared_client, name, schema, batches)
    assert_same(get(shared_client, name), schema, batches)


def test_no_rows_of_all_types(shared_client, name):
    """A stream without batches: pyarrow wants a schema that needs no dictionary, or an empty one."""
    schema = pa.schema([(f"c{i}", type) for i, type in enumerate(TYPES)])
    put_batches(shared_client, name, schema, [])
    assert_same(get(shared_client, name), schema, [])


@pytest.mark.parametrize("type", [pa.int64(), pa.string_view(), pa.list_(pa.int8()), pa.binary(4)], ids=str)
def test_columns_that_are_not_nullable_stay_so(shared_client, name, type):
    schema = pa.schema([pa.field("required", type, nullable=False)])
    batches = batches_of(schema, [[array(TYPES.get(type, [[1], []]), type)]])
    put_batches(shared_client, name, schema, batches)
    assert_same(get(shared_client, name), schema, batches)


def test_the_metadata_of_an_unknown_extension_type_is_kept(shared_client, name):
    metadata = {"ARROW:extension:name": "acme.colour", "ARROW:extension:metadata": '{"space": "rgb"}'}
    schema = pa.schema([pa.field("colour", pa.binary(3), metadata=metadata)])
    batches = batches_of(schema, [[pa.array([b"abc", None], pa.binary(3))]])
    put_batches(shared_client, name, schema, batches)
    assert_same(get(shared_client, name), schema, batches)


def test_dictionaries_that_change_from_batch_to_batch(shared_client, name):
    """Each batch replaces the dictionary of the one before; the same index means another value."""
    values = [["a", "b"], ["b", "a", "c"], ["z"], ["a", "b"]]
    batches = [pa.record_batch([pa.array(v).dictionary_encode()], ["d"]) for v in values]
    put_batches(shared_client, name, batches[0].schema, batches)
    got = get(shared_client, name)
    assert got.schema == batches[0].schema
    assert got["d"].to_pylist() == [v for batch in values for v in batch]


def test_a_dictionary_with_a_null_and_unused_values(shared_client, name):
    """A null may be in the dictionary instead of the indices; either way it is a null."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int8()), pa.array(["a", None, "b", "unused"]))
    put(shared_client, name, pa.table({"d": column}))
    got = get(shared_client, name)
    assert got.schema.field("d").type == column.type
    assert got["d"].to_pylist() == ["a", None, "b", None]


def test_nan_and_negative_zero_keep_their_bits(shared_client, name):
    table = pa.table({"f": pa.array([float("nan"), -0.0, 0.0])})
    put(shared_client, name, table)
    assert get(shared_client, name)["f"].to_numpy().tobytes() == table["f"].to_numpy().tobytes()


def test_a_slice_is_sent_without_the_rest(shared_client, name):
    table = pa.table({"n": range(100), "s": [None if n % 3 else str(n) for n in range(100)]}).slice(7, 13)
    put(shared_client, name, table)
    assert get(shared_client, name).equals(table)


def test_a_pandas_frame_comes_back_with_its_index(shared_client, name):
    frame = pd.DataFrame(
        {"n": [1, 2], "day": pd.to_datetime(["2026-01-01", "2026-01-02"]), "kind": pd.Categorical(["x", "y"])},
        index=pd.Index(["first", "second"], name="which"),
    )
    put(shared_client, name, pa.Table.from_pandas(frame))
    pd.testing.assert_frame_equal(get(shared_client, name).to_pandas(), frame)


@pytest.mark.parametrize("type", OPTIONAL_TYPES, ids=str)
def test_a_type_round_trips_or_is_refused_by_name(shared, shared_client, name, type):
    schema = pa.schema([("innocent", pa.int64()), ("culprit", type)])
    column = array(OPTIONAL_TYPES[type], type)
    batches = batches_of(schema, [[pa.array(range(len(column)))], [column]])
    try:
        put_batches(shared_client, name, schema, batches)
    except pa.ArrowInvalid as error:
        assert INVALID in str(error) and "culprit" in str(error)
        assert_nothing_stored(shared, shared_client, name)
    else:
        assert_same(get(shared_client, name), schema, batches)


UNION = [pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]]
UNSTORABLE = {
    "sparse union": pa.UnionArray.from_sparse(*UNION),
    "dense union": pa.UnionArray.from_dense(UNION[0], pa.array([0, 0, 1], pa.int32()), UNION[1]),
    "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
    "interval in a list": pa.array([[(1, 2, 3)]] * 3, pa.list_(pa.month_day_nano_interval())),
    "empty struct": pa.array([{}] * 3, pa.struct([])),
}


@pytest.mark.parametrize("kind", UNSTORABLE)
def test_what_parquet_cannot_hold_is_refused_by_name(shared, shared_client, name, kind):
    table = pa.table({"innocent": [1, 2, 3], "culprit": UNSTORABLE[kind]})
    with pytest.raises(pa.ArrowInvalid, match=INVALID) as error:
        put(shared_client, name, table)
    assert "culprit" in str(error.value) and "innocent" not in str(error.value)
    assert_nothing_stored(shared, shared_client, name)


@pytest.mark.parametrize("nested", [False, True])
def test_a_decimal_of_more_digits_than_its_type_is_refused_by_name(shared, shared_client, name, nested):
    # 12345, and after it 100000: a digit too many, which Arrow does not look at.
    values = (12345).to_bytes(16, "little") + (100_000).to_bytes(16, "little")
    culprit = pa.Array.from_buffers(pa.decimal128(5, 2), 2, [None, pa.py_buffer(values)])
    if nested:
        culprit = pa.StructArray.from_arrays([culprit], ["inner"])
    with pytest.raises(pa.ArrowInvalid, match=INVALID) as error:
        put(shared_client, name, pa.table({"innocent": [1, 2], "culprit": culprit}))
    assert "culprit" in str(error.value) and "does not fit" in str(error.value)
    assert_nothing_stored(shared, shared_client, name)


def test_a_refused_upload_leaves_the_dataset_that_was_there(shared_client, name):
    table = pa.table({"n": [1, 2, 3]})
    put(shared_client, name, table)
    with pytest.raises(pa.ArrowInvalid, match="culprit"):
        put(shared_client, name, pa.table({"culprit": UNSTORABLE["sparse union"]}))
    assert get(shared_client, name).equals(table)


def test_dates_before_1582_and_far_away_are_kept(shared_client, name):
    table = pa.table({"d": [dt.date(1, 1, 1), dt.date(1582, 10, 4), dt.date(9999, 12, 31)]})
    put(shared_client, name, table)
    assert get(shared_client, name).equals(table)
