"""Every Arrow type comes back from a Delta table as it was sent, also where Delta has no such type."""

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from helpers import INVALID, action, append, get, info, names, put, put_batches, run

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

# Neither Parquet nor Delta has such a type: an equal round trip is right, a refusal that names the column is too.
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


# Types of Arrow that no type of Delta can hold without loss.
BEYOND = {
    pa.decimal256(76, 20): [Decimal("9" * 56 + "." + "9" * 20)],
    pa.decimal256(39, 0): [Decimal(1)],
    pa.decimal128(5, -2): [Decimal("100")],
    pa.list_(pa.decimal256(50, 1)): [[Decimal("1.5")]],
}
KEPT = [type for type in TYPES if type not in BEYOND]


def numbered(type, first, values=None):
    """A table of numbers and of a column with values, a null, and values once more."""
    values = TYPES[type] if values is None else values
    column = pa.concat_arrays([array([*values, None], type), array(values[::-1], type)])
    numbers = pa.array(range(first, first + len(column)))
    field = pa.field("column", type, metadata={"unit": "m², naïve"})
    return pa.table([numbers, column], schema=pa.schema([("n", pa.int64()), field], metadata={"origin": "test ☃"}))


def assert_same(got, *sent):
    sent = pa.concat_tables(sent)
    assert got.schema.equals(sent.schema, check_metadata=True), (
        f"{got.schema.to_string()}\n!=\n{sent.schema.to_string()}"
    )
    got.validate(full=True)
    # The files of a table have no order; pyarrow cannot sort columns of all types, but their batches.
    batches = sorted((batch for batch in got.to_batches() if batch.num_rows), key=lambda batch: batch["n"][0].as_py())
    got = pa.Table.from_batches(batches, got.schema)
    assert got["n"].to_pylist() == sent["n"].to_pylist()
    for field, got_column, sent_column in zip(sent.schema, got.columns, sent.columns, strict=True):
        if "dictionary<" in str(field.type):
            # Two arrays with differently ordered dictionaries are not equal to pyarrow; their values are.
            assert got_column.to_pylist() == sent_column.to_pylist(), field
        else:
            assert got_column.equals(sent_column), field


@pytest.mark.parametrize("type", KEPT, ids=str)
def test_a_type_survives_the_first_append_and_later_ones(shared_client, name, type):
    parts = [numbered(type, 0), numbered(type, 100), numbered(type, 200)]
    put(shared_client, name, parts[0])
    for part in parts[1:]:
        append(shared_client, name, part)
    assert action(shared_client, "describe_dataset", name)["deltaVersion"] == "2"
    assert_same(get(shared_client, name), *parts)
    assert info(shared_client, name).schema.equals(parts[0].schema, check_metadata=True)


@pytest.mark.parametrize("type", KEPT, ids=str)
def test_a_type_survives_in_a_table_made_by_an_append(shared, shared_client, name, type):
    parts = [numbered(type, 0), numbered(type, 100)]
    for part in parts:
        append(shared_client, name, part)
    assert_same(get(shared_client, name), *parts)
    # Whatever Delta has instead of the type, other programs can read it.
    assert sorted(DeltaTable(shared.root / name).to_pyarrow_table()["n"].to_pylist()) == sorted(
        pa.concat_tables(parts)["n"].to_pylist()
    )


@pytest.mark.parametrize("type", KEPT, ids=str)
def test_a_type_survives_changes_of_other_rows(shared_client, sql, name, type):
    parts = [numbered(type, 0), numbered(type, 100)]
    put(shared_client, name, parts[0])
    append(shared_client, name, parts[1])
    run(sql, f"update {name} set n = n + 1000 where n = 100", f"delete from {name} where n = 1000 + 100")
    run(sql, f"merge into {name} t using (select 101 as n) s on t.n = s.n when matched then update set n = s.n")
    action(shared_client, "optimize_dataset", name)
    assert_same(get(shared_client, name), parts[0], parts[1].slice(1))


def test_all_types_survive_side_by_side(shared_client, name):
    schema = pa.schema([("n", pa.int64()), *((f"c{i}", type) for i, type in enumerate(KEPT))], metadata={"a": "b"})
    columns = [array([*(TYPES[type] * 4)[:4], None], type) for type in KEPT]
    parts = [pa.table([pa.array(range(at, at + 5)), *columns], schema=schema) for at in (0, 5, 10)]
    put(shared_client, name, parts[0])
    append(shared_client, name, parts[1])
    append(shared_client, name, parts[2])
    assert_same(get(shared_client, name), *parts)


def test_no_rows_of_all_types(shared_client, name):
    schema = pa.schema([(f"c{i}", type) for i, type in enumerate(KEPT)])
    put_batches(shared_client, name, schema, [], mode="append")
    assert get(shared_client, name).schema.equals(schema, check_metadata=True)
    assert get(shared_client, name).num_rows == 0


@pytest.mark.parametrize("type", BEYOND, ids=str)
def test_what_delta_cannot_hold_is_refused_by_name(shared_client, name, type):
    data = pa.table({"innocent": [1], "culprit": array(BEYOND[type], type)})
    with pytest.raises(pa.ArrowInvalid, match=INVALID) as error:
        append(shared_client, name, data)
    assert "culprit" in str(error.value) and "innocent" not in str(error.value)
    assert name not in names(shared_client)


def test_a_plain_dataset_that_delta_cannot_hold_stays_as_it_is(shared_client, sql, name):
    type = pa.decimal256(76, 20)
    data = numbered(type, 0)
    put(shared_client, name, data)
    for change in (
        lambda: append(shared_client, name, data),
        lambda: run(sql, f"delete from {name} where n = 0"),
        lambda: run(sql, f"alter table {name} add column x int"),
    ):
        with pytest.raises(Exception, match=r'(?i)invalid.*"column"'):
            change()
    assert_same(get(shared_client, name), data)
    assert action(shared_client, "describe_dataset", name)["kind"] == "DATASET_KIND_FILE"


@pytest.mark.parametrize("type", OPTIONAL_TYPES, ids=str)
def test_a_type_survives_or_is_refused_by_name(shared_client, name, type):
    data = numbered(type, 0, OPTIONAL_TYPES[type])
    try:
        append(shared_client, name, data)
    except pa.ArrowInvalid as error:
        assert INVALID in str(error) and '"column"' in str(error)
        assert name not in names(shared_client)
    else:
        append(shared_client, name, numbered(type, 100, OPTIONAL_TYPES[type]))
        assert_same(get(shared_client, name), data, numbered(type, 100, OPTIONAL_TYPES[type]))


UNION = [pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]]
UNSTORABLE = {
    "sparse union": pa.UnionArray.from_sparse(*UNION),
    "dense union": pa.UnionArray.from_dense(UNION[0], pa.array([0, 0, 1], pa.int32()), UNION[1]),
    "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
    "interval in a list": pa.array([[(1, 2, 3)]] * 3, pa.list_(pa.month_day_nano_interval())),
    "empty struct": pa.array([{}] * 3, pa.struct([])),
}


@pytest.mark.parametrize("kind", UNSTORABLE)
def test_what_nobody_can_hold_is_refused_by_name(shared_client, name, kind):
    with pytest.raises(pa.ArrowInvalid, match=INVALID) as error:
        append(shared_client, name, pa.table({"innocent": [1, 2, 3], "culprit": UNSTORABLE[kind]}))
    assert "culprit" in str(error.value) and "innocent" not in str(error.value)
    assert name not in names(shared_client)


@pytest.mark.parametrize(
    "type", [pa.int64(), pa.string_view(), pa.uint64(), pa.list_(pa.int8()), pa.binary(4)], ids=str
)
def test_columns_that_are_not_nullable_stay_so(shared_client, name, type):
    schema = pa.schema([pa.field("required", type, nullable=False), ("other", pa.int8())])
    values = TYPES.get(type, [[1], []])
    data = pa.table([array(values, type), pa.nulls(len(values), pa.int8())], schema=schema)
    put(shared_client, name, data)
    append(shared_client, name, data)
    assert get(shared_client, name).equals(pa.concat_tables([data, data]), check_metadata=True)
    nulls = pa.table({"required": pa.nulls(1, type), "other": pa.array([1], pa.int8())})
    with pytest.raises(pa.ArrowInvalid, match='(?s)invalid argument.*"required"'):
        append(shared_client, name, nulls)
    with pytest.raises(pa.ArrowInvalid, match='(?s)invalid argument.*"required"'):
        append(shared_client, name, nulls.select(["other"]))


def test_nulls_inside_of_what_is_not_nullable_are_refused(shared_client, name):
    inner = pa.field("a", pa.int32(), nullable=False)
    data = pa.table({"s": pa.array([{"a": 1}, None], pa.struct([inner]))})
    append(shared_client, name, data)
    loose = pa.table({"s": pa.array([{"a": None}], pa.struct([inner.with_nullable(True)]))})
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        append(shared_client, name, loose)
    assert get(shared_client, name).equals(data)


def test_dictionaries_that_change_from_append_to_append(shared_client, name):
    parts = [["a", "b"], ["b", "a", "c"], ["z"], ["a", "b"]]
    for part in parts:
        append(shared_client, name, pa.table({"d": pa.array(part).dictionary_encode()}))
    got = get(shared_client, name)
    assert got.schema.field("d").type == pa.dictionary(pa.int32(), pa.string())
    assert got["d"].to_pylist() == [value for part in parts for value in part]


def test_a_dictionary_whose_indices_run_out_is_no_wrong_value(shared_client, name):
    """Each append has 100 values of its own, which an index of 8 bits can tell; all of them together it cannot."""
    type = pa.dictionary(pa.int8(), pa.string())
    parts = [pa.table({"d": pa.array([f"{at}-{n}" for n in range(100)]).cast(type)}) for at in range(3)]
    for part in parts:
        append(shared_client, name, part)
    assert get(shared_client, name)["d"].to_pylist() == [value for part in parts for value in part["d"].to_pylist()]


def test_nan_and_negative_zero_keep_their_bits(shared_client, name):
    data = pa.table({"f": pa.array([float("nan"), -0.0, 0.0]), "h": pa.array([float("nan"), -0.0, 0.0], pa.float16())})
    put(shared_client, name, data)
    append(shared_client, name, data)
    twice = pa.concat_tables([data, data])
    for column in ("f", "h"):
        assert get(shared_client, name)[column].to_numpy().tobytes() == twice[column].to_numpy().tobytes()


def test_dates_before_1582_and_far_away_are_kept(shared_client, name):
    days = [dt.date(1, 1, 1), dt.date(1582, 10, 4), dt.date(9999, 12, 31)]
    data = pa.table({"d": days, "t": [dt.datetime.combine(day, dt.time(1, 2, 3, 4)) for day in days]})
    put(shared_client, name, data)
    append(shared_client, name, data)
    assert get(shared_client, name).equals(pa.concat_tables([data, data]))


@pytest.mark.parametrize("type", [pa.timestamp("s"), pa.timestamp("ms", "UTC")], ids=str)
def test_a_moment_too_far_away_for_microseconds_is_refused_by_name(shared_client, name, type):
    far = pa.table({"culprit": pa.array([2**63 - 1], type)})
    with pytest.raises(pa.ArrowInvalid, match="culprit"):
        append(shared_client, name, far)
    assert name not in names(shared_client)
    # As a plain dataset it is fine, and stays one.
    put(shared_client, name, far)
    with pytest.raises(pa.ArrowInvalid, match="culprit"):
        append(shared_client, name, far)
    assert get(shared_client, name).equals(far)


class TestCasts:
    """An append takes values of near types, and never another value than the one that was sent."""

    LOSSLESS = [
        (pa.int32(), pa.int64(), [-(2**31), 2**31 - 1]),
        (pa.uint8(), pa.uint64(), [0, 255]),
        (pa.float64(), pa.float32(), [0.5, float("inf")]),
        (pa.large_string(), pa.string(), TEXT),
        (pa.string_view(), pa.large_string(), TEXT),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), TEXT),
        (pa.string(), pa.dictionary(pa.int8(), pa.string()), TEXT),
        (pa.binary(), pa.binary_view(), BYTES),
        (pa.decimal128(20, 4), pa.decimal128(10, 2), [Decimal("1.25")]),
        (pa.decimal128(20, 4), pa.int16(), [-5]),
        (pa.timestamp("us"), pa.timestamp("s"), [dt.datetime(2026, 1, 1)]),
        (pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Zurich"), [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
        (pa.list_(pa.int64()), pa.list_(pa.int32()), [[1, None], []]),
        (pa.int64(), pa.null(), [None]),
    ]

    @pytest.mark.parametrize(("to", "of", "values"), LOSSLESS, ids=str)
    def test_near_types_are_cast(self, shared_client, name, to, of, values):
        append(shared_client, name, pa.table({"c": array([None], to)}))
        append(shared_client, name, pa.table({"c": array(values, of)}))
        got = get(shared_client, name)
        assert got.schema.field("c").type == to
        assert got["c"].to_pylist() == [None, *values]

    LOSSY = [
        (pa.int32(), pa.int64(), 2**31),
        (pa.int8(), pa.int64(), -129),
        (pa.uint8(), pa.int64(), -1),
        (pa.int64(), pa.uint64(), 2**63),
        (pa.uint64(), pa.int64(), -1),
        (pa.decimal128(4, 2), pa.decimal128(10, 2), Decimal("100.00")),
        (pa.decimal128(4, 2), pa.int64(), 100),
        (pa.timestamp("ns"), pa.timestamp("s"), 2**40),
        (pa.timestamp("us"), pa.timestamp("ns"), 1),
        (pa.timestamp("s"), pa.timestamp("ms"), 1500),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), 1),
        (pa.time32("s"), pa.time32("ms"), 1500),
        (pa.time64("us"), pa.time64("ns"), 1001),
    ]

    @pytest.mark.parametrize(("to", "of", "value"), LOSSY, ids=str)
    def test_a_value_that_does_not_fit_is_refused(self, shared_client, name, to, of, value):
        append(shared_client, name, pa.table({"culprit": array([None], to)}))
        with pytest.raises(pa.ArrowInvalid, match="(?s)invalid argument.*culprit"):
            append(shared_client, name, pa.table({"culprit": array([value], of)}))
        assert get(shared_client, name)["culprit"].to_pylist() == [None]

    @pytest.mark.parametrize(
        ("to", "of", "value"),
        [
            (pa.int64(), pa.string(), "1"),
            (pa.string(), pa.int64(), 1),
            (pa.int64(), pa.float64(), 1.0),
            (pa.float32(), pa.float64(), 1.0),
            (pa.timestamp("us"), pa.timestamp("us", "UTC"), 1),
            (pa.decimal128(10, 2), pa.decimal128(10, 4), Decimal("1.25")),
            (pa.bool_(), pa.int8(), 1),
            (pa.string(), pa.binary(), b"a"),
        ],
        ids=str,
    )
    def test_other_types_are_refused(self, shared_client, name, to, of, value):
        append(shared_client, name, pa.table({"culprit": array([None], to)}))
        with pytest.raises(pa.ArrowInvalid, match="(?s)invalid argument.*culprit.*cast it first"):
            append(shared_client, name, pa.table({"culprit": array([value], of)}))


def test_columns_are_taken_by_name(shared_client, name):
    append(shared_client, name, pa.table({"a": [1], "b": ["x"], "c": [1.5]}))
    append(shared_client, name, pa.table({"c": [2.5], "a": [2]}))
    assert get(shared_client, name).to_pylist() == [{"a": 1, "b": "x", "c": 1.5}, {"a": 2, "b": None, "c": 2.5}]
    with pytest.raises(pa.ArrowInvalid, match='(?s)invalid argument.*"extra"'):
        append(shared_client, name, pa.table({"a": [1], "extra": [1]}))


def test_odd_names_of_columns(shared, shared_client, sql, name):
    schema = pa.schema(
        [(column, pa.int64()) for column in ("with space", "a,b;{}", "dot.ted", "Ünï", "UPPER", "=()\t")]
    )
    data = pa.table([[1, 2]] * len(schema), schema=schema)
    put(shared_client, name, data)
    append(shared_client, name, data)
    run(sql, f"""update {name} set "dot.ted" = 5, "UPPER" = 6 where "with space" = 2""")
    expected = [
        {**row, **({"dot.ted": 5, "UPPER": 6} if row["with space"] == 2 else {})} for row in data.to_pylist()
    ] * 2
    key = lambda row: row["with space"]
    assert sorted(get(shared_client, name).to_pylist(), key=key) == sorted(expected, key=key)
    [lake] = [lake for lake in shared.root.glob(f"{name}*") if lake.is_dir()]
    assert sorted(DeltaTable(lake).to_pyarrow_table().to_pylist(), key=key) == sorted(expected, key=key)
