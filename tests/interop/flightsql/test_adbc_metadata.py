"""What there is, as the ADBC driver asks for it."""

import json

import pyarrow as pa
import pytest

import samples
from conftest import Server
from helpers import fails, run

SYSTEM = "SYSTEM TABLE"


@pytest.fixture(scope="module")
def known(request, tmp_path_factory):
    """A connection to a server of which everything is known."""
    root = tmp_path_factory.mktemp("metadata")
    samples.write(root)
    server = Server(root)
    request.addfinalizer(server.stop)
    with server.connect() as connection:
        run(
            connection,
            "create schema finance",
            "create table finance.people as select 1 as n",
            'create table finance."per_cent" as select 1 as n',
            'create table finance."perXcent" as select 1 as n',
            "create view grown as select id, name from people where height > 1.6",
            "create temporary table mine as select 1 as n",
        )
        yield connection


def objects(connection, **filters):
    """{catalog: {schema: {table: type}}}, with None for what is not shown at this depth."""
    found = {}
    for catalog in connection.adbc_get_objects(**filters).read_all().to_pylist():
        schemas = catalog["catalog_db_schemas"]
        found[catalog["catalog_name"]] = schemas and {
            schema["db_schema_name"]: schema["db_schema_tables"]
            and {table["table_name"]: table["table_type"] for table in schema["db_schema_tables"]}
            for schema in schemas
        }
    return found


PUBLIC = {"grown": "VIEW", "mine": "LOCAL TEMPORARY", "numbers": "TABLE", "people": "TABLE", "types": "TABLE"}
FINANCE = {"per_cent": "TABLE", "perXcent": "TABLE", "people": "TABLE"}


def test_each_depth_shows_more(known):
    assert not objects(known, depth="catalogs")["airstrip"]
    schemas = objects(known, depth="db_schemas")["airstrip"]
    assert list(schemas) == ["finance", "information_schema", "public", "system"]
    assert not any(schemas.values())
    for depth in ("tables", "all"):
        found = objects(known, depth=depth)
        assert list(found) == ["airstrip"]
        tables = found["airstrip"]
        assert tables["public"] == PUBLIC
        assert tables["finance"] == FINANCE
        assert tables["system"] == {"queries": SYSTEM, "sessions": SYSTEM, "trash": SYSTEM}
        assert {"tables", "columns", "schemata", "views"} <= set(tables["information_schema"])
        assert set(tables["information_schema"].values()) == {SYSTEM}


def tables(connection, **filters):
    found = objects(connection, depth="tables", **filters)
    return {
        f"{schema}.{table}"
        for schemas in found.values()
        for schema, tables in (schemas or {}).items()
        for table in tables or {}
    }


FILTERS = [
    ({"table_name_filter": "people"}, {"public.people", "finance.people"}),
    ({"table_name_filter": "pe%"}, {"public.people", "finance.people", "finance.per_cent", "finance.perXcent"}),
    ({"table_name_filter": "peopl_"}, {"public.people", "finance.people"}),
    ({"table_name_filter": "PEOPLE"}, set()),
    ({"table_name_filter": ""}, set()),
    ({"db_schema_filter": "finance"}, {f"finance.{name}" for name in FINANCE}),
    ({"db_schema_filter": "fin%", "table_name_filter": "people"}, {"finance.people"}),
    ({"db_schema_filter": "nowhere"}, set()),
    ({"catalog_filter": "airstrip", "db_schema_filter": "public"}, {f"public.{name}" for name in PUBLIC}),
    ({"catalog_filter": "other"}, set()),
    ({"table_types_filter": ["VIEW"]}, {"public.grown"}),
    ({"table_types_filter": ["view"]}, {"public.grown"}),
    ({"table_types_filter": ["LOCAL TEMPORARY"]}, {"public.mine"}),
    (
        {"table_types_filter": ["BASE TABLE"], "db_schema_filter": "public"},
        {"public.numbers", "public.people", "public.types"},
    ),
    (
        {"table_types_filter": ["TABLE", "VIEW"], "table_name_filter": "%r%"},
        {"public.numbers", "public.grown", "finance.per_cent", "finance.perXcent"},
    ),
    ({"table_types_filter": ["SYSTEM TABLE"], "db_schema_filter": "system"}, {"system.queries", "system.sessions", "system.trash"}),
    ({"table_types_filter": ["SYNONYM"]}, set()),
]


@pytest.mark.parametrize("filters, expected", FILTERS, ids=str)
def test_filters(known, filters, expected):
    assert tables(known, **filters) == expected


def test_columns(known):
    def columns(**filters):
        [catalog] = known.adbc_get_objects(depth="all", db_schema_filter="public", **filters).read_all().to_pylist()
        [schema] = catalog["catalog_db_schemas"]
        [table] = schema["db_schema_tables"]
        return table["table_columns"]

    people = columns(table_name_filter="people")
    assert [(column["column_name"], column["ordinal_position"], column["xdbc_type_name"]) for column in people] == [
        ("id", 1, "BIGINT"),
        ("name", 2, "VARCHAR"),
        ("born", 3, "DATE"),
        ("height", 4, "DOUBLE"),
    ]
    assert {column["xdbc_scope_table"] for column in people} == {"people"}
    assert [column["column_name"] for column in columns(table_name_filter="people", column_name_filter="h%")] == [
        "height"
    ]
    assert [column["column_name"] for column in columns(table_name_filter="grown")] == ["id", "name"]
    assert [column["column_name"] for column in columns(table_name_filter="mine")] == ["n"]


def test_the_schema_of_a_table(known):
    def plain(schema):
        return pa.schema([field.remove_metadata() for field in schema])

    assert plain(known.adbc_get_table_schema("numbers")) == samples.NUMBERS.schema
    # Of several schemas' tables of one name the driver takes the first, so here the schema has to be said.
    assert plain(known.adbc_get_table_schema("people", db_schema_filter="public")) == samples.PEOPLE.schema
    for filters in (
        {"db_schema_filter": "finance"},
        {"catalog_filter": "airstrip", "db_schema_filter": "finance"},
    ):
        schema = known.adbc_get_table_schema("people", **filters)
        assert plain(schema) == pa.schema([pa.field("n", pa.int64())])
    assert known.adbc_get_table_schema("grown").names == ["id", "name"]
    assert known.adbc_get_table_schema("mine").names == ["n"]
    assert known.adbc_get_table_schema("per_cent", db_schema_filter="finance").names == ["n"]
    metadata = known.adbc_get_table_schema("people", db_schema_filter="public").field("name").metadata
    assert metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == b"VARCHAR"
    assert metadata[b"ARROW:FLIGHT:SQL:SCHEMA_NAME"] == b"public"
    for filters in ({}, {"db_schema_filter": "nowhere"}, {"catalog_filter": "other"}):
        with fails("NOT_FOUND"):
            known.adbc_get_table_schema("missing" if not filters else "people", **filters)


def test_table_schemas_are_those_of_results(known):
    """With replaced types, too: what is promised is what a query gives."""
    for table in ("people", "numbers", "types", "grown", "mine"):
        promised = known.adbc_get_table_schema(table, db_schema_filter="public")
        with known.cursor() as cursor:
            schema = cursor.execute(f"select * from {table}").fetch_arrow_table().schema
        assert pa.schema([field.remove_metadata() for field in promised]) == schema


def test_table_types(known):
    assert known.adbc_get_table_types() == ["LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW"]


def test_info(known):
    info = known.adbc_get_info()
    assert info["vendor_name"] == "Airstrip"
    assert info["vendor_version"].count(".") == 2
    assert info["vendor_arrow_version"].count(".") == 2
    assert info["driver_name"] == "ADBC Flight SQL Driver - Go"


def test_the_current_catalog_and_schema(known):
    assert (known.adbc_current_catalog, known.adbc_current_db_schema) == ("airstrip", "public")
    known.adbc_current_db_schema = "finance"
    try:
        assert known.adbc_current_db_schema == "finance"
        with known.cursor() as cursor:
            assert cursor.execute("select n from people").fetchall() == [(1,)]
            assert cursor.execute("show schema").fetchall() == [("schema", "finance")]
            cursor.execute("use public")
        assert known.adbc_current_db_schema == "public"
    finally:
        known.adbc_current_db_schema = "public"
    known.adbc_current_catalog = "airstrip"
    with fails("INVALID_ARGUMENT", "catalog"):
        known.adbc_current_catalog = "other"
    assert known.adbc_current_catalog == "airstrip"


class TestSessionOptions:
    OPTION = "adbc.flight.sql.session.option."

    def get(self, connection, name):
        return connection.adbc_connection.get_option(self.OPTION + name)

    def set(self, connection, name, value, kind="option."):
        connection.adbc_connection.set_options(**{f"adbc.flight.sql.session.{kind}{name}": value})

    def test_all_at_once(self, connection):
        text = connection.adbc_connection.get_option("adbc.flight.sql.session.options")
        assert json.loads(text) == {
            "catalog": "airstrip",
            "endpoints": "1",
            "schema": "public",
            "time_zone": "UTC",
            "types": "compatible",
        }

    def test_set_get_erase(self, connection):
        self.set(connection, "types", "native")
        assert self.get(connection, "types") == "native"
        self.set(connection, "types", "", kind="optionerase.")
        assert self.get(connection, "types") == "compatible"

    def test_other_kinds_of_values(self, connection):
        self.set(connection, "datafusion.optimizer.prefer_hash_join", "false", kind="optionbool.")
        assert self.get(connection, "datafusion.optimizer.prefer_hash_join") == "false"
        with fails("INVALID_ARGUMENT", "invalid value"):
            self.set(connection, "types", '["native"]', kind="optionstringlist.")

    @pytest.mark.parametrize(
        "name, value, reason", [("nonsense", "1", "name"), ("types", "odd", "value"), ("time_zone", "x", "value")]
    )
    def test_wrong_ones(self, connection, name, value, reason):
        with fails("INVALID_ARGUMENT", f"{name}.*invalid {reason}"):
            self.set(connection, name, value)

    def test_what_is_not_set_is_not_found(self, connection):
        with fails("NOT_FOUND"):
            self.get(connection, "nonsense")


def test_statistics_are_not_in_the_driver(known):
    with fails("NOT_IMPLEMENTED"):
        known.adbc_get_statistics()
