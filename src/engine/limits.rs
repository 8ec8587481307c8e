//! How long and how deep a SQL text may be, found out before anything recursive looks at it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement, Visit, Visitor, visit_relations};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Result};

/// The limits of a statement.
#[derive(Debug, Clone, Copy)]
pub struct SqlLimits {
    /// Bytes of text.
    pub bytes: usize,
    /// Levels of nesting: of parentheses, of operators in one expression, of set operations.
    pub depth: usize,
}

/// The most nodes that a plan may have.
pub(super) const MAX_PLAN_NODES: usize = 50_000;
/// The most tables that a statement may read, CTEs written out: a chain of CTEs that each use the one
/// before twice doubles with every line of SQL, and so does the time to plan it.
const MAX_RELATIONS: u64 = 500;

/// Fails if `statement` reads more than [`MAX_RELATIONS`] tables once its CTEs are written out. An
/// upper bound: CTEs of one name in different places count as one that reads what they read together.
pub(super) fn check_relations(statement: &SqlStatement) -> Result<()> {
    let mut ctes = Ctes::default();
    let _ = statement.visit(&mut ctes);
    let total = relations_of(statement).iter().fold(0_u64, |sum, name| {
        let size = ctes.size(name, &mut Vec::new());
        sum.saturating_add(size)
    });
    if total <= MAX_RELATIONS {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the statement reads more than {MAX_RELATIONS} tables once its CTEs are written out; store steps \
         that are used often as datasets"
    )))
}

/// The tables that each CTE names, by the CTE's name.
#[derive(Default)]
struct Ctes {
    reads: HashMap<String, Vec<String>>,
    sizes: HashMap<String, u64>,
}

impl Ctes {
    /// Tables that `name` stands for: itself, if it is no CTE, or one inside of itself (recursion).
    fn size(&mut self, name: &str, inside: &mut Vec<String>) -> u64 {
        if let Some(known) = self.sizes.get(name) {
            return *known;
        }
        if inside.iter().any(|outer| outer == name) || !self.reads.contains_key(name) {
            return 1;
        }
        inside.push(name.to_owned());
        let reads = self.reads.get(name).cloned().unwrap_or_default();
        let size = reads.iter().fold(1_u64, |sum, read| sum.saturating_add(self.size(read, inside)));
        inside.pop();
        self.sizes.insert(name.to_owned(), size);
        size
    }
}

impl Visitor for Ctes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = cte.alias.name.value.to_lowercase();
            self.reads.entry(name).or_default().extend(relations_of(&cte.query));
        }
        ControlFlow::Continue(())
    }
}

/// The names of the tables in `node`, each as often as it stands there.
fn relations_of(node: &impl Visit) -> Vec<String> {
    let mut names = Vec::new();
    let _ = visit_relations(node, |name| {
        names.push(name.to_string().to_lowercase());
        ControlFlow::<()>::Continue(())
    });
    names
}

/// The tokens of `sql`, unless it is longer or deeper than `limits` allow.
///
/// The depth is an upper bound read off the tokens, without recursion: operators between two commas
/// nest in the worst case (`1+1+…` leans left), and so does whatever encloses them.
pub(super) fn tokenize(sql: &str, limits: &SqlLimits) -> Result<Vec<TokenWithSpan>> {
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
    if deepest > limits.depth {
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
        check_relations(&statements[0])
    }

    #[test]
    fn ctes_count_as_often_as_they_are_used() {
        let mut doubling = "with c0 as (select 1 as a)".to_owned();
        for line in 1..40 {
            doubling += &format!(", c{line} as (select * from c{0} a, c{0} b)", line - 1);
        }
        assert!(relations(&format!("{doubling} select * from c5")).is_err());
        assert!(relations(&format!("select 1 from (select 2){}", ", t".repeat(600))).is_err());
        let linear: Vec<_> =
            (1..200).map(|line| format!("c{line} as (select * from c{})", line - 1)).collect();
        assert!(
            relations(&format!("with c0 as (select 1), {} select * from c20", linear[..20].join(",")))
                .is_ok()
        );
        let recursive =
            "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) table r";
        assert!(relations(&recursive.replace("table r", "select * from r")).is_ok());
    }

    #[test]
    fn unbalanced_brackets_do_no_harm() {
        depth_of(")))((( ] [ } {");
    }

    #[test]
    fn the_limits_are_named() {
        let limits = SqlLimits { bytes: 100, depth: 10 };
        let error = tokenize(&"x".repeat(101), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-bytes"), "{error}");
        let error = tokenize(&format!("select 1{}", "+1".repeat(20)), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-depth"), "{error}");
        tokenize("select 1", &limits).unwrap();
    }
}
