"""SQLAlchemy 2 with the dialect sqlalchemy-adbc, which asks by ADBC's GetObjects."""

import datetime
import decimal

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, Numeric, String, Table, create_engine, func, inspect, select, text


@pytest.fixture
def engine(server):
    engine = create_engine(f"adbc+flightsql://{server.address}?tls=false")
    yield engine
    engine.dispose()


def table(name):
    columns = [
        Column("id", Integer, nullable=False),
        Column("name", String(20)),
        Column("price", Numeric(10, 2)),
        Column("day", Date),
    ]
    return Table(name, MetaData(), *columns)


def test_tables_are_made_filled_and_read(engine):
    items = table("items")
    with engine.connect() as connection:
        items.create(connection)
        connection.execute(
            items.insert(),
            [
                {"id": 1, "name": "a", "price": decimal.Decimal("1.50"), "day": datetime.date(2026, 1, 1)},
                {"id": 2, "name": None, "price": decimal.Decimal("2.50"), "day": None},
            ],
        )
        rows = connection.execute(select(items).order_by(items.c.id)).all()
        assert rows[0] == (1, "a", decimal.Decimal("1.50"), datetime.date(2026, 1, 1))
        assert connection.execute(select(func.sum(items.c.price))).scalar() == decimal.Decimal("4.00")
        connection.execute(items.update().where(items.c.id == 2).values(name="b"))
        connection.execute(items.delete().where(items.c.name == "a"))
        assert connection.execute(select(items.c.id, items.c.name)).all() == [(2, "b")]
        items.drop(connection)


def test_tables_are_reflected(engine):
    with engine.connect() as connection:
        connection.execute(text("create schema shelf"))
        connection.execute(text("create table shelf.books (id int not null, title varchar, price decimal(10, 2))"))
        connection.execute(text("create view shelf.cheap as select * from shelf.books where price < 5"))
        inspector = inspect(connection)
        assert {"public", "shelf", "information_schema"} <= set(inspector.get_schema_names())
        # The dialect looks for tables whose type is "table", in small letters, which no Flight SQL server says.
        assert inspector.get_table_names(schema="shelf") == [] == inspector.get_view_names(schema="shelf")
        assert inspector.has_table("books", schema="shelf") and not inspector.has_table("papers", schema="shelf")
        columns = inspector.get_columns("books", schema="shelf")
        assert [column["name"] for column in columns] == ["id", "title", "price"]
        # ADBC's driver leaves out the fields of GetObjects that say so, which the dialect takes for "nullable" ...
        assert [column["nullable"] for column in columns] == [True, True, True]
        # ... so that tools have to ask the server.
        nullable = "select is_nullable from information_schema.columns where table_name = 'books' order by ordinal_position"
        assert connection.execute(text(nullable)).scalars().all() == ["NO", "YES", "YES"]
        books = Table("books", MetaData(), schema="shelf", autoload_with=connection)
        assert connection.execute(select(books.c.title)).all() == []


def test_what_tools_ask_answers(engine):
    with engine.connect() as connection:
        ask = lambda sql: connection.execute(text(sql)).scalar()
        assert ask("select current_schema()") == "public"
        assert ask("select current_catalog") == "airstrip"
        assert ask("select version()").startswith("Airstrip ")
        assert ask("select 1") == 1
