#!/usr/bin/env bash
# arrow-go 18.8.0 reads and writes the subnormal numbers of float16 as other numbers, and cuts where it should round.
#
# Guess: Float32() of a float16 column gives the numbers that PyArrow wrote (each float16 is exactly a float32), and New()
# gives the nearest float16 of a float32.
# Seen: what is smaller than 2^-14 is read as a float32 with the same fraction and no exponent: 2^-24 (6e-8) becomes
# 1.1e-41, and 2^-15 becomes 5.9e-39. The other way such numbers become 0. New() cuts the digits that do not
# fit: 1.0014648 becomes 1.0009766 and not 1.0019531, and 65520 becomes 65504 and not infinity. There and back gives
# the bits of the start, so that a test of both hides it.
#
# Source: https://pkg.go.dev/github.com/apache/arrow-go/v18/arrow/float16 (IEEE 754 half precision); values by NumPy.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.6

cat > write.py <<'PY'
import numpy as np
import pyarrow as pa

wide = np.array([1.5, 2**-14, 2**-15, -(2**-24), 1.0014648, 65520], np.float32)
with np.errstate(over="ignore"):
    half = wide.astype(np.float16)
batch = pa.record_batch({"half": half, "wide": wide, "true": half.astype(np.float32)})
with pa.ipc.new_stream("a.arrows", batch.schema) as writer:
    writer.write_batch(batch)
PY
env/bin/python write.py

cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func main() {
	file, err := os.Open("a.arrows")
	if err != nil {
		panic(err)
	}
	reader, err := ipc.NewReader(file)
	if err != nil {
		panic(err)
	}
	for reader.Next() {
		columns := reader.RecordBatch().Columns()
		half := columns[0].(*array.Float16)
		wide := columns[1].(*array.Float32)
		right := columns[2].(*array.Float32)
		for row := 0; row < half.Len(); row++ {
			made := float16.New(wide.Value(row))
			fmt.Printf("%v: read %v, made %04x; NumPy %v, %04x\n", wide.Value(row), half.Value(row).Float32(),
				made.Uint16(), right.Value(row), half.Value(row).Uint16())
		}
	}
}
GO
cat > go.mod <<'MOD'
module try

go 1.25

require github.com/apache/arrow-go/v18 v18.8.0
MOD
mkdir module
mv main.go go.mod a.arrows module
cd module
export GOPATH="$folder/go" GOFLAGS=-mod=mod
go mod tidy 2> tidy.log || { cat tidy.log; exit 1; }

cat > expected <<'OUT'
1.5: read 1.5, made 3e00; NumPy 1.5, 3e00
6.1035156e-05: read 6.1035156e-05, made 0400; NumPy 6.1035156e-05, 0400
3.0517578e-05: read 5.877472e-39, made 0000; NumPy 3.0517578e-05, 0200
-5.9604645e-08: read -1.148e-41, made 8000; NumPy -5.9604645e-08, 8001
1.0014648: read 1.0019531, made 3c01; NumPy 1.0019531, 3c02
65520: read +Inf, made 7bff; NumPy +Inf, 7c00
OUT

go run . | tee seen
diff expected seen && echo "as described"
