"""marimo's SQL cells, and what its panel of data sources asks of a connection that it finds among a notebook's variables."""

import marimo
import polars as pl
import pytest
from marimo._sql.engines.adbc import AdbcDBAPIEngine
from marimo._sql.get_engines import engine_to_data_source_connection, get_engines_from_variables


@pytest.fixture
def engine(connection):
    """The engine that marimo chooses for a variable of a notebook."""
    [(name, engine)] = get_engines_from_variables([("connection", connection)])
    assert name == "connection"
    return engine


def test_the_connection_is_known_as_one_of_adbc(engine):
    assert isinstance(engine, AdbcDBAPIEngine)
    assert (engine.source, engine.dialect) == ("adbc", "airstrip")
    assert (engine.get_default_database(), engine.get_default_schema()) == ("airstrip", "public")


def test_the_panel_of_data_sources(engine):
    source = engine_to_data_source_connection("connection", engine)
    assert source.display_name == "airstrip (connection)"
    assert [database.name for database in source.databases] == ["airstrip"]
    assert (source.default_database, source.default_schema) == ("airstrip", "public")


def test_every_table_and_column(engine):
    [database] = engine.get_databases(include_schemas=True, include_tables=True, include_table_details=True)
    schemas = {schema.name: schema for schema in database.schemas}
    assert {"public", "information_schema", "system"} <= schemas.keys()
    [people] = [table for table in schemas["public"].tables if table.name == "people"]
    assert people.type == "table"
    assert [(c.name, c.type, c.external_type) for c in people.columns] == [
        ("id", "integer", "int64"),
        ("name", "string", "string"),
        ("height", "number", "double"),
    ]
    # Those of the server too: none is left out for a schema that cannot be had.
    [listed] = [d for d in engine.get_databases(include_schemas=True, include_tables=True, include_table_details=False)]
    counts = {schema.name: len(schema.tables) for schema in listed.schemas}
    assert {name: len(schema.tables) for name, schema in schemas.items()} == counts


def test_a_schema_that_is_opened(engine):
    tables = engine.get_tables_in_schema(schema="public", database="airstrip", include_table_details=False)
    assert "people" in [table.name for table in tables]
    details = engine.get_table_details(table_name="people", schema_name="public", database_name="airstrip")
    assert details.num_columns == 3


def test_a_view_is_shown_as_one(engine, connection):
    with connection.cursor() as cursor:
        cursor.execute("create view tall as select * from people where height > 1.7")
    tables = engine.get_tables_in_schema(schema="public", database="airstrip", include_table_details=True)
    assert {table.name: table.type for table in tables}["tall"] == "view"


def test_cells_of_a_notebook(uri, monkeypatch):
    # A cell is compiled from its text alone: it sees nothing of this function.
    monkeypatch.setenv("NOTEBOOK_URI", uri)
    app = marimo.App()

    @app.cell
    def _():
        import os

        import adbc_driver_flightsql.dbapi as dbapi
        import marimo as mo

        connection = dbapi.connect(os.environ["NOTEBOOK_URI"])
        return (connection, mo)

    @app.cell
    def _(connection, mo):
        made = mo.sql("create table notes (id bigint, text varchar)", engine=connection, output=False)
        filled = mo.sql("insert into notes values (1, 'a'), (2, 'b')", engine=connection, output=False)
        return (filled, made)

    @app.cell
    def _(connection, filled, made, mo):
        notes = mo.sql("select id, text from notes order by id", engine=connection)
        people = mo.sql("select name, height from people where id < 3 order by id", engine=connection)
        return (notes, people)

    _, definitions = app.run()
    assert isinstance(definitions["people"], pl.DataFrame)
    assert definitions["people"].rows() == [("Ada", 1.65), ("Grace", None)]
    assert definitions["notes"].rows() == [(1, "a"), (2, "b")]
    definitions["connection"].close()


def test_an_error_is_shown_whole(connection):
    with pytest.raises(Exception, match="no_such_table"):
        marimo.sql("select * from no_such_table", engine=connection, output=False)
    assert marimo.sql("select 1 as n", engine=connection, output=False)["n"].to_list() == [1]
