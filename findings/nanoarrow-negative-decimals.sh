#!/usr/bin/env bash
# nanoarrow 0.9.0 (Python) turns negative decimals into large positive ones, without a word.
#
# Guess: to_pylist() of a decimal column gives the decimal.Decimal values that PyArrow gives, of either sign.
# Seen: the two's complement integer is read as unsigned, so that -1.25 of decimal128 is 2^128 - 125 hundredths, and that
# is rounded to the precision of the column: twenty digits of a number that was never there. The decimals of 128 and
# of 256 bits and any scale are alike; those of 32 and 64 bits are refused. The buffers are right, so that an
# array handed on to another library is, too.
#
# Source: https://github.com/apache/arrow/blob/main/format/Schema.fbs (Decimal: "the representation is two's complement").
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check nanoarrow==0.9.0 pyarrow==26.0.1

cat > try.py <<'PY'
from decimal import Decimal

import nanoarrow as na
import pyarrow as pa

for type, value in [
    (pa.decimal128(10, 2), "1.25"),
    (pa.decimal128(10, 2), "-1.25"),
    (pa.decimal128(38, 0), "-1"),
    (pa.decimal256(60, 2), "-1.25"),
]:
    array = pa.array([Decimal(value)], type)
    read = na.Array(array)
    print(f"{type}: {value} is {read.to_pylist()[0]}, handed on {pa.array(read)[0]}")
PY

cat > expected <<'OUT'
decimal128(10, 2): 1.25 is 1.25, handed on 1.25
decimal128(10, 2): -1.25 is 3.402823669E+36, handed on -1.25
decimal128(38, 0): -1 is 3.4028236692093846346337460743176821146E+38, handed on -1
decimal256(60, 2): -1.25 is 1.15792089237316195423570985008687907853269984665640564039458E+75, handed on -1.25
OUT

env/bin/python try.py | tee seen
diff expected seen && echo "as described"
