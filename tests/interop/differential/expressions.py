"""Random expressions over the columns of `tables.SCHEMA`, by type.

A text may hold `{{ours¦theirs}}` where the two dialects spell one thing in two ways: see `spelled`.
"""

import datetime as dt
import re

from tables import WORDS

COLUMNS = {
    "int": ["id", "a", "b"],
    "dec": ["c"],
    "date": ["d"],
    "str": ["e", "s"],
    "dbl": ["f"],
    "bool": ["g"],
    "ts": ["h"],
}
TYPES = list(COLUMNS)


def spelled(text, dialect):
    """The text for Airstrip (0) or for DuckDB (1)."""
    return re.sub(r"\{\{(.*?)¦(.*?)\}\}", lambda found: found[dialect + 1], text)


class Expressions:
    """Makes expressions; all that is random comes from `random`."""

    def __init__(self, random):
        self.random = random

    def pick(self, *choices):
        """One of the texts, or of the functions that make one."""
        chosen = self.random.choice(choices)
        return chosen() if callable(chosen) else chosen

    def chance(self, probability):
        return self.random.random() < probability

    def number(self, low, high):
        return self.random.randrange(low, high)

    def column(self, table, *types):
        return f"{table}.{self.random.choice([name for of in types or TYPES for name in COLUMNS[of]])}"

    def literal(self, of):
        match of:
            case "int":
                return str(self.number(-10, 60) if self.chance(0.8) else self.number(-900, 3000))
            case "dec":
                # With a point: a decimal, whatever the parser makes of it.
                cents = self.number(-3000, 3000)
                return self.pick(f"{cents / 100:.2f}", f"cast('{cents / 100:.2f}' as decimal(10, 2))", f"{cents / 100:.1f}")
            case "date":
                return f"date '{dt.date(2023, 1, 1) + dt.timedelta(self.number(-20, 820))}'"
            case "str":
                return f"'{self.random.choice(WORDS)}'"
            case "dbl":
                return f"cast({self.number(-400, 400) / 4} as double)" if self.chance(0.8) else "cast(0 as double)"
            case "bool":
                return self.pick("true", "false")
            case "ts":
                return f"timestamp '{dt.datetime(2020, 1, 1) + dt.timedelta(seconds=self.number(0, 10**8))}'"

    def value(self, of, table, depth=0):
        """An expression of a type."""
        dice = self.random.random()
        if depth > 2 or dice < 0.45:
            return self.column(table, of)
        if dice < 0.55:
            return self.literal(of)
        inner = lambda other=of: self.value(other, table, depth + 1)
        condition = lambda: self.condition(table, depth + 1)
        forms = {
            "int": [
                lambda: f"({inner()} {self.pick('+', '-')} {inner()})",
                lambda: f"({inner()} * {self.number(1, 5)})",
                lambda: f"({inner()} % {self.number(2, 9)})",
                lambda: f"abs({inner()})",
                lambda: f"(-{inner()})",
                lambda: f"cast(length({inner('str')}) as bigint)",
                lambda: f"cast(date_part('{self.pick('year', 'month', 'day', 'quarter', 'doy')}', {inner('date')}) as bigint)",
                lambda: f"{self.pick('greatest', 'least')}({inner()}, {self.literal('int')})",
                lambda: f"nullif({inner()}, {self.literal('int')})",
                lambda: f"cast({inner('bool')} as int)",
                lambda: f"cast({table}.s as bigint)",
            ],
            "dec": [
                lambda: f"({self.column(table, of)} {self.pick('+', '-')} {self.literal(of)})",
                lambda: f"({self.column(table, of)} * {self.number(2, 5)})",
                lambda: f"round({self.column(table, of)}, {self.number(-1, 3)})",
                lambda: f"abs({self.column(table, of)})",
                lambda: f"cast({self.column(table, 'int')} as decimal(12, 2))",
            ],
            "date": [
                lambda: f"cast(date_trunc('{self.pick('month', 'year', 'week', 'quarter')}', {inner()}) as date)",
                lambda: f"cast({inner()} {self.pick('+', '-')} interval '{self.number(1, 40)} days' as date)",
                lambda: f"cast({self.column(table, 'ts')} as date)",
            ],
            "str": [
                lambda: f"{self.pick('upper', 'lower', 'reverse', 'trim')}({inner()})",
                lambda: f"substr({inner()}, {self.number(1, 4)}, {self.number(0, 5)})",
                lambda: f"({inner()} || {inner()})",
                lambda: f"replace({inner()}, 'a', 'oo')",
                lambda: f"cast({self.column(table, 'int', 'date')} as varchar)",
                lambda: f"split_part({inner()}, ' ', 2)",
                lambda: f"nullif({inner()}, '')",
                lambda: f"concat({inner()}, '-', {inner()})",
            ],
            "dbl": [
                lambda: f"({inner()} + {inner()})",
                lambda: f"({inner()} * 2)",
                lambda: f"{self.pick('abs', 'floor', 'ceil')}({inner()})",
                lambda: f"cast({self.column(table, 'int', 'dec')} as double)",
                lambda: f"nullif({inner()}, 0)",
                lambda: f"({inner()} / 4)",
            ],
            "bool": [lambda: f"({condition()})"],
            "ts": [
                lambda: f"date_trunc('{self.pick('hour', 'day', 'month')}', {self.column(table, of)})",
                lambda: f"({self.column(table, of)} + interval '{self.number(1, 100)} hours')",
                lambda: f"cast({self.column(table, 'date')} as timestamp)",
            ],
        }[of]
        either = [
            lambda: f"coalesce({inner()}, {self.literal(of)})",
            lambda: f"case when {condition()} then {inner()} else {inner()} end",
        ]
        return self.pick(*forms, *forms, *either)

    def condition(self, table, depth=0):
        """An expression that is true, false or NULL."""
        dice = self.random.random()
        if depth < 3 and dice < 0.35:
            inner = lambda: self.condition(table, depth + 1)
            return self.pick(
                lambda: f"({inner()} and {inner()})",
                lambda: f"({inner()} or {inner()})",
                lambda: f"not ({inner()})",
                lambda: f"({inner()}) is {self.pick('true', 'not true', 'false', 'not false', 'null', 'not null')}",
            )
        if dice < 0.4:
            return f"{table}.id in ({', '.join(str(self.number(0, 1200)) for _ in range(self.number(1, 5)))})"
        of = self.random.choice(TYPES)
        value = self.value(of, table, depth + 1)
        return self.pick(
            lambda: self.compared(value, of, table, depth),
            lambda: self.compared(value, of, table, depth),
            lambda: f"{value} is {self.pick('', 'not ')}null",
            lambda: f"{value} {self.pick('', 'not ')}in ({self.listed(of)})",
            lambda: f"{value} {self.pick('', 'not ')}between {self.literal(of)} and {self.literal(of)}",
            lambda: self.distinct(value, self.literal(of)),
            lambda: self.like(self.value("str", table, depth + 1)),
        )

    def compared(self, value, of, table, depth):
        other = self.literal(of) if self.chance(0.7) else self.value(of, table, depth + 1)
        return f"{value} {self.pick('=', '<>', '<', '<=', '>', '>=')} {other}"

    def listed(self, of):
        values = [self.literal(of) for _ in range(self.number(1, 4))]
        return ", ".join(values + ["null"] * self.chance(0.25))

    def distinct(self, one, other):
        """With nothing around it: what follows, AND as well, is none of the operand's."""
        return f"{one} is {self.pick('', 'not ')}distinct from {other}"

    def like(self, value):
        patterns = ["a%", "%b", "%e%", "_b%", "a", "%", "", "beyond%", "%ä%"]
        return f"{value} {self.pick('', 'not ')}{self.pick('like', 'ilike')} '{self.random.choice(patterns)}'"

    def order(self):
        return self.pick("asc nulls first", "asc nulls last", "desc nulls first", "desc nulls last")

    def limit(self):
        return self.pick("", f" limit {self.number(1, 40)}", f" limit {self.number(1, 30)} offset {self.number(0, 50)}")
