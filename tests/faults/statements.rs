//! Operations that are a statement or an action, told by one number.

use std::fmt;

use crate::operation::Clients;

/// A statement or an action whose effect one query tells.
#[derive(PartialEq, Eq)]
pub(crate) struct Statement {
    /// The names in the root that its datasets may have.
    pub(crate) names: &'static [&'static str],
    /// What makes the state before it, whatever was there.
    pub(crate) before: &'static [&'static str],
    pub(crate) run: Run,
    /// Gives the state as a number; where a table is missing it is 0.
    pub(crate) state: &'static str,
    /// The states before and after.
    pub(crate) states: (i64, i64),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Sql(&'static str),
    /// The type of an action and its body.
    Action(&'static str, &'static str),
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Run::Sql(text) | Run::Action(text, _)) = &self.run;
        f.write_str(text)
    }
}

impl Statement {
    pub(crate) async fn prepare(&self, clients: &mut Clients) {
        for statement in self.before {
            clients.change(statement).await.unwrap();
        }
    }
}

pub(crate) static DROP_VIEW: Statement = Statement {
    names: &["looked_at.view.json"],
    before: &["create or replace view looked_at as select 1 as n"],
    run: Run::Sql("drop view looked_at"),
    state: "select n from looked_at",
    states: (1, 0),
};

pub(crate) static DROP_SCHEMA: Statement = Statement {
    names: &["closed.db"],
    before: &["create schema if not exists closed"],
    run: Run::Sql("drop schema closed"),
    state: "select count(*) from information_schema.schemata where schema_name = 'closed'",
    states: (1, 0),
};

pub(crate) static CREATE_TABLE: Statement = Statement {
    names: &["made"],
    before: &["drop table if exists made"],
    run: Run::Sql("create table made (n bigint not null, s text)"),
    state: "select count(*) + 1 from made",
    states: (0, 1),
};

pub(crate) static CREATE_TABLE_AS: Statement = Statement {
    names: &["selected", "selected.parquet"],
    before: &["drop table if exists selected"],
    run: Run::Sql("create table selected as select 1 as n union all select 2"),
    state: "select count(*) from selected",
    states: (0, 2),
};

pub(crate) static REPLACE_TABLE: Statement = Statement {
    names: &["again", "again.parquet"],
    before: &["create or replace table again as select 1::bigint as n"],
    run: Run::Sql("create or replace table again as select 2::bigint as n"),
    state: "select max(n) from again",
    states: (1, 2),
};

pub(crate) static DROP_TABLE: Statement = Statement {
    names: &["left_behind"],
    before: &["create table if not exists left_behind (n bigint)"],
    run: Run::Sql("drop table left_behind"),
    state: "select count(*) + 1 from left_behind",
    states: (1, 0),
};

pub(crate) static UNDROP_TABLE: Statement = Statement {
    names: &["regretted"],
    before: &["create table if not exists regretted (n bigint)", "drop table regretted"],
    run: Run::Sql("undrop table regretted"),
    state: "select count(*) + 1 from regretted",
    states: (0, 1),
};

pub(crate) static RENAME_TABLE: Statement = Statement {
    names: &["moved", "moved_on"],
    before: &["drop table if exists moved_on", "create table if not exists moved (n bigint)"],
    run: Run::Sql("alter table moved rename to moved_on"),
    state: "select sum(case table_name when 'moved' then 1 when 'moved_on' then 2 else 0 end) from \
            information_schema.tables",
    states: (1, 2),
};

pub(crate) static TRUNCATE: Statement = Statement {
    names: &["emptied", "emptied.parquet"],
    before: &["create or replace table emptied as select 1::bigint as n"],
    run: Run::Sql("truncate table emptied"),
    state: "select count(*) + 1 from emptied",
    states: (2, 1),
};

pub(crate) static MERGE: Statement = Statement {
    names: &["merged", "merged.parquet"],
    before: &["create or replace table merged as select 1::bigint as n"],
    run: Run::Sql(
        "merge into merged using (values (1), (2)) as s (n) on merged.n = s.n when matched then update set n = 10 \
         when not matched then insert (n) values (s.n)",
    ),
    state: "select sum(n) from merged",
    states: (1, 12),
};

pub(crate) static ADD_COLUMN: Statement = Statement {
    names: &["widened", "widened.parquet"],
    before: &["create or replace table widened as select 1::bigint as n"],
    run: Run::Sql("alter table widened add column m bigint"),
    state: "select count(*) from information_schema.columns where table_name = 'widened'",
    states: (1, 2),
};

pub(crate) static RESTORE: Statement = Statement {
    names: &["restored", "restored.parquet"],
    before: &[
        "drop table if exists restored",
        "create table restored (n bigint)",
        "insert into restored values (1)",
        "insert into restored values (2)",
    ],
    run: Run::Action("restore_dataset", r#"{"name": "restored", "to": "1"}"#),
    state: "select count(*) from restored",
    states: (2, 1),
};

/// The rows stay what they are, and so does the order that tells them apart.
pub(crate) static OPTIMIZE: Statement = Statement {
    names: &["compacted", "compacted.parquet"],
    before: &[
        "drop table if exists compacted",
        "create table compacted (n bigint)",
        "insert into compacted values (1)",
        "insert into compacted values (2)",
        "insert into compacted values (4)",
    ],
    run: Run::Action("optimize_dataset", r#"{"name": "compacted"}"#),
    state: "select sum(n) from compacted",
    states: (7, 7),
};

pub(crate) static REPLACE_VIEW: Statement = Statement {
    names: &["rewritten.view.json"],
    before: &["create or replace view rewritten as select 1 as n"],
    run: Run::Sql("create or replace view rewritten as select 2 as n"),
    state: "select n from rewritten",
    states: (1, 2),
};
