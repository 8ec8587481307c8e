"""Random INSERT, UPDATE, DELETE and MERGE: after each, all rows of the table are compared."""

import duckdb

import compare
from expressions import Expressions
from tables import CHANGED, FORMS, SCHEMA

COLUMNS = ", ".join(SCHEMA.names)
TYPES = {"a": "int", "b": "int", "c": "dec", "d": "date", "e": "str", "f": "dbl", "g": "bool", "h": "ts"}
# A table with fewer rows has nothing left to change.
FEWEST = 300


def value(x, column, table):
    """A new value for a column, that its type holds."""
    if x.chance(0.1):
        return "null"
    made = x.value(TYPES[column], table, 1)
    match column:
        case "a":
            return f"cast(({made}) % 1000 as int)"
        case "b":
            return f"({made}) % 100000"
        case "c":
            return f"{table}.c + {x.number(0, 99) / 100:.2f}"
    return made


def sets(x, table, source=None):
    columns = x.random.sample(list(TYPES), x.number(1, 4))
    return ", ".join(f"{column} = {f'{source}.{column}' if source and x.chance(0.5) else value(x, column, table)}" for column in columns)


def update(x, name, _):
    return f"update {name} set {sets(x, name)} where {x.condition(name)}"


def delete(x, name, _):
    return f"delete from {name} where {x.condition(name)} and {name}.id % {x.number(2, 9)} = {x.number(0, 3)}"


def delete_by_decimal(x, name, _):
    return f"delete from {name} where c {x.pick('=', '<')} {x.number(-3000, -2000) / 100:.2f} or c in ({x.number(-3000, 3000) / 100:.2f}, {x.number(-3000, 3000) / 100:.2f})"


def delete_by_subquery(x, name, other):
    related = x.pick("", f" and s.g = {name}.g")
    how = x.pick("not in", "in")
    return f"delete from {name} where {name}.b {how} (select s.b from {other} s where {x.condition('s', 1)}{related}) and {name}.id % 3 = {x.number(0, 3)}"


def insert(x, name, other):
    shifted = COLUMNS.replace("id", f"id + {x.number(1, 900)}000", 1)
    return f"insert into {name} ({COLUMNS}) select {shifted} from {other} where {x.condition(other)} and {other}.id % 11 = {x.number(0, 11)}"


def update_from(x, name, other):
    source = f"(select a, max(b) v from {other} where {x.condition(other)} group by a) s"
    return f"update {name} set b = s.v, e = 'from' from {source} where s.a = {name}.a and {x.condition(name)}"


def merge(x, name, other):
    on = x.pick("t.id = s.id", "t.id = s.id and t.g = s.g", "t.id = s.id and t.e is not distinct from s.e", "t.id = s.id and t.a > 2")
    source = f"(select * from {other} where {x.condition(other)} and id < 3000 and id % 2 = {x.number(0, 2)})"
    # One row of a source for each id: what several would do is an error here, and the last one's there.
    source = f"(select distinct on (id) * from {source} q order by id, b, e, c, d, f)"
    clauses = []
    if x.chance(0.8):
        clauses.append(f"when matched and {x.condition('s', 1)} then {x.pick(lambda: 'update set ' + sets(x, 't', 's'), 'delete')}")
    if x.chance(0.6):
        clauses.append(f"when matched and t.id % 7 = 1 then {x.pick('delete', 'update set b = t.b + 1')}")
    if x.chance(0.7) or not clauses:
        values = ", ".join("s.id + 7000000" if column == "id" else f"s.{column}" for column in SCHEMA.names)
        clauses.append(f"when not matched and s.id % 5 = {x.number(0, 5)} then insert ({COLUMNS}) values ({values})")
    return f"merge into {name} t using {source} s on {on} {' '.join(clauses)}"


STATEMENTS = [update, update, delete, delete_by_decimal, delete_by_subquery, insert, update_from, merge, merge]


def state(name):
    return f"select {COLUMNS} from {name} order by {COLUMNS}"


def run(server, duck, random, count, report):
    """Runs `count` statements, one after the other, on all tables that change."""
    x = Expressions(random)
    done = 0
    while done < count:
        make = x.random.choice(STATEMENTS)
        name, other = x.random.choice(list(CHANGED)), x.random.choice([*CHANGED, *FORMS])
        done += check(server, duck, make.__name__, name, make(x, name, other), report)


def check(server, duck, kind, name, sql, report):
    """Runs one statement in both; whether DuckDB takes it. Where they differ, DuckDB goes on from Airstrip's rows."""
    duck.execute("begin")
    try:
        [(theirs,)] = duck.execute(sql).fetchall()
        enough = duck.execute(f"select count(*) from {name}").fetchone()[0] >= FEWEST
    except duckdb.Error:
        enough = False
    if not enough:
        duck.execute("rollback")
        report.skipped[kind] += 1
        return False
    report.compared[kind] += 1
    try:
        ours, error = server.change(sql), None
    except Exception as caught:
        ours, error = None, str(caught)[:400]
    duck.execute("rollback" if error else "commit")
    if error:
        report.difference(kind, sql, f"refused: {error}")
        return True
    rows = duck.execute(state(name)).fetchall()
    for how, answer in server.answers(state(name)):
        found = answer()
        what = compare.difference(found, rows, False) or (ours != theirs and f"counted {ours}, DuckDB {theirs}")
        if what:
            report.difference(kind, sql, f"{how}: {what}")
            taken_over(duck, name, found)
            break
    return True


def taken_over(duck, name, rows):
    duck.execute(f"delete from {name}")
    duck.executemany(f"insert into {name} values ({', '.join('?' * len(SCHEMA.names))})", rows)
