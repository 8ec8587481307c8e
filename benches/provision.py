"""What a benchmark needs: pinned packages and generated data, made once and kept in the work directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
INSTALL_SECONDS = 600
GENERATE_SECONDS = 1800
ROWS = 10


def enter_venv(work: Path) -> None:
    """Go on in a virtual environment that holds exactly requirements.txt: re-executes unless already there."""
    venv = work / "venv"
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    # The stamp is written last, so an install that was interrupted starts over.
    stamp, wanted = venv / "installed.txt", REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(wanted.split())} into {venv}", file=sys.stderr)
        pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS]
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True, timeout=INSTALL_SECONDS)
        subprocess.run(pip, check=True, timeout=INSTALL_SECONDS)
        stamp.write_text(wanted)
    python = str(venv / "bin/python")
    os.execv(python, [python, *sys.argv])


def tpch(work: Path, scale: float, tables: tuple[str, ...] = ("lineitem", "orders")) -> Path:
    """The directory with these tables at this scale."""

    def generate(target: Path) -> None:
        tool = Path(sys.prefix) / "bin/tpchgen-cli"
        options = ["--quiet", "--scale-factor", f"{scale:g}", "--tables", ",".join(tables), "--output-dir", target]
        subprocess.run([tool, "parquet", *options], check=True, timeout=GENERATE_SECONDS)

    which = "" if tables == ("lineitem", "orders") else f"-{len(tables)}-tables"
    return made_once(work / f"tpch-sf{scale:g}{which}", generate)


def small_datasets(work: Path, count: int) -> Path:
    """A directory of `count` Parquet files of 3 columns and 10 rows: separate files of the same bytes."""

    def generate(target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        ids = range(ROWS)
        pq.write_table(pa.table({"id": ids, "value": [i / 2 for i in ids], "name": [f"row {i}" for i in ids]}), sink)
        content = sink.getvalue().to_pybytes()
        for number in range(count):
            (target / f"small_{number:05}.parquet").write_bytes(content)

    return made_once(work / f"small-{count}", generate)


def folder_of_writers(target: Path, files: int, writers: int) -> None:
    """A directory of so many files of 50 rows, of pyarrow, or in turn of it, of DuckDB and of one that notes no Arrow schema."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = range(50)
    table = pa.table({"id": pa.array(ids, pa.int64()), "value": [i / 2 for i in ids], "name": [f"row {i}" for i in ids]})
    target.mkdir()
    for number in range(files):
        path = target / f"{number:04}.parquet"
        writer = number % writers
        if writer == 0:
            pq.write_table(table, path)
        elif writer == 1:
            duckdb.from_arrow(table).write_parquet(str(path))
        else:
            pq.write_table(table, path, version="1.0", store_schema=False, use_dictionary=False)


def partitions(work: Path, count: int) -> Path:
    """A directory with `t`, a folder of so many folders `k=…` with a file of 10 rows each, and a table `few` of 20 of the keys."""

    def generate(target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        ids = range(ROWS)
        for key in range(count):
            folder = target / "t" / f"k={key}"
            folder.mkdir(parents=True)
            rows = pa.table({"id": [key * ROWS + i for i in ids], "v": [i / 2 for i in ids], "s": [f"row {i}" for i in ids]})
            pq.write_table(rows, folder / "part-0.parquet")
        keys = range(0, count, count // 20)
        pq.write_table(pa.table({"k": list(keys), "name": [f"key {key}" for key in keys]}), target / "few.parquet")

    return made_once(work / f"partitions-{count}", generate)


def made_once(path: Path, generate) -> Path:
    """`path`, filled by `generate` unless it exists; renamed into place, so that half a directory never counts."""
    if not path.exists():
        print(f"generating {path}", file=sys.stderr)
        unfinished = path.with_name(path.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        generate(unfinished)
        unfinished.rename(path)
    return path
