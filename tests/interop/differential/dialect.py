"""Where Airstrip and DuckDB differ on purpose: everything else is a fault.

Each entry has its reason, and is as narrow as it can be told.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Callable

BIGINT = range(-(2**63), 2**63)


@dataclass
class Difference:
    reason: str
    # Whether it explains: the query, our error (or None), DuckDB's rows (or None where it failed).
    explains: Callable[[object, str | None, list | None], bool]


def _beyond_bigint(_, error, rows):
    """A sum of BIGINT is a HUGEINT there."""
    numbers = [value for row in rows or [] for value in row if isinstance(value, int | Decimal)]
    return error is not None and "overflow" in error.lower() and any(int(number) not in BIGINT for number in numbers)


def _related_by_range(query, error, _):
    """DataFusion makes no join of it, and says so."""
    return error is not None and "ScalarSubquery" in error and " < x.id" in query.text


def _related_below(_, error, __):
    """DataFusion would ask the condition in the wrong place: see docs/decisions/right-answers.md, "correlation"."""
    return error is not None and "a subquery that mentions its outer query below" in error


def _twice_in_sets(query, error, _):
    """DataFusion names the columns of grouping sets after their expressions (kin of apache/datafusion#18975)."""
    return error is not None and "duplicate qualified field name" in error and ("rollup (" in query.text or "cube (" in query.text)


DIFFERENCES = [
    Difference("one expression twice in ROLLUP or CUBE is refused", _twice_in_sets),
    Difference("a subquery that is related below a window, LIMIT, an outer join or a total is refused", _related_below),
    Difference("a scalar subquery that is related by an inequality is refused", _related_by_range),
    Difference("the sum of BIGINT is BIGINT as in its inputs, so one beyond it is an error; DuckDB's is HUGEINT", _beyond_bigint),
]


def explanation(query, error, rows):
    """The reason of a known difference, if this is one."""
    return next((known.reason for known in DIFFERENCES if known.explains(query, error, rows)), None)
