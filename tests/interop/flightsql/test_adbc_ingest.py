"""Tables made from Arrow data by the ADBC driver."""

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import samples
from helpers import fails, ingest, nested, rows, run, table

DATA = pa.table({"n": [1, 2, 3], "s": ["a", None, "c"]})
OTHER = pa.table({"x": [1.5]})


def test_create(connection, name):
    assert ingest(connection, name, DATA) == 3
    assert table(connection, f"select * from {name}").equals(DATA)
    with fails("ALREADY_EXISTS", f"{name} exists"):
        ingest(connection, name, OTHER, mode="create")
    assert table(connection, f"select * from {name}").equals(DATA)


def test_replace(connection, name):
    assert ingest(connection, name, DATA, mode="replace") == 3
    assert ingest(connection, name, OTHER, mode="replace") == 1
    assert table(connection, f"select * from {name}").equals(OTHER)


def test_create_append(connection, name):
    assert ingest(connection, name, DATA, mode="create_append") == 3
    assert table(connection, f"select * from {name}").equals(DATA)


@pytest.mark.parametrize("mode", ["append", "create_append"])
def test_rows_are_appended_to_a_table_that_is_there(connection, name, mode):
    ingest(connection, name, DATA)
    assert ingest(connection, name, DATA, mode=mode) == 3
    assert table(connection, f"select * from {name}").equals(pa.concat_tables([DATA, DATA]))


def test_append_to_what_is_missing(connection, name):
    with fails("NOT_FOUND", f"{name} to append to"):
        ingest(connection, name, DATA, mode="append")


SOURCES = {
    "a table": lambda: DATA,
    "a batch": lambda: DATA.to_batches()[0],
    "a reader": lambda: pa.RecordBatchReader.from_batches(DATA.schema, DATA.to_batches(max_chunksize=1)),
    "a frame of polars": lambda: pl.from_arrow(DATA),
}


@pytest.mark.parametrize("source", SOURCES)
def test_sources(connection, name, source):
    assert ingest(connection, name, SOURCES[source]()) == 3
    assert sorted(rows(connection, f"select * from {name}")) == [(1, "a"), (2, None), (3, "c")]


def test_many_batches(shared, connection, name):
    reader = pa.RecordBatchReader.from_batches(samples.NUMBERS.schema, samples.NUMBERS.to_batches(max_chunksize=10_000))
    assert ingest(connection, name, reader) == samples.ROWS
    assert table(connection, f"select * from {name} order by n").equals(samples.NUMBERS)
    assert pq.read_metadata(shared.root / f"{name}.parquet").num_rows == samples.ROWS


def test_a_batch_without_rows(connection, name):
    """The table is made, with its columns."""
    assert ingest(connection, name, DATA.to_batches()[0].slice(0, 0)) == 0
    assert table(connection, f"select * from {name}").equals(DATA.schema.empty_table())


def test_no_batch_at_all(connection, name):
    """The driver opens a stream and sends nothing, not even what it wants. There can be no table, so there has to be
    an error that says so: a bare end of the stream says nothing, and a count of 0 would be a lie."""
    with pytest.raises(Exception) as error:
        ingest(connection, name, pa.RecordBatchReader.from_batches(DATA.schema, []))
    assert error.value.status_code.name == "INVALID_ARGUMENT", error.value
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")


def test_a_source_that_fails_stores_nothing(shared, connection, name):
    def batches():
        yield DATA.to_batches()[0]
        raise ValueError("the source broke")

    with fails("UNKNOWN", "the source broke"):
        ingest(connection, name, pa.RecordBatchReader.from_batches(DATA.schema, batches()))
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")
    # Not as the old contents' successor either.
    ingest(connection, name, OTHER)
    with fails("UNKNOWN", "the source broke"):
        ingest(connection, name, pa.RecordBatchReader.from_batches(DATA.schema, batches()), mode="replace")
    assert table(connection, f"select * from {name}").equals(OTHER)


def test_into_a_schema(connection, name):
    run(connection, f"create schema {name}")
    assert ingest(connection, "t", DATA, db_schema_name=name) == 3
    assert ingest(connection, "u", DATA, db_schema_name=name, catalog_name="airstrip") == 3
    assert rows(connection, f"select count(*) from {name}.t join {name}.u using (n)") == [(3,)]
    with fails("NOT_FOUND", "nowhere"):
        ingest(connection, name, DATA, db_schema_name="nowhere")
    with fails("NOT_FOUND", "other"):
        ingest(connection, name, DATA, catalog_name="other")
    for schema in ("system", "information_schema"):
        with fails("INVALID_ARGUMENT", "belongs to the server"):
            ingest(connection, name, DATA, db_schema_name=schema)


def test_a_view_is_not_overwritten(connection, name):
    run(connection, f"create view {name} as select 1 as n")
    for mode in ("create", "replace", "create_append"):
        with fails("UNKNOWN", f"{name} is a view"):
            ingest(connection, name, DATA, mode=mode)
    assert rows(connection, f"select * from {name}") == [(1,)]


class TestTemporary:
    def test_only_the_own_connection_sees_it(self, shared, connection, name):
        assert ingest(connection, name, DATA, temporary=True) == 3
        assert table(connection, f"select * from {name}").equals(DATA)
        with shared.connect() as other, fails("NOT_FOUND", name):
            rows(other, f"select * from {name}")
        assert [path for path in shared.root.rglob("*") if name in path.name] == []

    def test_modes(self, connection, name):
        ingest(connection, name, DATA, temporary=True)
        with fails("ALREADY_EXISTS", name):
            ingest(connection, name, DATA, temporary=True)
        assert ingest(connection, name, DATA, mode="append", temporary=True) == 3
        assert rows(connection, f"select count(*) from {name}") == [(6,)]
        assert ingest(connection, name, OTHER, mode="replace", temporary=True) == 1
        assert table(connection, f"select * from {name}").equals(OTHER)
        run(connection, f"drop table {name}")
        with fails("NOT_FOUND"):
            rows(connection, f"select * from {name}")

    def test_it_hides_a_lasting_table_and_does_not_touch_it(self, shared, connection, name):
        ingest(connection, name, OTHER)
        ingest(connection, name, DATA, temporary=True)
        assert rows(connection, f"select count(*) from {name}") == [(3,)]
        with shared.connect() as other:
            assert table(other, f"select * from {name}").equals(OTHER)
        # A lasting ingest is about the lasting table, whatever hides it.
        with fails("ALREADY_EXISTS"):
            ingest(connection, name, DATA)
        assert ingest(connection, name, pa.table({"y": [7]}), mode="replace") == 1
        with shared.connect() as other:
            assert rows(other, f"select y from {name}") == [(7,)]


TEXT = ["", "naïve ☃", "a text that is too long for the inside of a view"]
BYTES = [b"", b"\xff\xfe", b"bytes that are too long for the inside of a view"]
DAY_MS = 86_400_000
# Type -> values, of all types that Parquet can hold.
TYPES = {
    pa.null(): [None],
    pa.bool_(): [True, False],
    **{
        type: [0, 2**bits - 1]
        for type, bits in [(pa.uint8(), 8), (pa.uint16(), 16), (pa.uint32(), 32), (pa.uint64(), 64)]
    },
    **{
        type: [-(2**bits), 2**bits - 1]
        for type, bits in [(pa.int8(), 7), (pa.int16(), 15), (pa.int32(), 31), (pa.int64(), 63)]
    },
    pa.float16(): [np.float16(0.5), np.float16("inf")],
    pa.float32(): [0.5, -3.4028234663852886e38],
    pa.float64(): [0.1, float("-inf")],
    pa.decimal32(7, 2): [Decimal("-99999.99")],
    pa.decimal64(18, 4): [Decimal("-99999999999999.9999")],
    pa.decimal128(38, 10): [Decimal("9" * 28 + "." + "9" * 10)],
    pa.decimal256(76, 20): [Decimal("9" * 56 + "." + "9" * 20)],
    pa.date32(): [-719_162, 20_000],
    pa.date64(): [-DAY_MS, 20_000 * DAY_MS],
    pa.time32("s"): [86_399],
    pa.time32("ms"): [86_399_999],
    pa.time64("us"): [86_399_999_999],
    pa.time64("ns"): [86_399_999_999_999],
    **{pa.timestamp(unit, zone): [-1, 1_700_000_000] for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")},
    pa.timestamp("us", "Europe/Zurich"): [1_700_000_000_000_000],
    pa.timestamp("ms", "+05:30"): [1_700_000_000_000],
    **{pa.duration(unit): [-(2**63), 2**63 - 1] for unit in ("s", "ms", "us", "ns")},
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): BYTES,
    pa.large_binary(): BYTES,
    pa.binary_view(): BYTES,
    pa.binary(4): [b"abcd"],
    pa.list_(pa.int32()): [[1, None], []],
    pa.large_list(pa.string()): [["a", None], []],
    pa.list_(pa.int16(), 2): [[1, 2], [None, 4]],
    pa.list_(pa.list_(pa.string_view())): [[["a"], None, []], []],
    pa.struct([pa.field("a", pa.int32(), nullable=False), ("b", pa.string())]): [{"a": 1, "b": None}],
    pa.list_(pa.struct([("a", pa.list_(pa.int8()))])): [[{"a": [1]}, None, {"a": None}], []],
    pa.map_(pa.string(), pa.int64()): [[("a", 1), ("b", None)], []],
    pa.dictionary(pa.int8(), pa.string()): TEXT,
    pa.dictionary(pa.uint32(), pa.large_string()): TEXT,
    pa.dictionary(pa.int16(), pa.binary()): BYTES,
    pa.dictionary(pa.int8(), pa.int64()): [2**63 - 1],
    pa.list_(pa.dictionary(pa.int32(), pa.string())): [["a", None, "b"], []],
}
# What polars has for Categorical and Enum: Parquet holds its values as it holds any text.
VIEW_DICTIONARIES = [pa.dictionary(pa.uint32(), pa.string_view()), pa.dictionary(pa.uint8(), pa.string_view())]


def column(type):
    """Values, a null, and values once more."""
    return pa.array([*TYPES[type], None, *TYPES[type]], type)


@pytest.mark.parametrize("type", TYPES, ids=str)
def test_a_type_comes_back_as_it_was_sent(connection, name, type):
    data = pa.table([column(type)], schema=pa.schema([pa.field("c", type, metadata={"unit": "m²"})]))
    assert ingest(connection, name, data) == len(data)
    run(connection, "set types = 'native'")
    got = table(connection, f"select * from {name}")
    assert got.schema.field("c").equals(data.schema.field("c"), check_metadata=True)
    if "dictionary" in str(type):
        # Two arrays with differently ordered dictionaries are not equal to pyarrow; their values are.
        assert got["c"].to_pylist() == data["c"].to_pylist()
    else:
        assert got["c"].equals(data["c"])


# What the default profile has instead of a type.
REPLACED = {
    "string_view": pa.string(),
    "binary_view": pa.binary(),
    "halffloat": pa.float32(),
    "decimal32": pa.decimal128(7, 2),
    "decimal64": pa.decimal128(18, 4),
}


@pytest.mark.parametrize("type", TYPES, ids=str)
def test_a_type_is_one_that_every_client_reads(connection, name, type):
    """By default: the same values, without views, dictionaries and other rare types anywhere inside."""
    data = pa.table({"c": column(type)})
    ingest(connection, name, data)
    got = table(connection, f"select * from {name}")
    for inner in nested(got.schema.field("c").type):
        assert not pa.types.is_dictionary(inner)
        assert str(inner).split("(")[0] not in REPLACED
    if type in (pa.string(), pa.int64(), pa.large_string(), pa.duration("s")):
        assert got.schema.field("c").type == type
    if (expected := REPLACED.get(str(type).split("(")[0])) is not None:
        assert got.schema.field("c").type == expected
    if got.schema.field("c").type == type:
        assert got["c"].equals(data["c"])
    else:
        assert got["c"].to_pylist() == data["c"].to_pylist()


@pytest.mark.parametrize("type", VIEW_DICTIONARIES, ids=str)
def test_dictionaries_of_views_are_stored(connection, name, type):
    """As themselves or as dictionaries of plain text, but not refused: a frame of polars is full of them."""
    data = pa.table(
        {
            "c": pa.DictionaryArray.from_arrays(
                pa.array([0, 1, None, 0], type.index_type), pa.array(["a", "b"], pa.string_view())
            )
        }
    )
    assert data.schema.field("c").type == type
    assert ingest(connection, name, data) == 4
    assert table(connection, f"select * from {name}")["c"].to_pylist() == ["a", "b", None, "a"]


def test_columns_that_are_not_nullable_stay_so(connection, name):
    schema = pa.schema([pa.field("required", pa.int64(), nullable=False), pa.field("other", pa.string())])
    ingest(connection, name, pa.table([[1], ["a"]], schema=schema))
    assert table(connection, f"select * from {name}").schema == schema


def test_an_extension_type_keeps_its_metadata(connection, name):
    data = pa.table({"id": pa.array([uuid.UUID(int=1), None], pa.uuid())})
    ingest(connection, name, data)
    assert table(connection, f"select * from {name}").equals(data)


UNSTORABLE = {
    "an interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "a union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "an empty struct": pa.array([{}], pa.struct([])),
}


@pytest.mark.parametrize("kind", UNSTORABLE)
def test_what_parquet_cannot_hold_is_refused_by_name(connection, name, kind):
    with fails("INVALID_ARGUMENT", "culprit") as error:
        ingest(connection, name, pa.table({"innocent": [1], "culprit": UNSTORABLE[kind]}))
    assert "innocent" not in str(error.value)
    assert "panic" not in str(error.value)
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")


def test_odd_columns_are_refused(connection, name):
    with fails("INVALID_ARGUMENT", 'two columns are named "a"'):
        ingest(connection, name, pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with fails("INVALID_ARGUMENT", "at least one column"):
        ingest(connection, name, pa.record_batch([], names=[]))


def test_moments_and_days_are_values_in_sql(connection, name):
    data = pa.table({"d": [dt.date(2026, 2, 3)], "t": [dt.datetime(2026, 2, 3, 4, 5, 6)]})
    ingest(connection, name, data)
    got = rows(connection, f"select d + interval '1 day', extract(hour from t) from {name} where d = '2026-02-03'")
    assert [str(value)[:10] for value in got[0]] == ["2026-02-04", "4"]
