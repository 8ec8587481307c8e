"""What a user writes today: Parquet files of one directory over pyarrow.flight, streamed batch by batch.

In the manner of the Arrow cookbook's streaming recipe, with only what the benchmarks ask of it.
usage: recipe_server.py ROOT      prints its address when it listens
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq


class RecipeServer(fl.FlightServerBase):
    """One file is one dataset; its file name is its path and its ticket."""

    def __init__(self, root: Path):
        super().__init__("grpc://127.0.0.1:0")
        self.root = root

    def describe(self, name: str) -> fl.FlightInfo:
        path = self.root / name
        # Two reads of the footer, as in the recipe.
        schema, metadata = pq.read_schema(path), pq.read_metadata(path)
        descriptor = fl.FlightDescriptor.for_path(name)
        endpoints = [fl.FlightEndpoint(name, [f"grpc://127.0.0.1:{self.port}"])]
        return fl.FlightInfo(schema, descriptor, endpoints, metadata.num_rows, metadata.serialized_size)

    def list_flights(self, context, criteria):
        return (self.describe(path.name) for path in self.root.iterdir())

    def get_flight_info(self, context, descriptor):
        return self.describe(descriptor.path[0].decode())

    def do_get(self, context, ticket):
        file = pq.ParquetFile(self.root / ticket.ticket.decode())
        return fl.GeneratorStream(file.schema_arrow, file.iter_batches())

    def do_put(self, context, descriptor, reader, writer):
        with pq.ParquetWriter(self.root / descriptor.path[0].decode(), reader.schema) as sink:
            for chunk in reader:
                sink.write_table(pa.Table.from_batches([chunk.data]))


if __name__ == "__main__":
    server = RecipeServer(Path(sys.argv[1]))
    print(f"grpc://127.0.0.1:{server.port}", flush=True)
    server.serve()
