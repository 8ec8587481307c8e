//! What a query is given as: SQL, or a Substrait plan.

use std::fmt;

use bytes::Bytes;

/// What a query is given as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// SQL text.
    Sql(String),
    /// An encoded `substrait.Plan`.
    Substrait(Bytes),
}

impl Source {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Sql(sql) => sql.len(),
            Self::Substrait(plan) => plan.len(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(sql) => f.write_str(sql),
            Self::Substrait(plan) => write!(f, "a Substrait plan of {} bytes", plan.len()),
        }
    }
}

impl From<String> for Source {
    fn from(sql: String) -> Self {
        Self::Sql(sql)
    }
}
