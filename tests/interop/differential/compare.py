"""Whether two results are the same: values as SQL compares them, rows in order or as a multiset."""

import datetime as dt
import math
from collections import Counter
from decimal import Decimal


def plain(value):
    """A value without what the two systems may type differently: sums of integers, decimals' scales, the sign of zero."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, Decimal):
        return value.normalize() if value else Decimal(0)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return str(value)
        return Decimal(repr(value)).normalize() if value else Decimal(0)
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dict):
        return tuple((key, plain(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return tuple(plain(inner) for inner in value)
    return value


def near(one, other):
    """Equal, but for the last digits of numbers: sums of doubles depend on the order."""
    if one == other:
        return True
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return abs(one - other) <= Decimal("1e-9") * max(1, abs(one), abs(other))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(near, one, other))
    return False


def _key(row):
    return [(value is None, str(type(value)), str(value)) for value in row]


def difference(ours, theirs, ordered):
    """What is different between two lists of rows, in words; `None` if nothing is."""
    ours, theirs = ([tuple(plain(value) for value in row) for row in rows] for rows in (ours, theirs))
    if not ordered:
        ours, theirs = sorted(ours, key=_key), sorted(theirs, key=_key)
    if len(ours) == len(theirs) and all(map(near, ours, theirs)):
        return None
    more, fewer = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    if not more and not fewer:
        return "the same rows in another order"
    some = lambda rows: [tuple(map(str, row)) for row in list(rows)[:3]]
    return f"{len(ours)} rows, DuckDB {len(theirs)}; only here {some(more)}; only there {some(fewer)}"
