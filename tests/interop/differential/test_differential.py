"""Every answer is DuckDB's, or differs for a reason that `dialect.py` tells."""

import os

from run import arguments, run

# Another seed, another 3,000 queries: `python run.py --seed N`.
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "20261129"))


def test_random_queries_and_statements_are_answered_as_duckdb_does():
    print(f"seed {SEED}")
    report = run(os.environ["AIRSTRIP_BIN"], arguments(["--queries", "3000", "--changes", "150", "--seed", str(SEED)]))
    report.show()
    assert sum(report.compared.values()) >= 3000
    assert not report.differ, f"{sum(report.differ.values())} answers differ, seed {SEED}: see above"
