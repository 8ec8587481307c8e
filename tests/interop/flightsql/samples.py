"""The tables that every server of these tests begins with."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

PEOPLE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "name": ["Ada", "Grace", "Edsger", None],
        "born": [dt.date(1815, 12, 10), dt.date(1906, 12, 9), dt.date(1930, 5, 11), None],
        "height": [1.65, 1.52, None, 1.8],
    },
    schema=pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("born", pa.date32()),
            pa.field("height", pa.float64()),
        ]
    ),
)

ROWS = 200_000
NUMBERS = pa.table({"n": pa.array(range(ROWS)), "s": [f"text {n}" for n in range(ROWS)]})

# One column for each type that the default profile replaces, and some that it leaves alone.
TYPES = pa.table(
    {
        "text_view": pa.array(["a", None, "a text that is too long for a view"], pa.string_view()),
        "bytes_view": pa.array([b"a", None, b"\x00"], pa.binary_view()),
        "dictionary": pa.array(["x", "y", "x"]).dictionary_encode(),
        "list": pa.array([["a"], [], None], pa.list_(pa.string_view())),
        "struct": pa.array([{"d": "a"}, {"d": None}, None], pa.struct([("d", pa.string_view())])),
        "large": pa.array(["a", None, "b"], pa.large_string()),
        "half": pa.array([1.5, None, -2.0], pa.float16()),
        "decimal": pa.array([Decimal("1.25"), None, Decimal("-3.50")], pa.decimal128(10, 2)),
        "moment": pa.array([0, None, 1], pa.timestamp("us", "UTC")),
    }
)


def write(root):
    pq.write_table(PEOPLE, root / "people.parquet")
    pq.write_table(NUMBERS, root / "numbers.parquet", row_group_size=50_000)
    pq.write_table(TYPES, root / "types.parquet")
