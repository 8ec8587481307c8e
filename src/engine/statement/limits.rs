//! How long and how deep a SQL text may be, found out before anything recursive looks at it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Query, Statement as SqlStatement, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Result};
use crate::safeguard::Safeguard;

/// The limits of a statement.
#[derive(Debug, Clone, Copy)]
pub struct SqlLimits {
    /// Bytes of text.
    pub bytes: usize,
    /// Levels of nesting: of parentheses, of operators in one expression, of set operations.
    pub depth: usize,
    /// Tables that are read, with CTEs written out.
    pub tables: usize,
    /// Expressions that are more than a name or a constant: what planning looks at again and again.
    pub expressions: usize,
}

/// The most nodes that a plan may have.
pub(in crate::engine) const MAX_PLAN_NODES: usize = 50_000;

/// Fails if `statement` reads more tables than `limits` allow once its CTEs are written out: a chain of CTEs that each use
/// the one before twice doubles with every line of SQL, and so does the time to plan it.
pub(in crate::engine) fn check_relations(statement: &SqlStatement, limits: &SqlLimits) -> Result<()> {
    let mut count = Relations { most: limits.tables as u64, ..Relations::default() };
    match statement.visit(&mut count) {
        ControlFlow::Continue(()) if count.outside <= count.most => Ok(()),
        _ => Err(Error::invalid(format!(
            "the statement reads more than {} tables once its CTEs are written out (the setting max-sql-tables); \
             store steps that are used often as datasets",
            limits.tables
        ))),
    }
}

/// Fails if `statement` has more expressions than `limits` allow.
pub(in crate::engine) fn check_expressions(statement: &SqlStatement, limits: &SqlLimits) -> Result<()> {
    let mut count = Expressions { left: limits.expressions };
    match statement.visit(&mut count) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) if !Safeguard::SqlExpressions.stands() => Ok(()),
        ControlFlow::Break(()) => Err(Error::invalid(format!(
            "the statement has more than {} expressions (the setting max-sql-expressions); join with a dataset of the \
             values, or upload the rows instead of writing them out",
            limits.expressions
        ))),
    }
}

/// Counts expressions down.
struct Expressions {
    left: usize,
}

impl Visitor for Expressions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            return ControlFlow::Continue(());
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}

/// Counts the tables that a statement reads, CTEs written out, of which each counts itself too. Stops where one is above
/// the most.
#[derive(Default)]
struct Relations {
    most: u64,
    /// The tables outside of queries, and in those that are done.
    outside: u64,
    /// The queries around what is visited.
    open: Vec<Scope>,
}

/// A query that is visited.
#[derive(Default)]
struct Scope {
    /// The names of its CTEs, by the addresses of their queries.
    names: HashMap<usize, String>,
    /// The tables that each CTE so far stands for.
    ctes: HashMap<String, u64>,
    tables: u64,
}

impl Relations {
    /// What a name stands for: the innermost CTE of that name that is complete (inside of itself, in a recursion, it is
    /// not), else one table.
    fn size(&self, name: &ObjectName) -> u64 {
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return 1 };
        let name = name.value.to_lowercase();
        let cte = self.open.iter().rev().find_map(|scope| scope.ctes.get(&name));
        cte.map_or(1, |tables| tables.saturating_add(1))
    }

    fn add(&mut self, tables: u64) -> ControlFlow<()> {
        let count = self.open.last_mut().map_or(&mut self.outside, |scope| &mut scope.tables);
        *count = count.saturating_add(tables);
        if *count > self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = ctes.map(|cte| (address(&cte.query), cte.alias.name.value.to_lowercase()));
        self.open.push(Scope { names: names.collect(), ..Scope::default() });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.add(self.size(name))
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = self.open.pop().map_or(0, |scope| scope.tables);
        if let Some(outer) = self.open.last_mut()
            && let Some(name) = outer.names.get(&address(query))
        {
            outer.ctes.insert(name.clone(), tables);
            return ControlFlow::Continue(());
        }
        self.add(tables)
    }
}

/// The tokens of `sql`, unless it is longer or deeper than `limits` allow.
///
/// The depth is an upper bound read off the tokens, without recursion: operators between two commas
/// nest in the worst case (`1+1+…` leans left), and so does whatever encloses them.
pub(in crate::engine) fn tokenize(sql: &str, limits: &SqlLimits) -> Result<Vec<TokenWithSpan>> {
    if sql.len() > limits.bytes {
        return Err(Error::invalid(format!(
            "the SQL is longer than {} bytes (the setting max-sql-bytes)",
            limits.bytes
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| Error::invalid(format!("SQL error: {error}")))?;
    let deepest = depth(tokens.iter().map(|token| &token.token));
    if deepest > limits.depth && Safeguard::SqlDepth.stands() {
        return Err(Error::invalid(format!(
            "the SQL nests {deepest} levels deep, {} are allowed (the setting max-sql-depth); \
             write long chains of OR as IN (…), or join with a dataset of the values",
            limits.depth
        )));
    }
    Ok(tokens)
}

fn depth<'a>(tokens: impl Iterator<Item = &'a Token>) -> usize {
    // Per open bracket: the links of the chain that is being read in it.
    let mut chains = vec![0_usize];
    let (mut sum, mut deepest) = (0, 0);
    for token in tokens {
        match token {
            Token::LParen | Token::LBrace => chains.push(0),
            Token::LBracket => {
                // A subscript makes what stands before it deeper, besides what it holds.
                if let Some(chain) = chains.last_mut() {
                    *chain += 1;
                    sum += 1;
                }
                chains.push(0);
            }
            Token::RParen | Token::RBracket | Token::RBrace if chains.len() > 1 => {
                sum -= chains.pop().unwrap_or(0);
            }
            Token::RParen | Token::RBracket | Token::RBrace => {}
            Token::Comma | Token::SemiColon => {
                if let Some(chain) = chains.last_mut() {
                    sum -= std::mem::take(chain);
                }
            }
            token if links(token) => {
                if let Some(chain) = chains.last_mut() {
                    *chain += 1;
                    sum += 1;
                }
            }
            _ => {}
        }
        deepest = deepest.max(sum + chains.len() - 1);
    }
    deepest
}

/// Whether a token can make an expression, or a query, one level deeper than what stands before it.
fn links(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::SIMILAR
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::OVERLAPS
                | Keyword::OPERATOR
                | Keyword::CASE
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::SELECT
                | Keyword::EXPLAIN
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Whitespace(_)
        | Token::Period
        | Token::Placeholder(_)
        | Token::EOF => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn depth_of(sql: &str) -> usize {
        depth(Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap().iter())
    }

    #[test]
    fn chains_and_brackets_count_and_lists_do_not() {
        assert!(depth_of("select a, b, c from t where x in (1, 2, 3, 4, 5, 6, 7, 8)") < 5);
        assert!(depth_of(&format!("select 1{}", "+1".repeat(1000))) >= 1000);
        assert!(depth_of(&format!("select {}1{}", "(".repeat(500), ")".repeat(500))) >= 500);
        assert!(depth_of(&format!("select {}1", "- ".repeat(300))) >= 300);
        assert!(depth_of(&format!("select 1{}", " union select 1".repeat(300))) >= 300);
        assert!(depth_of(&format!("select {} 1", "not ".repeat(300))) >= 300);
        let list = vec!["1+1"; 10_000].join(",");
        assert!(depth_of(&format!("select {list}")) < 10);
    }

    fn relations(sql: &str) -> Result<()> {
        let statements = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        check_relations(&statements[0], &SqlLimits { bytes: 0, depth: 0, tables: 500, expressions: 1000 })
    }

    #[test]
    fn ctes_count_as_often_as_they_are_used() {
        let mut doubling = "with c0 as (select 1 as a)".to_owned();
        for line in 1..40 {
            doubling += &format!(", c{line} as (select * from c{0} a, c{0} b)", line - 1);
        }
        assert!(relations(&format!("{doubling} select * from c5")).is_err());
        assert!(relations(&format!("select 1 from (select 2){}", ", t".repeat(600))).is_err());
        let linear = |lines: usize| {
            let ctes: Vec<_> =
                (1..lines).map(|line| format!("c{line} as (select * from c{})", line - 1)).collect();
            relations(&format!("with c0 as (select 1), {} select * from c{}", ctes.join(","), lines - 1))
        };
        linear(400).unwrap();
        assert!(linear(502).is_err());
        // One that is not used is written out nowhere.
        relations(&format!("with c as (select 1 from t{}) select 1", ", t".repeat(400))).unwrap();
        relations(&format!("with c as (select 1 from t{0}) select 1 from t{0}", ", t".repeat(400))).unwrap();
        // A name means the CTE of its own query, else of the one around it.
        let many = format!("with c as (select 1 from t{})", ", t".repeat(300));
        relations(&format!("{many} select (with c as (select 1) select * from c) from c")).unwrap();
        assert!(relations(&format!("{many} select (select max(1) from c) from c")).is_err());
        assert!(relations(&format!("{many} select * from \"C\" join c on true")).is_err());
        let recursive =
            "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) table r";
        assert!(relations(&recursive.replace("table r", "select * from r")).is_ok());
    }

    #[test]
    fn expressions_count_and_constants_do_not() {
        let check = |sql: &str| {
            let statements = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
            let limits = SqlLimits { bytes: 0, depth: 0, tables: 1, expressions: 100 };
            check_expressions(&statements[0], &limits)
        };
        check(&format!("select {} from t", vec!["a + 1"; 100].join(","))).unwrap();
        assert!(check(&format!("select {} from t", vec!["a + 1"; 101].join(","))).is_err());
        check(&format!("select a from t where a in ({})", vec!["1"; 1000].join(","))).unwrap();
    }

    #[test]
    fn unbalanced_brackets_do_no_harm() {
        depth_of(")))((( ] [ } {");
    }

    #[test]
    fn the_limits_are_named() {
        let limits = SqlLimits { bytes: 100, depth: 10, tables: 1, expressions: 1 };
        let error = tokenize(&"x".repeat(101), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-bytes"), "{error}");
        let error = tokenize(&format!("select 1{}", "+1".repeat(20)), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-depth"), "{error}");
        tokenize("select 1", &limits).unwrap();
    }
}
