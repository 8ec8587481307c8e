"""Random calls of functions whose answers are wrong in one engine or another; most over the table of nested values."""

from queries import Query, kind, table
from special import UUIDS


def share(x):
    return f"{x.number(1, 10**7) / 1e7:.7f}"


@kind
def percentiles(x):
    of = x.pick("q", "x", "q")
    value = f"percentile_cont({share(x)}) within group (order by {of})"
    return x.pick(
        lambda: Query(f"select {value} from n0 where id < {x.number(5, 600)}"),
        lambda: Query(f"select k, {value} p, percentile_cont({share(x)}) within group (order by {of}) r from n0 group by k"),
    )


@kind
def correlations(x):
    """Of values far from zero and near each other."""
    return Query(f"select k, round(corr(x, y), {x.number(3, 6)}) c, count(*) from n0 where id < {x.number(100, 600)} group by k having count(*) > 3")


@kind
def far_places(x):
    places = x.pick("400", "310", "300", "2", "-3", "0", "15")
    # To places before those of any number: zero, but DuckDB's `trunc` gives the number itself.
    call = x.pick(f"round(%s, {places})", f"trunc(%s, {places})", f"round(%s, -{x.pick('400', '310')})")
    return Query(f"select id, {call % x.pick('q', 'x', 'q / 3')} v from n0 where id < {x.number(10, 600)}")


@kind
def keys_of_maps(x):
    key = x.pick("k", "j", "x", "none")
    call = f"{x.pick('map_extract', 'element_at')}(ma, '{key}')"
    return x.pick(
        lambda: Query(f"select id, {call} v from n0 where {x.pick('ma is not null', 'k > 0', 'true')}"),
        lambda: Query(f"select count(*) from n0 where {{{{array_length¦len}}}}({call}) = 1"),
    )


@kind
def lists_of_nulls(x):
    column = f"(select id, null n from {table(x)} where id < {x.number(3, 30)}) q"
    return Query(f"select id, {x.pick('[n]', '[n, n]', '{{make_array¦list_value}}(n)')} l from {column}")


@kind
def flags_of_patterns(x):
    t, pattern, flags = table(x), x.pick("[ab]", "A", "b+", "."), x.pick("", "", "i", "g", "gi")
    return Query(
        x.pick(
            f"select id, regexp_replace(e, '{pattern}', 'X', '{flags}') r from {t}",
            f"select id from {t} where {{{{regexp_like¦regexp_matches}}}}(e, '{pattern}', '{flags.replace('g', '')}')",
        )
    )


@kind
def moments_of_texts(x):
    """A text without a zone is one of the session's, which is UTC."""
    moment = "{{to_timestamp(t)¦cast(t as timestamptz)}}"
    return Query(
        x.pick(
            f"select id, {moment} v from n0 where id < {x.number(3, 600)}",
            f"select count(*), min({moment}), max({moment}) from n0",
            f"select id from n0 where {moment} {x.pick('<', '>=', '=')} z",
        )
    )


@kind
def far_moments(x):
    """Beyond 1677 to 2262, where nanoseconds end."""
    part = x.pick("year", "month", "day", "hour", "quarter")
    hours = x.pick("1 hour", "6 hours", "1 day")
    year = x.pick("0999", "1500", "2262", "9999")
    return Query(
        x.pick(
            f"select id, date_trunc('{part}', far) v from n0 where id < {x.number(3, 600)}",
            f"select id, {{{{date_bin(interval '{hours}', far)¦time_bucket(interval '{hours}', far, timestamp '1970-01-01')}}}} v from n0",
            f"select count(*), min(id) from n0 where far {x.pick('<', '>=', '>', '<=')} '{year}-06-01'",
            f"select count(*), max(id) from n0 where far {x.pick('<', '>=', '<>')} timestamp '{year}-03-01 10:30:00'",
            f"select count(*) from n0 where fd {x.pick('<', '>=')} far",
            f"select id from n0 where fd {x.pick('<', '>')} timestamp '{year}-01-01 01:00:00'",
            f"select count(*) from n0 where extract(year from {{{{ns¦cast(ns as timestamp)}}}}) {x.pick('<', '<=', '<>')} {x.pick('9999', '2262', '3000', '2010')}",
        )
    )


@kind
def moments_of_zones(x):
    """A time without a zone is one of the session's, whatever the zone of the column that it is compared with."""
    how = x.pick("=", "<", ">=", "<>")
    clock = f"timestamp '2024-03-{x.number(10, 12)} {x.number(0, 24):02}:00:00'"
    return Query(
        x.pick(
            f"select count(*), min(id) from n0 where z {how} n",
            f"select id from n0 where n {how} z",
            f"select count(*) from n0 where z {how} {clock}",
            f"select count(*) from n0 x join n0 y on x.z = y.n where x.id < {x.number(50, 200)}",
            f"select id from n0 where z between {clock} and timestamp '2024-03-11 12:00:00'",
        )
    )


@kind
def extremes(x):
    of = x.pick("st", "li", "st")
    return Query(
        x.pick(
            f"select min({of}), max({of}) from n0 where id < {x.number(3, 600)}",
            f"select k, {x.pick('min', 'max')}({of}) m from n0 group by k",
            f"select id, {x.pick('min', 'max')}({of}) over (partition by k) m from n0 where id < 100",
        )
    )


@kind
def wrong_arguments(x):
    """A mistake of the query: an error, and none that is the engine's own."""
    return Query(
        x.pick(
            f"select array_resize([{x.number(0, 9)}], -{x.number(1, 9)})",
            "select {{array_sum¦list_sum}}([[1, 2], [3]])",
            f"select map_extract({x.number(1, 9)}.5, 1)",
            f"select array_resize(li, -1 - id) from n0 where id < {x.number(5, 90)}",
        ),
        errors=True,
    )


@kind
def uuids(x):
    text = f"'{x.number(1, 10):08x}-0000-0000-0000-{x.number(1, 10):012x}'"
    known = x.random.choice(UUIDS)
    return Query(
        x.pick(
            f"select count(*), min(id) from n0 where u {x.pick('=', '<>')} '{known}'",
            f"select id from n0 where u in ('{known}', {text})",
            f"select id from n0 where u {x.pick('<', '>=')} '{known}'",
            f"select count(*) from n0 where u is distinct from '{known}'",
        )
    )


@kind
def fields_of_structs(x):
    """Beside columns that are computed and called as their input, or as a field."""
    field = x.pick("st['a']", "st['b']", "st['k']")
    computed = x.pick("-k as k", "k % 3 as k", "id + 1 as k", "coalesce(k, 0) as k", "nullif(k, 2) as k")
    return Query(
        x.pick(
            f"select k, {field} v from (select {computed}, st from n0 where id < {x.number(10, 600)})",
            f"select k, {field} v from (select {computed}, st from n0) where st['k'] < {x.number(-2, 6)}",
            f"select {field} v, max(k) m from (select {computed}, st from n0) group by 1",
            f"select id, {field} v from n0 where st['a'] {x.pick('<', '=', '>')} {x.number(-3, 6)}",
            f"select x.id, x.st['b'] v from n0 x join n0 y on x.st['k'] = y.k and x.id = y.id",
        )
    )


@kind
def orders_of_windows(x):
    """By values that nothing can be added to."""
    order = x.pick("st", "bi", "du", "du desc", "bi desc")
    over = f"over ({x.pick('', 'partition by k ')}order by {order} nulls last)"
    return Query(f"select id, {x.pick('count(*)', 'sum(id)', 'min(id)', 'rank()')} {over} v from n0 where id < {x.number(20, 600)}")
