"""DuckDB.

Its own way to Flight (the community extension airport) is downloaded when it is installed, and wants actions of its
own from a server, so it is not tested here. What works without either is to hand it ADBC's stream of batches.
"""

import duckdb


def test_a_result_is_queried_without_a_copy(connection):
    with connection.cursor() as cursor, duckdb.connect() as local:
        reader = cursor.execute("select * from numbers").fetch_record_batch()
        local.register("numbers", reader)
        assert local.sql("select count(*), sum(n), max(s) from numbers").fetchall() == [
            (200_000, sum(range(200_000)), "text 99999")
        ]


def test_a_result_is_ingested(connection, name):
    with connection.cursor() as cursor, duckdb.connect() as local:
        reader = local.sql("select range as n, 'x' || range as s from range(1000)").to_arrow_reader(100)
        assert cursor.adbc_ingest(name, reader) == 1000
        assert cursor.execute(f"select count(*), sum(n), max(s) from {name}").fetchall() == [(1000, 499_500, "x999")]
