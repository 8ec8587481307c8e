//! How long and how deep a SQL text may be, found out before anything recursive looks at it.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// The limits of a statement.
#[derive(Debug, Clone, Copy)]
pub struct SqlLimits {
    /// Bytes of text.
    pub bytes: usize,
    /// Levels of nesting: of parentheses, of operators in one expression, of set operations.
    pub depth: usize,
}

/// The most nodes that a plan may have: a chain of CTEs that each use the one before twice doubles
/// the plan with every line of SQL.
pub(super) const MAX_PLAN_NODES: usize = 50_000;

/// Fails if `sql` is longer or deeper than `limits` allow.
///
/// The depth is an upper bound read off the tokens, without recursion: operators between two commas
/// nest in the worst case (`1+1+…` leans left), and so does whatever encloses them.
pub(super) fn check_limits(sql: &str, limits: &SqlLimits) -> Result<()> {
    if sql.len() > limits.bytes {
        return Err(Error::invalid(format!(
            "the SQL is longer than {} bytes (the setting max-sql-bytes)",
            limits.bytes
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::invalid(format!("SQL error: {error}")))?;
    let deepest = depth(&tokens);
    if deepest > limits.depth {
        return Err(Error::invalid(format!(
            "the SQL nests {deepest} levels deep, {} are allowed (the setting max-sql-depth); \
             write long chains of OR as IN (…), or join with a dataset of the values",
            limits.depth
        )));
    }
    Ok(())
}

fn depth(tokens: &[Token]) -> usize {
    // Per open bracket: the links of the chain that is being read in it.
    let mut chains = vec![0_usize];
    let (mut sum, mut deepest) = (0, 0);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => chains.push(0),
            Token::RParen | Token::RBracket | Token::RBrace => {
                if chains.len() > 1 {
                    sum -= chains.pop().unwrap_or(0);
                }
            }
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
    use super::*;

    fn depth_of(sql: &str) -> usize {
        depth(&Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap())
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

    #[test]
    fn unbalanced_brackets_do_no_harm() {
        depth_of(")))((( ] [ } {");
    }

    #[test]
    fn the_limits_are_named() {
        let limits = SqlLimits { bytes: 100, depth: 10 };
        let error = check_limits(&"x".repeat(101), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-bytes"), "{error}");
        let error = check_limits(&format!("select 1{}", "+1".repeat(20)), &limits).unwrap_err();
        assert!(error.message().contains("max-sql-depth"), "{error}");
        check_limits("select 1", &limits).unwrap();
    }
}
