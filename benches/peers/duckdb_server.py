"""The SQL peer: DuckDB behind pyarrow.flight, which is what a user would write in an afternoon.

A ticket is one SQL query, its result is streamed; every Parquet file of the directory is a view named by its stem.
usage: duckdb_server.py ROOT      prints its address when it listens
"""

import sys
from pathlib import Path

import duckdb
import pyarrow.flight as fl


class DuckDBServer(fl.FlightServerBase):
    """Each ticket runs on a cursor of its own, so that requests do not wait for each other."""

    def __init__(self, root: Path):
        super().__init__("grpc://127.0.0.1:0")
        self.database = duckdb.connect()
        for path in root.glob("*.parquet"):
            self.database.execute(f"create view \"{path.stem}\" as select * from '{path}'")

    def do_get(self, context, ticket):
        query = self.database.cursor().sql(ticket.ticket.decode())
        return fl.RecordBatchStream(query.to_arrow_reader(65_536))


if __name__ == "__main__":
    server = DuckDBServer(Path(sys.argv[1]))
    print(f"grpc://127.0.0.1:{server.port}", flush=True)
    server.serve()
