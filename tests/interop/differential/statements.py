"""Random statements whose meaning is lost between the text and the plan, or in the plan."""

from queries import Query, kind, shifted, table, two
from special import CENTS, LONG, WRITTEN_BY_OTHERS


@kind
def casts_as_names(x):
    """What differs by a cast alone."""
    t, cast = table(x), x.pick("varchar", "double", "bigint")
    of = x.pick("min", "max", "count")
    return Query(
        x.pick(
            f"select {of}(cast(a as {cast})) x, {of}(a) y from {t}",
            f"select count(distinct cast(h as date)) x, count(distinct h) y from {t}",
            f"select b, max(a) m from {t} group by b having max(cast(a as varchar)) = '{x.number(1, 9)}'",
            f"select id, max(b) over (partition by a) x, max(cast(b as {cast})) over (partition by a) y from {t} where id < 200",
            f"select count(*) n, cast(d as varchar) v from {t} group by cast(d as varchar), d",
        )
    )


@kind
def ordinals(x):
    t = table(x)
    value = x.pick("max(b) - min(b)", "sum(b) + 1", "count(*) * 2", "round(avg(b), 6)", "max(c) * 2", "coalesce(max(b), 0)")
    order = f"2 {x.order()}, 1 {x.order()}"
    return Query(f"select a, {value}{x.pick('', ' v')} from {t} where id > {x.number(0, 900)} group by {x.pick('a', '1')} order by {order}{x.limit()}", True)


@kind
def decimals_with_points(x):
    """Which some value is, and not all doubles that are nearest to one."""
    cents = lambda: f"{x.random.choice(CENTS) / 100:.2f}"
    how = x.pick("=", "<", ">=", "<>", "<=", "=")
    return Query(
        x.pick(
            f"select count(*) from n0 where m {how} {cents()}",
            f"select count(*) from n0 where m {x.pick('', 'not ')}in ({cents()}, {cents()}, {cents()})",
            f"select id from n0 where m between {cents()} and 38.99",
            f"select count(*) from n0 where p {how} 0.5",
            f"select count(*) from n0 where p in (0.5, {cents()})",
        )
    )


@kind
def roundings(x):
    """One type, whatever the places are and wherever the rounded stands."""
    one, other = two(x)
    rounded = x.pick("round(c, 1)", "round(c, 0)", "round(c, -1)", "ceil(c)", "floor(c)")
    several = ", ".join(f"cast({x.number(-300, 300) / 10:.1f} as decimal(10, 2))" for _ in range(3))
    return Query(
        x.pick(
            f"select id, {rounded} v from {one} where {rounded} {x.pick('=', '<', '>=', '<>')} c",
            f"select id from {one} where {rounded} in ({several})",
            f"select {rounded} v from {one} where id < 50 union all select c from {other} where id > 1100",
            f"select x.id xi, y.id yi from {one} x join {other} y on {rounded.replace('(c', '(x.c')} = y.c where x.id < 200",
            f"select max({rounded}) a, sum({rounded}) b from {one}",
        )
    )


@kind
def long_numbers(x):
    """Of more digits than a double has."""
    number = LONG + type(LONG)(x.number(-2, 3)) / 10**20
    how = x.pick("=", "<", ">=", "<>")
    large = x.pick("9223372036854775807", "9223372036854775806.5", "-9223372036854775806.25", "92233720368547758070", "9223372036854775804.0")
    return Query(
        x.pick(
            f"select id from n0 where p {how} {number}",
            f"select count(*) from n0 where p in ({number}, 1.5)",
            f"select count(*) from n0 where p between {number} and 1",
            f"select id from {table(x)} where w {how} {large}",
            f"select id from {table(x)} where c {how} {x.number(-30, 30)}.25000000000000000001",
        )
    )


@kind
def rows_in_subqueries(x):
    one, other = two(x)
    columns = x.random.sample(["a", "b", "d", "e", "g", "id"], 2)
    left = ", ".join(f"x.{column}" for column in columns)
    inner = f"select {', '.join('y.' + column for column in columns)} from {other} y where {x.condition('y', 1)} and y.id < {x.number(5, 60)}"
    test = f"({left}) {x.pick('', 'not ')}in ({inner})"
    return Query(f"select x.id from {one} x where {test} and x.id < {x.number(20, 300)} order by x.id", True)


@kind
def cubes_of_one(x):
    one, other = x.random.sample(["b", "d", "g"], 2)
    groups = x.pick(f"cube ({one}, {one})", f"rollup ({one}, {one})", f"rollup ({one}, {other}, {one})", f"cube ({one}, {other}, {one})")
    return Query(f"select {one}, count(*), sum(id) from {table(x)} group by {groups}")


@kind
def escapes(x):
    t = table(x)
    escape = x.pick("!", "#", "x")
    pattern = x.pick("%!%", "x!_y", "a!%", "!_%", "%!_%", "!%", "50!%").replace("!", escape)
    return Query(f"select id, e from {t} where e {x.pick('', 'not ')}{x.pick('like', 'ilike')} '{pattern}' escape '{escape}'")


@kind
def ranges_of_random(x):
    """What is another value each time that it is computed is computed once."""
    low = x.number(1, 6) / 10
    most, width = x.number(2000, 6000), 0.3
    likely = most * width
    return Query(
        f"select count(*) between {int(likely - 300)} and {int(likely + 300)} from generate_series(1, {most}) where random() between {low} and {low + width}"
    )


@kind
def places_of_columns(x):
    column = x.random.choice("abcdefgh")
    return Query(
        x.pick(
            f"select ordinal_position from information_schema.columns where table_name = 't0' and column_name = '{column}'",
            f"select column_name from information_schema.columns where table_name = 't0' and ordinal_position = {x.number(1, 9)}",
        )
    )


@kind
def related_below(x):
    """Subqueries whose condition on the outer query stands below a window, LIMIT, an outer join or ROLLUP."""
    one, other = two(x)
    related = f"y.a = x.a and {x.condition('y', 2)}"
    return Query(
        x.pick(
            f"select x.id, (select max(r) from (select row_number() over (order by y.id) r from {other} y where {related}) q) v from {one} x where x.id < 99",
            f"select x.id from {one} x where x.b in (select y.b from {other} y where {related} order by y.id limit 2)",
            f"select x.id from {one} x where exists (select 1 from {other} y where {related} offset {x.number(1, 20)})",
            f"select x.id from {one} x where exists (select 1 from {other} y where y.b = x.b + 1 and y.id = x.id group by rollup (y.g))",
            f"select x.id from {one} x where {x.number(0, 3)} in (select count(*) from {other} y where y.id = x.id and y.g group by cube (y.a))",
            f"select x.id from {one} x where exists (select 1 from {other} z left join (select * from {other} y where {related}) q on q.id = z.id where z.id = 7 and q.id is null)",
        )
    )


@kind
def casts_in_filters(x):
    """Casts that lose something, in the order of what is cast. Cutting off digits, as DuckDB is told to do."""
    t = table(x)
    day = f"date '2021-{x.number(1, 13):02}-{x.number(1, 29):02}'"
    number = x.number(-12, 12)
    how = x.pick("=", "<", "<=", ">", ">=", "<>")
    return Query(
        x.pick(
            f"select id, h from {t} where cast(h as date) {how} {day} order by h {x.pick('', 'desc')} nulls last, id",
            f"select id, row_number() over (order by h desc, id) r from {t} where cast(h as date) = cast(h as date) and cast(h as date) >= {day} order by h desc, id limit 30",
            f"select id, c from {t} where {{{{cast(c as int)¦cast(trunc(c) as int)}}}} {how} {number} order by c, id",
            f"select id, f from {t} where {{{{cast(f as int)¦cast(trunc(f) as int)}}}} {how} {number} order by f, id",
            f"select id, b from {t} where {{{{b / 10¦b // 10}}}} = {number} order by b, id",
            f"select id, c from {t} where {{{{cast(c as decimal(10, 1))¦cast(round(c, 1) as decimal(10, 1))}}}} {how} {number}.{x.number(0, 10)} order by c desc, id",
            f"select id from {t} where cast(h as date) {how} d order by id",
            f"select id, a from {t} where try_cast(s as int) {how} {number} order by id",
        ),
        True,
    )


@kind
def failing_estimates(x):
    """Filters of which an engine may fail to tell from bounds how many rows pass."""
    t = table(x)
    how = x.pick("<=", "<", ">", ">=")
    one = x.pick("cast(b as varchar)", "cast(id as varchar)", "cast(h as date)", "cast(a as varchar)")
    other = "d" if "date" in one else x.pick("cast(a as varchar)", "cast(b as varchar)")
    test = x.pick(f"{one} {how} {other}", f"not ({one} {how} {other})", f"{other} {how} {one} and a < {x.number(-3, 9)}")
    return Query(f"select id from {t} where {test} order by id{x.limit()}", True)


@kind
def groups_of_constants(x):
    """Grouping sets over columns that are constant, or that are sorted below."""
    t = table(x)
    if x.chance(0.4):
        arm = lambda: f"select 'x' v, g, b from {table(x)} where id < {x.number(5, 90)}"
        return Query(f"select v, g, count(*) n, max(b) m from ({arm()} union all {arm()}) q group by {x.pick('rollup (v, g)', 'cube (v, g)', 'grouping sets ((v), (g), ())')}")
    how = x.pick("rollup (a, g)", "cube (a, g)", "grouping sets ((a), (g), ())", "rollup (g, a)", "grouping sets ((a, g), (a))")
    below = x.pick(
        f"(select * from {t} where a = {x.number(-3, 9)}) q", f"(select * from {t} where g and a = {x.number(-3, 9)}) q", f"(select * from {t} order by a, id limit {x.number(300, 900)}) q",
        f"(select *, row_number() over (partition by a order by id) n from {t}) q", f"(select * from {t} where g = {x.pick('true', 'false')}) q",
    )  # fmt: skip
    return Query(f"select a, g, count(*) n, {x.pick('sum(b)', 'min(id)', 'max(c)')} m from {below} group by {how}")


@kind
def extremes_of_several(x):
    """What cannot change one minimum may change another."""
    t = table(x)
    one = lambda: x.pick("min(id)", "max(id)", "min(b)", "max(b)", "min(a)")
    other = lambda: x.pick("min(-id + 0)", "max(abs(id - 1200))", "min(b + 1)", "max(-b)", "max(id % 7)")
    return Query(f"select {one()} x, {other()} y from {t} where {x.pick('id >= 0', 'b > -900', f'id > {x.number(1, 900)}')}")


@kind
def extremes_of_casts(x):
    """Which bounds of the columns do not tell."""
    t = table(x)
    value = x.pick("cast(s as int)", "cast(s as bigint)", "cast(b as varchar)", "cast(a as varchar)", "cast(h as date)", "cast(s as double)")
    return Query(
        x.pick(
            f"select min({value}) x, max({value}) y from {t}",
            f"select max(m) x from (select {value} m from {t}) q",
            f"select min(m) x, max(m) y from (select {value} m from {t} union all select {value} m from {table(x)}) q",
        )
    )


@kind
def shifts(x):
    """The rows before and after, past NULLs and below LIMIT."""
    t, column = table(x), x.random.choice("abcd")
    value = shifted(x, column)
    return Query(f"select id, {value} over (order by id{x.pick('', ' desc')}) v from {t} where {x.condition(t, 2)} order by id limit {x.number(1, 50)}", True)


@kind
def files_that_do_not_unite(x):
    """Values that the one type of several files does not hold: an error, and no other value."""
    what = x.pick("max(v)", "min(h)", "count(distinct v)", "max(h)", "sum(v)", "id, v", "id, h")
    return Query(f"select {{{{{what} from f4¦error('it does not fit')}}}}", errors=True)


@kind
def merged_lists(x):
    """Lists that can be made one, if NULL is not forgotten."""
    t, column = table(x), x.pick("a", "e")
    value = lambda: str(x.number(-3, 9)) if column == "a" else x.literal("str")
    listed = lambda: ", ".join([value() for _ in range(x.number(1, 4))] + x.pick([], ["null"], ["null"]))
    test = lambda: f"{column} {x.pick('', 'not ')}in ({listed()})"
    both = f"{test()} {x.pick('and', 'or')} {test()}"
    return Query(
        x.pick(
            f"select id, {x.pick('', 'not ')}({both}) v from {t} where id < 400",
            f"select id from {t} where ({both}) is {x.pick('null', 'not true', 'not false')}",
            f"select count(*) from {t} where {x.pick('', 'not ')}({both})",
        )
    )


@kind
def distinct_with_windows(x):
    t = table(x)
    keys = x.pick("a, g", "a", "g, d", "e")
    window = x.pick("count(*) over (partition by g, e)", "row_number() over (partition by a order by id)", "sum(b) over (partition by a)")
    return Query(f"select distinct {keys}, {window} n from {t} limit {x.number(1300, 3000)}")


@kind
def told_by_writers(x):
    """Answered by what the files of several writers tell of their values, or pruned by it."""
    column = x.pick("m", "v", "w")
    bound = {"m": x.number(-90, 90), "v": x.number(0, 700), "w": f"'{x.pick('a', 'b', 'c')}{x.number(0, 600)}'"}[column]
    return Query(
        x.pick(
            f"select count({column}) n, min({column}) a, max({column}) b from f0",
            f"select id from f0 where {column} is null",
            f"select count(*) from f0 where {column} {x.pick('<', '>')} {bound}",
            f"select id from f0 where {column} is not null order by {column} {x.pick('', 'desc')}, id limit 5",
        )
    )


@kind
def files_of_writers(x):
    """Bounds and counts that other writers leave out, or get wrong."""
    t = x.random.choice(WRITTEN_BY_OTHERS)
    one = lambda: x.pick("min(m)", "max(m)", "min(v)", "max(v)", "count(m)", "count(v)", "count(w)", "min(w)", "max(w)", "count(*)", "count(h)")
    test = lambda: x.pick(
        f"m {x.pick('<', '>', '>=')} {x.number(-90, 90)}", f"v {x.pick('<', '>', '=')} {x.number(0, 700)}", f"w {x.pick('<', '>=')} '{x.pick('a', 'b', 'c')}{x.number(0, 600)}'",
        f"{x.pick('m', 'v', 'w')} is {x.pick('', 'not ')}null", f"m = {x.number(-90, 90)}", f"h {x.pick('<', '>=')} '{x.pick('1700', '2000', '2290', '5000')}-01-01'",
    )  # fmt: skip
    return x.pick(
        lambda: Query(f"select {one()} x0, {one()} x1 from {t}"),
        lambda: Query(f"select {one()} x0, count(*) x1 from {t} where {test()}"),
        lambda: Query(f"select id from {t} where {x.pick('m', 'v', 'w')} is {x.pick('', 'not ')}null and id < {x.number(100, 600)}"),
        lambda: Query(f"select id, v, w, h from {t} where {test()}"),
        lambda: Query(f"select id, h, ls from {t} where id < {x.number(10, 600)}"),
        lambda: Query(f"select id, m from {t} where {test()} order by m {x.order()}, id limit {x.number(1, 20)}", True),
        lambda: Query(f"select id, v from {t} order by v {x.order()}, id limit {x.number(1, 20)}", True),
    )
