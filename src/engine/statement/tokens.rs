//! Forms of statements that the parser does not take, as those that it does.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{RenameTable, Statement as SqlStatement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};

/// What the session is that the parser takes for words without parentheses.
const WITHOUT_PARENTHESES: [&str; 4] = ["current_catalog", "current_user", "session_user", "user"];

/// The tokens of a statement in the forms that the parser takes.
pub(in crate::engine) fn rewritten(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    session_values(described_table(partition_names(tokens)))
}

/// The places of the tokens that say something.
fn told(tokens: &[TokenWithSpan]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect()
}

fn is_word(token: Option<&TokenWithSpan>, wanted: &str) -> bool {
    matches!(token.map(|token| &token.token), Some(Token::Word(word))
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// `CREATE TABLE … PARTITIONED BY (a, b)`: the parser wants types there, and names only after `PARTITION BY`.
fn partition_names(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let told = told(&tokens);
    let word = |at: usize, wanted: &str| is_word(told.get(at).map(|at| &tokens[*at]), wanted);
    if !word(0, "create") || word(1, "external") {
        return tokens;
    }
    let Some(at) = (0..told.len()).find(|at| word(*at, "partitioned") && word(at + 1, "by")) else {
        return tokens;
    };
    let listed = told[(at + 2).min(told.len())..].iter().map(|at| &tokens[*at].token);
    let listed: Vec<&Token> = listed.take_while(|token| !matches!(token, Token::RParen)).collect();
    let is_name = |pair: &[&Token]| matches!(pair, [Token::LParen | Token::Comma, Token::Word(_)]);
    if !listed.is_empty() && listed.chunks(2).all(is_name) {
        tokens[told[at]].token = Token::make_keyword("PARTITION");
    }
    tokens
}

/// `DESCRIBE TABLE t` without the word TABLE, where a name follows it.
fn described_table(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let told = told(&tokens);
    let word = |at: usize, wanted: &str| is_word(told.get(at).map(|at| &tokens[*at]), wanted);
    let names_one = matches!(told.get(2).map(|at| &tokens[*at].token), Some(Token::Word(_)));
    if (word(0, "describe") || word(0, "desc")) && word(1, "table") && names_one {
        tokens.remove(told[1]);
    }
    tokens
}

/// `current_user()` and the like without their parentheses.
fn session_values(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let told = told(&tokens);
    let is_empty_call = |at: usize| {
        let token = |at: usize| told.get(at).map(|at| &tokens[*at].token);
        matches!((token(at + 1), token(at + 2)), (Some(Token::LParen), Some(Token::RParen)))
    };
    let is_value = |at: &usize| {
        WITHOUT_PARENTHESES.iter().any(|value| is_word(Some(&tokens[told[*at]]), value)) && is_empty_call(*at)
    };
    let values: Vec<usize> = (0..told.len()).filter(is_value).collect();
    for at in values.into_iter().rev() {
        tokens.drain(told[at + 1]..=told[at + 2]);
    }
    tokens
}

/// `ALTER VIEW v RENAME TO w`, in the one form of the parser's that says as much; `None` for any other statement.
pub(in crate::engine) fn renamed_view(tokens: &[TokenWithSpan]) -> Result<Option<Statement>> {
    let told = told(tokens);
    let word = |at: usize, wanted: &str| is_word(told.get(at).map(|at| &tokens[*at]), wanted);
    if !(word(0, "alter") && word(1, "view") && (2..told.len()).any(|at| word(at, "rename"))) {
        return Ok(None);
    }
    let parsed = (|| {
        let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens.to_vec());
        parser.expect_keywords(&[Keyword::ALTER, Keyword::VIEW])?;
        let old_name = parser.parse_object_name(false)?;
        parser.expect_keywords(&[Keyword::RENAME, Keyword::TO])?;
        let new_name = parser.parse_object_name(false)?;
        let _ = parser.consume_token(&Token::SemiColon);
        parser.expect_token(&Token::EOF)?;
        Ok::<_, ParserError>(SqlStatement::RenameTable(vec![RenameTable { old_name, new_name }]))
    })();
    match parsed {
        Ok(renamed) => Ok(Some(Statement::Statement(Box::new(renamed)))),
        Err(ParserError::ParserError(text) | ParserError::TokenizerError(text)) => {
            Err(Error::invalid(format!("SQL error: {text}")))
        }
        Err(ParserError::RecursionLimitExceeded) => Err(Error::invalid("the SQL nests too deep")),
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::statement::limits::SqlLimits;
    use crate::engine::statement::parse::parse;

    fn parsed(sql: &str) -> String {
        parse(sql, &SqlLimits { bytes: 1 << 20, depth: 200, tables: 500, expressions: 10_000 })
            .unwrap()
            .to_string()
    }

    #[test]
    fn forms_of_other_systems_are_read() {
        assert_eq!(parsed("desc table t"), "DESC t");
        assert_eq!(parsed("describe table"), "DESCRIBE table");
        assert_eq!(parsed("select current_user ( ), user()"), "SELECT current_user, user");
        assert_eq!(parsed("alter view a.b rename to c;"), "RENAME TABLE a.b TO c");
    }
}
