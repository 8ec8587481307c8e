"""Starts the real server (`$AIRSTRIP_BIN`), and one session of Spark with the Flight SQL JDBC driver.

By hand: `pip install -r requirements.txt` in a venv, then `JAR_CACHE=DIR AIRSTRIP_BIN=../../../target/debug/airstrip
pytest`, where the folder DIR keeps the driver's jar.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pytest
from pyspark.sql import SparkSession

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "shared"))

import java  # noqa: E402

numbers = itertools.count()


class Server:
    """A running `airstrip serve ROOT`, at `address`."""

    def __init__(self, root, log):
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=java.environment(),
            preexec_fn=java.die_with_parent,
        )
        self.address = java.started(self._process)
        assert self.address, f"no line with the server's address:\n{log.read_text()}"
        self._connection = dbapi.connect(f"grpc://{self.address}", autocommit=True)
        self.url = f"jdbc:arrow-flight-sql://{self.address}/?useEncryption=false"

    def sql(self, text):
        """Rows as another client sees them, each a dict."""
        with self._connection.cursor() as cursor:
            return cursor.execute(text).fetch_arrow_table().to_pylist()

    def run(self, text):
        """A statement that changes something."""
        with self._connection.cursor() as cursor:
            cursor.execute(text)

    def queries(self, part):
        """The texts of statements that hold `part`, without those that ask for them."""
        found = self.sql(f"""select sql from system.queries
            where strpos(sql, '{part}') > 0 and strpos(sql, 'system.queries') = 0 order by submitted""")
        return [row["sql"] for row in found]

    def stop(self):
        self._connection.close()
        stopped = java.stop(self._process)
        self._log.close()
        assert stopped, f"exit code {self._process.returncode} after SIGTERM"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spark")
    (folder / "datasets").mkdir()
    server = Server(folder / "datasets", folder / "log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def jar():
    [pin] = [pin for pin in java.pins(HERE.parent / "jdbc/jars.txt") if pin.name == "flight-sql-jdbc-driver"]
    [jar] = java.provide(Path(os.environ["JAR_CACHE"]).resolve(), [pin])
    return str(jar)


@pytest.fixture(scope="session")
def spark(server, jar):
    # Its own name may not be found by the resolver, which takes it minutes to give up.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    catalog = "spark.sql.catalog.airstrip"
    options = {
        "spark.driver.extraClassPath": jar,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -XX:TieredStopAtLevel=1 {java.OPENS}",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        catalog: "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
        f"{catalog}.url": server.url,
        f"{catalog}.driver": DRIVER,
        f"{catalog}.pushDownAggregate": "true",
        f"{catalog}.pushDownLimit": "true",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    yield spark
    spark.stop()


DRIVER = "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver"


class Jdbc:
    """Spark's JDBC source, with the driver's name and the server's URL."""

    def __init__(self, spark, server):
        self.spark = spark
        self.server = server

    def read(self, table, **options):
        """A table, or a subquery with an alias."""
        options |= {"url": self.server.url, "driver": DRIVER, "dbtable": table}
        return self.spark.read.format("jdbc").options(**options).load()

    def write(self, frame, table, mode, **options):
        options |= {"url": self.server.url, "driver": DRIVER, "dbtable": table}
        frame.write.format("jdbc").options(**options).mode(mode).save()

    def create(self, frame, table):
        """CREATE TABLE with the columns that Spark writes for a frame."""
        jvm = self.spark._jvm
        dialect = jvm.org.apache.spark.sql.jdbc.JdbcDialects.get(self.server.url)
        columns = jvm.org.apache.spark.sql.execution.datasources.jdbc.JdbcUtils.schemaString(
            dialect, frame._jdf.schema(), False, jvm.scala.Option.empty()
        )
        self.server.run(f"CREATE TABLE {table} ({columns})")
        return columns


@pytest.fixture
def jdbc(spark, server):
    return Jdbc(spark, server)


@pytest.fixture
def name():
    """The name of a table that no other test uses."""
    return f"table{next(numbers)}"
