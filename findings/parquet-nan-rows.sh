#!/usr/bin/env bash
# PyArrow 26.0.1, DuckDB 2.0.0 and DataFusion 55.0.0 lose rows with NaN of a Parquet file to a filter.
#
# Guess: a filter on a Parquet file gives the rows that the same filter gives on the table in memory.
# Seen: Parquet's bounds of a row group leave NaN out, as the format says. Three of four readers take them for bounds of
# all values, so that a row group with NaN and some numbers is skipped by `isnan`, by `<>` and by what is larger than the
# largest number, all of which NaN passes in their own order. Nothing warns. DuckDB and DataFusion answer otherwise for
# the same rows in memory. polars 2.1.0 finds them.
#
# Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (ColumnOrder: readers
# that look for NaN are to ignore the bounds).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check pyarrow==26.0.1 duckdb==2.0.0 polars==2.1.0 datafusion==55.0.0

cat > try.py <<'PY'
import datafusion
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

nan, field, column = float("nan"), pc.field("c"), pl.col("c")
for values, sql, arrow, polars in [
    ([nan, 1.5], "isnan(c)", pc.is_nan(field), column.is_nan()),
    ([nan, 1.5], "c <> 1.5", field != 1.5, column != 1.5),
    ([nan, 5.0, 6.0], "not (c <= 6)", ~(field <= 6), ~(column <= 6)),
]:
    table = pa.table({"c": values})
    pq.write_table(table, "a.parquet")
    context = datafusion.SessionContext()
    context.register_parquet("t", "a.parquet")
    found = {
        "in memory": table.filter(arrow).num_rows,
        "PyArrow": ds.dataset("a.parquet").to_table(filter=arrow).num_rows,
        "DuckDB": duckdb.sql(f"select count(*) from 'a.parquet' where {sql}").fetchall()[0][0],
        "DataFusion": context.sql(f"select count(*) as n from t where {sql}").to_pydict()["n"][0],
        "polars": pl.scan_parquet("a.parquet").filter(polars).collect().height,
    }
    print(f"{values} {sql}:", ", ".join(f"{reader} {rows}" for reader, rows in found.items()))
PY

cat > expected <<'OUT'
[nan, 1.5] isnan(c): in memory 1, PyArrow 0, DuckDB 0, DataFusion 0, polars 1
[nan, 1.5] c <> 1.5: in memory 1, PyArrow 0, DuckDB 0, DataFusion 0, polars 1
[nan, 5.0, 6.0] not (c <= 6): in memory 1, PyArrow 0, DuckDB 0, DataFusion 0, polars 1
OUT

env/bin/python try.py | tee seen
diff expected seen && echo "as described"
