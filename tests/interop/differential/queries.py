"""Random queries by kind: each kind is one that a query engine was seen to answer wrongly, or an ordinary one.

A maker gives a `Query`; the registry `KINDS` has them by name.
"""

from dataclasses import dataclass

from expressions import TYPES, Expressions, spelled
from tables import FORMS

KINDS = {}


@dataclass
class Query:
    """A query in both dialects."""

    text: str
    # Whether the order of the rows is the query's.
    ordered: bool = False
    # Whether an error there has to be one here, rather than a reason to skip the query.
    errors: bool = False

    @property
    def ours(self):
        return spelled(self.text, 0)

    @property
    def theirs(self):
        return spelled(self.text, 1)


def kind(maker):
    KINDS[maker.__name__] = maker
    return maker


def table(x):
    return x.random.choice(list(FORMS))


def two(x):
    return table(x), table(x)


@kind
def expressions(x):
    t = table(x)
    values = ", ".join(f"{x.value(x.random.choice(TYPES), t)} x{n}" for n in range(x.number(1, 4)))
    return Query(f"select {t}.id, {values} from {t} where {x.condition(t)} order by {t}.id{x.limit()}", True)


@kind
def order_by_what_is_not_selected(x):
    t = table(x)
    what = x.pick(
        f"{t}.f / 4", f"abs({t}.f * 2)", f"{t}.f is null", f"({t}.f > 5)", f"-{t}.f", f"{t}.b % 3", f"upper({t}.e)",
        f"{t}.f * {t}.b", f"coalesce({t}.f, 0)", f"case when {t}.f > 0 then 1 else 0 end", lambda: x.value("int", t, 2) + " + 0",
    )  # fmt: skip
    shown = x.pick(f"{t}.id", f"{t}.id, {t}.d x0", f"{t}.d, {t}.id", f"{t}.id, {t}.b, {t}.d", f"{t}.id, {t}.f")
    return Query(f"select {shown} from {t} where {t}.b > {x.number(-700, 300)} order by {what} {x.order()}, {t}.id desc{x.limit()}", True)


def aggregate(x, t):
    return x.pick(
        "count(*)",
        lambda: f"count({x.value(x.random.choice(TYPES), t, 2)})",
        lambda: f"count(distinct {x.value(x.random.choice(TYPES), t, 2)})",
        lambda: f"sum({x.value('int', t, 1)})",
        f"sum({t}.c)",
        f"sum({t}.f)",
        lambda: f"{x.pick('min', 'max')}({x.value(x.random.choice(['int', 'dec', 'date', 'str', 'dbl', 'ts']), t, 1)})",
        lambda: f"round(avg(cast({x.column(t, 'int', 'dbl', 'dec')} as double)), 6)",
        lambda: f"sum({x.column(t, 'int')}) filter (where {x.condition(t, 1)})",
        lambda: f"{x.pick('bool_and', 'bool_or')}({x.condition(t, 2)})",
        f"sum(distinct {t}.a)",
        f"round({x.pick('stddev_samp', 'var_pop')}({t}.f), 6)",
        f"string_agg({t}.e, ',' order by {t}.id)",
    )


@kind
def aggregates(x):
    t = table(x)
    keys = [x.value(x.random.choice(["int", "str", "bool", "date", "dbl"]), t, 2) for _ in range(x.number(0, 3))]
    keys = [key for key in keys if t in key]
    where = f" where {x.condition(t)}" if x.chance(0.6) else ""
    shown = [f"{key} g{n}" for n, key in enumerate(keys)] + [f"{aggregate(x, t)} m{n}" for n in range(x.number(1, 4))]
    how = x.pick(", ".join(keys), f"rollup ({', '.join(keys)})", f"cube ({', '.join(keys)})") if keys else ""
    having = f" having count(*) > {x.number(1, 4)}" if keys and x.chance(0.3) else ""
    return Query(f"select {', '.join(shown)} from {t}{where}{' group by ' + how if how else ''}{having}")


@kind
def best_groups(x):
    t, key = table(x), x.random.choice("abcde")
    of, value = x.pick("min", "max", "count", "sum"), x.random.choice("abcf")
    return Query(
        f"select {key}, {of}({value}) m from {t} where {x.condition(t)} group by {key} order by m {x.order()}, {key} {x.order()} limit {x.number(1, 12)}",
        True,
    )


@kind
def joins(x):
    one, other = two(x)
    how = x.pick("join", "join", "left join", "right join", "full join")
    key = x.random.choice(["a", "b", "d", "id", "f", "c", "b", "id"])
    on = f"x.{key} = y.{key}"
    if x.chance(0.3):
        on = f"x.{key} is not distinct from y.{key} and x.id % 40 = y.id % 40"
    if x.chance(0.4):
        on += f" and {x.condition(x.pick('x', 'y'), 2)}"
    side = x.pick("x", "y")
    where = x.pick(
        "", f" where {side}.id is null", lambda: f" where {x.condition(side)}", f" where {side}.b is null or {side}.b < 100",
        f" where coalesce(x.id, y.id) < {x.number(100, 900)}", f" where ({side}.d < date '2023-06-01') is not true",
    )  # fmt: skip
    if key in ("a", "f") or x.chance(0.3):
        return Query(f"select count(*), min(x.id), max(y.id), sum(x.b), sum(y.b) from {one} x {how} {other} y on {on}{where}")
    order = f"x.id {x.order()}, y.id {x.order()}"
    return Query(f"select x.id xi, y.id yi, x.c, y.e from {one} x {how} {other} y on {on}{where} order by {order} limit {x.number(1, 300)}", True)


@kind
def best_of_joins(x):
    """Three tables, in the order of a column that all of them have, cut."""
    tables = [table(x) for _ in range(3)]
    how = [x.pick("join", "join", "left join") for _ in range(2)]
    column, (by, also) = x.random.choice(["b", "c", "d", "id"]), x.random.sample("xyz", 2)
    text = f"{tables[0]} x {how[0]} {tables[1]} y on x.id = y.id {how[1]} {tables[2]} z on {x.pick('x', 'y')}.id = z.id"
    where = f" where {also}.b > {x.number(-700, 900)}" if x.chance(0.3) else ""
    order = f"{by}.{column} {x.pick('', 'desc')} nulls last, x.id nulls last, y.id nulls last, z.id nulls last"
    shown = f"{by}.{column} c0, {also}.{column} c1, x.id xi, y.id yi, z.id zi"
    return Query(f"select {shown} from {text}{where} order by {order} limit {x.number(1, 9)}", True)


@kind
def joins_using(x):
    one, other = two(x)
    how = x.pick("join", "left join", "right join", "full join", "full join")
    key = x.pick("id", "b")
    left = f"(select {key}, c p from {one} where {x.condition(one)})"
    right = f"(select {key}, e q from {other} where {x.condition(other)})"
    text = x.pick(f"{left} x {how} {right} y using ({key})", f"{left} x natural {how} {right} y")
    return x.pick(
        lambda: Query(f"select {key}, p, q from {text}"),
        lambda: Query(f"select * from {text} where {key} > {x.number(0, 900)}"),
        lambda: Query(f"select count({key}), max({key}), count(*) from {text}"),
        lambda: Query(f"select {key}, count(*) n from {text} group by {key} having {key} < {x.number(0, 900)}"),
        lambda: Query(f"with j as (select {key}, p, q from {text}) select sum({key}), count(q) from j where {key} is not null"),
    )


@kind
def subqueries(x):
    one, other = two(x)
    key = x.random.choice(["a", "b", "d", "id", "e"])
    related = x.pick("", "", " and y.g = x.g", " and y.a = x.a", " and y.id = x.id", " and y.id < x.id", f" and y.{key} = x.{key}")
    where = f"{x.condition('y', 1)}{related}"
    left = x.pick(f"x.{key}", f"x.{key}", f"nullif(x.{key}, x.{key})", lambda: x.literal({"a": "int", "b": "int", "id": "int", "d": "date", "e": "str"}[key]))
    inner = f"(select y.{key} from {other} y where {where})"
    condition = x.pick(
        f"{left} in {inner}",
        f"{left} not in {inner}",
        f"{left} not in {inner}",
        f"({left} not in {inner}) is null",
        f"not ({left} in {inner})",
        f"exists (select 1 from {other} y where {where})",
        f"not exists (select 1 from {other} y where y.{key} = x.{key} and {where})",
        f"exists (select {x.pick('count(*)', 'max(y.b)')} from {other} y where {where})",
        f"{x.number(0, 3)} {x.pick('', 'not ')}in (select count(*) from {other} y where y.{key} = x.{key} and {x.condition('y', 2)})",
        f"x.b >= (select {x.pick('min', 'max', 'count')}(y.b) from {other} y where {where})",
    )
    if x.chance(0.3):
        condition = f"({condition} {x.pick('or', 'and')} {x.condition('x', 1)})"
    if x.chance(0.2):
        return Query(f"select x.id, case when {condition} then 1 else 0 end v from {one} x where x.id < 300 order by x.id", True)
    return Query(f"select x.id from {one} x where {condition} order by x.id{x.limit()}", True)


@kind
def set_operations(x):
    one, other = two(x)
    columns = ", ".join(x.random.sample("acdefg", x.number(1, 3)))
    how = x.pick("union", "union all", "intersect", "except", "intersect all", "except all", "intersect all", "except all")
    return Query(f"select {columns} from {one} where {x.condition(one)} {how} select {columns} from {other} where {x.condition(other)}")


def shifted(x, value):
    """LAG or LEAD; IGNORE NULLS stands inside of the parentheses in DuckDB, and behind them in SQL."""
    function, step = x.pick("lag", "lead"), x.number(1, 4)
    if x.chance(0.5):
        return f"{function}({value}, {step})"
    return f"{{{{{function}({value}, {step}) ignore nulls¦{function}({value}, {step} ignore nulls)}}}}"


@kind
def windows(x):
    t = table(x)
    by = x.pick("", f"partition by {x.column(t, 'int', 'str', 'bool', 'dbl')} ", f"partition by {t}.a, {t}.g ")
    order = f"order by {x.pick(x.column(t) + ' ' + x.order() + ', ', '')}{t}.id {x.pick('asc', 'desc')}"
    column = x.random.choice("abcdef")
    if x.chance(0.5):
        function = x.pick("row_number()", "rank()", lambda: shifted(x, f"{t}.{column}"))
        window = f"{function} over ({by}{order})"
    else:
        frame = x.pick("", " rows between 3 preceding and current row", " rows between 2 preceding and 2 following", " rows between 1 following and 4 following", " rows between unbounded preceding and 1 preceding")
        function = x.pick(f"sum({t}.b)", f"sum({t}.c)", f"count({t}.e)", f"min({t}.d)", f"max({t}.e)", f"first_value({t}.b)", f"last_value({t}.c)", "count(*)")
        window = f"{function} over ({by}{order}{frame})"
    query = f"select {t}.id, {window} v from {t} where {x.condition(t)}"
    if x.chance(0.35):
        return Query(f"select * from ({query}) q where v is not null or id < 300 order by v {x.order()}, id{x.limit()}", True)
    return Query(f"{query} order by {t}.id{x.limit()}", True)


@kind
def windows_over_groups(x):
    t, key = table(x), x.random.choice("abd")
    window = x.pick(
        "count(*) over ()", f"sum({key}) over ()" if key != "d" else "max(d) over ()", f"lag({key}) over (order by {key} desc nulls last)",
        f"row_number() over (order by {key} desc nulls last)", f"rank() over (order by max(b) nulls last, {key} nulls last)",
    )  # fmt: skip
    if x.chance(0.25):
        return Query(f"select distinct {key}, count(*) over (partition by {key}) n from {t} limit 2000")
    where = f" where {x.condition(t)}" if x.chance(0.5) else ""
    return Query(f"select {key}, {window} n from {t}{where} group by {key} order by {key} {x.pick('', 'desc')} nulls last limit {x.number(1, 5)}", True)


@kind
def decimals(x):
    t = table(x)
    cents = x.number(-3000, 3000)
    point = f"{cents / 100:.2f}"
    several = ", ".join(f"{x.number(-3000, 3000) / 100:.2f}" for _ in range(3))
    condition = x.pick(
        f"c = {point}", f"c <> {point}", f"c < {point}", f"c >= {point}", f"c in ({several})", f"c not in ({several})",
        f"c between {min(cents, 500) / 100:.2f} and {max(cents, 500) / 100:.2f}", f"c * 2 = {2 * cents / 100:.2f}", f"c = {cents / 100:.1f}",
        f"case when c = {point} then true else c < {point} end",
    )  # fmt: skip
    shown = x.pick("c", "round(c, 1)", "round(c, 0)", "round(c, -1)", "c * c", "c + 0.5", "cast(c as decimal(20, 5))", "abs(c)", "-c")
    if x.chance(0.3):
        return Query(f"select count(*), sum({shown}), min({shown}), max({shown}) from {t} where {condition}")
    return Query(f"select id, {shown} x from {t} where {condition} order by id", True)


@kind
def decimals_that_do_not_fit(x):
    t = table(x)
    digits, scale = x.number(3, 6), x.number(0, 3)
    return Query(
        f"select {x.pick('count', 'max', 'sum')}(x) from (select cast(c as decimal({digits}, {min(scale, digits)})) x from {t} where id % {x.number(2, 40)} = 0) q where x is not null",
        errors=True,
    )


@kind
def dates_outside_of_the_range(x):
    t = table(x)
    year = x.pick("9999", "1000", "2262", "1677", "2023", "2024", "2022", "0")
    condition = x.pick(
        f"extract(year from h) {x.pick('<', '<=', '>', '>=', '=', '<>')} {year}", f"date_part('year', d) {x.pick('<', '>=', '=')} {year}",
        f"date_part('year', h) between {x.number(1000, 2024)} and 9999", f"h {x.pick('<', '>=', '=', '<>')} timestamp '9999-12-31 00:00:00'", f"d {x.pick('<', '>=')} date '9999-12-31'",
        f"d < timestamp '2023-{x.number(1, 13):02}-05 00:00:00'", f"cast(h as date) {x.pick('=', '<', '>=', '<>')} date '2021-0{x.number(1, 10)}-11'", "cast(h as date) <= d", "cast(h as date) > d",
    )  # fmt: skip
    if x.chance(0.3):
        condition = f"not ({condition})"
    return Query(f"select count(*), min(id), max(id), sum(b) from {t} where {condition}")


@kind
def zeros(x):
    """Both zeros of doubles are one value."""
    one, other = two(x)
    return Query(
        x.pick(
            f"select count(*), min(id) from {one} where f = 0 or f in (0, 5)",
            f"select id from {one} where nullif(f, 0) is null",
            f"select case f when 0 then 'zero' else 'other' end k, count(*) from {one} group by 1",
            f"select count(distinct f), count(distinct b) from {one}",
            f"select f, count(*) from {one} group by f",
            f"select count(*) from (select distinct f from {one} where {x.condition(one)}) q",
            f"select count(*) from {one} x join {other} y on x.f = y.f where x.id < 200",
            f"select count(*) from {one} x where f {x.pick('', 'not ')}in (select f from {other} y where y.id < {x.number(5, 50)} and f is not null)",
            f"select f from {one} where id < {x.number(100, 900)} {x.pick('union', 'intersect', 'except')} select f from {other} where id > {x.number(100, 900)}",
            f"select id, count(*) over (partition by f) n, dense_rank() over (order by f nulls last) r from {one} where id < 400",
            f"select count(*) from {one} where f {x.pick('<', '>=', '>', '<=')} 0",
        )
    )


@kind
def distinct_from(x):
    """With AND, OR and NOT around, and no parentheses."""
    t = table(x)
    test = lambda: x.pick(
        x.distinct(f"{t}.g", x.pick("true", "null", "false")),
        x.distinct(f"{t}.a", x.pick("1 + 1", f"{x.number(-3, 9)}", "null", f"{t}.b")), x.distinct(f"{t}.e", x.literal("str")),
    )  # fmt: skip
    other = lambda: x.pick(f"{t}.g", f"{t}.b > {x.number(-300, 900)}", f"{t}.e = 'a'", test)
    return Query(f"select id from {t} where {x.pick('', 'not ')}{test()} {x.pick('and', 'or')} {other()} {x.pick('and', 'or')} {other()} order by id", True)


@kind
def simplified(x):
    """Conditions that can be made shorter, if NULL is not forgotten."""
    t = table(x)
    numbers = lambda: ", ".join([str(x.number(-3, 9)) for _ in range(x.number(1, 3))] + x.pick([], ["null"]))
    test = lambda: x.pick(
        f"a in ({numbers()})", f"a not in ({numbers()})", f"a in ({numbers()})", f"a not in ({numbers()})", "a = a", "a <> a", "a * 0 = 0", "a % 1 = 0", "e like '%'", "e not like '%'",
        "s like s", "a between 5 and 4", "a not between 5 and 4", "nullif(a, 5) is null", "case when a = 5 then true end", "coalesce(a, 5) = 5", "(null and a = 5) is null", "a is not null",
        f"{{{{e ~ '.*'¦regexp_matches(e, '.*')}}}}", f"{{{{e !~ '.*'¦not regexp_matches(e, '.*')}}}}", "e = '' or e <> ''", f"a > {x.number(-3, 9)}", f"a < {x.number(-3, 9)}", f"b in ({numbers()}, 20)", f"cast(a as varchar) = '0{x.number(0, 9)}'",
        f"cast(a as varchar) < '{x.number(0, 9)}'", f"cast(a as bigint) < 9999999999", "a = 9999999999", f"cast(d as varchar) like '202{x.number(3, 5)}%'", f"a < {x.number(-3, 9)}.5", f"cast(c as varchar) = '{x.number(-3000, 3000) / 100:.2f}'",
    )  # fmt: skip
    one = f"{x.pick('', 'not ')}({test()} {x.pick('and', 'or')} {test()})"
    return Query(
        x.pick(
            f"select id from {t} where {one}",
            f"select id from {t} where ({one}) is {x.pick('null', 'not true', 'not false')}",
            f"select id, {one} x from {t} where id < 400",
        )
    )


# Of SQL's SIMILAR TO, and as the regular expression for the whole text that DuckDB's SIMILAR TO is.
PATTERNS = [
    ("a%", "a.*"), ("_", "."), ("%(b|d)%", ".*(b|d).*"), ("a.c", "a\\.c"), ("(a|ab)", "(a|ab)"), ("%b", ".*b"), ("[ab]+", "[ab]+"),
    ("b", "b"), ("%", ".*"),
]  # fmt: skip


@kind
def patterns(x):
    t = table(x)
    pattern, regular = x.random.choice(PATTERNS)
    return Query(f"select id, e from {t} where e {x.pick('', 'not ')}similar to {{{{'{pattern}'¦'{regular}'}}}}")


@kind
def bounds(x):
    """Answered from bounds of files where these are there, and are what they seem."""
    t = table(x)
    one = lambda: x.pick(
        "length(min(l))", "length(max(l))", "min(cast(s as int))", "max(cast(s as bigint))", "min(cast(b as varchar))", "max(cast(a as varchar))", "min(cast(h as date))", "max(cast(s as double))",
        "min(s)", "max(s)", "min(-a)", "max(-b)", "min(f)", "max(f)", "count(l)", "count(a)", "count(s)", "min(c)", "max(cast(c as double))", "min(w)", "max(d)", "count(*)", "max(id)",
    )  # fmt: skip
    where = x.pick("", "", f" where l > '{x.pick('m', 'y', 'a')}'", f" where s < '{x.number(1, 9)}'", f" where a = {x.number(-3, 9)}", f" where g and a < {x.number(-3, 9)}", " where a is null")
    return Query(f"select {one()} x0, {one()} x1 from {t}{where}")


@kind
def overflows(x):
    """Beyond the ends of a type there is no answer."""
    t = table(x)
    where = f"id % {x.number(2, 60)} = {x.number(0, 2)}"
    return Query(
        x.pick(
            f"select max(w + {x.number(1, 4)}) from {t} where {where}",
            f"select min(w - {x.number(1, 4)}) from {t} where {where}",
            f"select max(w * {x.number(1, 3)}) from {t} where {where}",
            f"select min(-w), max(abs(w)) from {t} where {where}",
            f"select sum(w) from {t} where {where}",
            f"select id, sum(w) over (order by id rows between {x.number(1, 4)} preceding and current row) v from {t} where {where}",
            f"select max(cast(w as int)) from {t} where w is not null and {where}",
        ),
        errors=True,
    )


@kind
def partitions(x):
    """What is in folders, together with what is in files."""
    t = x.pick("t1", "t3")
    key = "a" if t == "t1" else "g"
    test = lambda: x.pick(
        f"{key} is null", f"{key} is not null", *([f"a = {x.number(-3, 9)}", f"a in ({x.number(-3, 9)}, {x.number(-3, 9)}, 77)", f"a > {x.number(-3, 9)}"] if key == "a" else ["g", "not g", "g = true"]),
        f"b > {x.number(-700, 1900)}", f"c < {x.number(-30, 30)}", "e is null", f"id < {x.number(0, 1200)}", f"d >= date '2024-0{x.number(1, 9)}-01'",
    )  # fmt: skip
    condition = f"{x.pick('', 'not ')}({test()} {x.pick('and', 'or')} {test()}) {x.pick('and', 'or')} {test()}"
    other = table(x)
    return x.pick(
        lambda: Query(f"select count(*), sum(b), min(id), max(id), count({key}) from {t} where {condition}"),
        lambda: Query(f"select {key}, id from {t} where {condition} order by {key} {x.order()}, id limit {x.number(1, 20)}", True),
        lambda: Query(f"select min({key}{'' if key == 'a' else '::int'}), max({key}{'' if key == 'a' else '::int'}), count(distinct {key}) from {t} where {condition}"),
        lambda: Query(f"select count(*), sum(x.b) from {t} x join (select {key} k, id i from {other}) y on x.{key} = k and x.id = i where {condition}"),
        lambda: Query(f"select count(*) from {t} where {key} in (select {key} from {other} y where y.id < {x.number(1, 20)}) and ({condition})"),
    )


def make(random, name=None):
    """A query of the kind `name`, or of a random one, and the kind."""
    name = name or random.choice(list(KINDS))
    return name, KINDS[name](Expressions(random))
