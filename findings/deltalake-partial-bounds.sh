#!/usr/bin/env bash
# deltalake 1.6.6: to_pyarrow_dataset() loses the rows of a file whose statistics lack one column's bounds.
#
# Guess: a column that has no minValues and maxValues in an add action is one of which nothing is known, so that its
# file is read (the Delta protocol: statistics are optional, also by column).
# Seen: where another file of the table has bounds of that column, the missing ones are taken for NULL, and the filter of
# PyArrow's dataset skips the file: rows are lost without a word. A file without any statistics, or with numRecords and
# nullCount alone, is read. Writers leave bounds out for NaN, infinities and long texts, so that such tables are
# common. The library's own scan and polars 2.1.0 find the row.
#
# Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1 polars==2.1.0

cat > try.py <<'PY'
import json
import shutil

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds


def counts(stats):
    """The rows with s > 'y', of which there is one, where the first file has these statistics."""
    shutil.rmtree("t", ignore_errors=True)
    deltalake.write_deltalake("t", pa.table({"id": [1, 2], "s": ["m", "z"]}))
    deltalake.write_deltalake("t", pa.table({"id": [5], "s": ["k"]}), mode="append")
    entry = "t/_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in open(entry)]
    for action in actions:
        if "add" in action:
            action["add"]["stats"] = json.dumps(stats)
    open(entry, "w").write("\n".join(map(json.dumps, actions)))
    table = deltalake.DeltaTable("t")
    dataset = table.to_pyarrow_dataset().to_table(filter=ds.field("s") > "y").num_rows
    scan = pa.table(table.scan(predicate="s > 'y'")).num_rows
    polars = pl.scan_delta("t").filter(pl.col("s") > "y").collect().height
    return f"dataset {dataset}, scan {scan}, polars {polars}"


whole = {"numRecords": 2, "minValues": {"id": 1, "s": "m"}, "maxValues": {"id": 2, "s": "z"}, "nullCount": {"id": 0, "s": 0}}
partial = {"numRecords": 2, "minValues": {"id": 1}, "maxValues": {"id": 2}, "nullCount": {"id": 0, "s": 0}}
print("bounds of both columns:", counts(whole))
print("bounds of one column:", counts(partial))
print("no bounds:", counts({"numRecords": 2, "nullCount": {"id": 0, "s": 0}}))
PY

cat > expected <<'OUT'
bounds of both columns: dataset 1, scan 1, polars 1
bounds of one column: dataset 0, scan 1, polars 1
no bounds: dataset 1, scan 1, polars 1
OUT

env/bin/python try.py | tee seen
diff expected seen && echo "as described"
