"""Uploads three batches, says `half`, and then waits for its death; with `on` it goes on writing."""

import sys
import time

import pyarrow as pa
from pyarrow import flight

uri, name, rows, *on = sys.argv[1:]
schema = pa.schema([("k", pa.int64())])
batch = pa.record_batch([pa.array(range(int(rows)))], schema)
writer, _ = flight.connect(uri).do_put(flight.FlightDescriptor.for_path(name), schema)
for _ in range(3):
    writer.write_batch(batch)
print("half", flush=True)
while True:
    if on:
        writer.write_batch(batch)
    else:
        time.sleep(1)
