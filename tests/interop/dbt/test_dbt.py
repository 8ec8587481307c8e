"""dbt with its adapter for Flight SQL (dbt-qod): a project of each kind of model, run, changed under, and run again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "project"
# A cold start of dbt takes several seconds.
SECONDS = 240

PROFILE = """
shop:
  target: here
  outputs:
    here:
      type: qod
      host: {host}
      port: {port}
      database: airstrip
      schema: shop
      use_tls: false
      threads: 4
"""


class Dbt:
    def __init__(self, folder, server):
        self.folder = folder
        host, port = server.address.split(":")
        shutil.copytree(PROJECT, folder)
        (folder / "profiles.yml").write_text(PROFILE.format(host=host, port=port))

    def __call__(self, *arguments):
        command = [sys.executable, "-m", "dbt.cli.main", *arguments]
        folders = ["--project-dir", self.folder, "--profiles-dir", self.folder]
        environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
        done = subprocess.run(
            [*command, *folders, "--no-use-colors"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"dbt {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def dbt(server, tmp_path):
    return Dbt(tmp_path / "project", server)


def rows(server, sql):
    with server.connect() as connection, connection.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def run(server, *statements):
    with server.connect() as connection:
        for sql in statements:
            with connection.cursor() as cursor:
                cursor.execute(sql)


def test_a_project_runs_twice(server, dbt):
    run(
        server,
        "create or replace table orders (id int, amount decimal(10, 2), country varchar, changed_at timestamp(6))",
        """insert into orders values
             (1, 10.00, 'de', timestamp '2026-01-01 00:00:00'),
             (2, 20.00, 'fr', timestamp '2026-01-01 00:00:00'),
             (3, 30.00, 'nl', timestamp '2026-01-01 00:00:00')""",
    )
    assert "All checks passed" in dbt("debug")
    dbt("seed")
    dbt("run")
    dbt("snapshot")
    dbt("test")
    assert rows(server, "select country, n from shop.totals order by country") == [
        ("France", 1),
        ("Germany", 1),
        ("It's the Netherlands", 1),
    ]

    run(
        server,
        "update orders set amount = 11.00, changed_at = timestamp '2026-01-02 00:00:00' where id = 1",
        "delete from orders where id = 2",
        "insert into orders values (4, 40.00, 'de', timestamp '2026-01-02 00:00:00')",
    )
    dbt("seed")
    dbt("run", "--vars", "{with_country: true}")
    dbt("snapshot")
    # The order that is gone stays in the incremental table.
    dbt("test", "--exclude", "relationships_orders_incremental_id__id__ref_orders_view_")

    assert sorted(rows(server, "select id, cast(amount as double) from shop.orders_incremental")) == [
        (1, 11.0),
        (2, 20.0),
        (3, 30.0),
        (4, 40.0),
    ]
    appended = "select id, cast(amount as double), country from shop.orders_appended"
    assert sorted(rows(server, appended), key=str) == [
        (1, 10.0, None),
        (1, 11.0, "Germany"),
        (2, 20.0, None),
        (3, 30.0, None),
        (4, 40.0, "Germany"),
    ]
    by_time = "select id, cast(amount as double), dbt_valid_to is null from shop.orders_by_time"
    assert sorted(rows(server, by_time)) == [
        (1, 10.0, False),
        (1, 11.0, True),
        (2, 20.0, True),
        (3, 30.0, True),
        (4, 40.0, True),
    ]
    by_value = "select id, cast(amount as double), dbt_valid_to is null from shop.orders_by_value"
    assert sorted(rows(server, by_value)) == [
        (1, 10.0, False),
        (1, 11.0, True),
        (2, 20.0, False),
        (3, 30.0, True),
        (4, 40.0, True),
    ]
    # dbt-qod makes dbt's temporary tables as lasting ones, which dbt does not drop: one a model, replaced by each run.
    left_over = """select table_name from information_schema.tables
                    where table_schema = 'shop' and (table_name like '%\\_\\_dbt%' or table_name like '%tmp%')
                    order by table_name"""
    assert rows(server, left_over) == [
        ("orders_appended__dbt_tmp",),
        ("orders_by_time__dbt_tmp",),
        ("orders_by_value__dbt_tmp",),
        ("orders_incremental__dbt_tmp",),
    ]


def test_documents_and_rebuilds(server, dbt):
    run(
        server,
        "create or replace table orders as select 1 as id, 1.5 as amount, 'de' as country, now() as changed_at",
    )
    dbt("build", "--full-refresh")
    assert "Catalog written" in dbt("docs", "generate")
    # A model that changes its kind.
    model = dbt.folder / "models/totals.sql"
    model.write_text(model.read_text().replace("table", "view"))
    dbt("run", "--select", "totals")
    kinds = "select table_type from information_schema.tables where table_schema = 'shop' and table_name = 'totals'"
    assert rows(server, kinds) == [("VIEW",)]
    model.write_text(model.read_text().replace("view", "table", 1))
    dbt("run", "--select", "totals")
    assert rows(server, kinds) == [("BASE TABLE",)]
