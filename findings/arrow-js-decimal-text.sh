#!/usr/bin/env bash
# apache-arrow 21.2.0 (JavaScript) writes decimals of 64 bits without their sign and those of 256 bits with other digits.
#
# Guess: String(value) of a decimal is its unscaled integer in digits, whichever of Arrow's four widths the column
# has, as it is for 128 bits.
# Seen: a negative decimal64 is the text of 2^64 less the number. A decimal256 loses most of its digits: -1.25 is "-5",
# 10^30 is "0", and a number of 52 digits has 13. Nothing is raised, and JSON.stringify gives the same texts.
# valueOf(scale) is right for both as long as a number can hold it, so that only a reader who avoids the
# loss of a double gets the wrong digits.
#
# Source: https://github.com/apache/arrow-js/blob/main/src/util/bn.ts
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check pyarrow==26.0.1
npm install --silent --no-audit --no-fund apache-arrow@21.2.0 > /dev/null

cat > write.py <<'PY'
from decimal import Decimal

import pyarrow as pa

for name, type in [
    ("decimal64", pa.decimal64(18, 2)),
    ("decimal128", pa.decimal128(38, 2)),
    ("decimal256", pa.decimal256(60, 2)),
]:
    values = ["1.25", "-1.25", "-1234567890123.25"]
    if name != "decimal64":
        values += ["1" + "0" * 30 + ".00"]
    batch = pa.record_batch({"c": pa.array(map(Decimal, values), type)})
    with pa.ipc.new_stream(f"{name}.arrows", batch.schema) as writer:
        writer.write_batch(batch)
PY
env/bin/python write.py

cat > try.mjs <<'JS'
import { readFileSync } from "node:fs";
import { tableFromIPC } from "apache-arrow";

for (const name of ["decimal64", "decimal128", "decimal256"]) {
  const column = tableFromIPC(readFileSync(`${name}.arrows`)).getChild("c");
  console.log(`${name}:`, [...column].map(String).join(", "), "valueOf:", column.get(1).valueOf(2));
}
JS

cat > expected <<'OUT'
decimal64: 125, 18446744073709551491, 18446620616920539291 valueOf: -1.25
decimal128: 125, -125, -123456789012325, 100000000000000000000000000000000 valueOf: -1.25
decimal256: 5, -5, -5, 0 valueOf: -1.25
OUT

node try.mjs | tee seen
diff expected seen && echo "as described"
