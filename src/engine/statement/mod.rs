//! From a text to one checked statement: within limits, parsed, of a known kind, its parameters found.

pub(in crate::engine) mod gate;
mod limits;
mod parameters;
mod parse;
mod setting;
mod source;
mod tokens;
mod verbs;

pub use limits::SqlLimits;
pub use parameters::Bound;
pub(in crate::engine) use parameters::{Wanted, columns_for, is_text};
pub use parse::StatementKind;
pub(in crate::engine) use parse::{check_no_parameters, kind, parameters, parse};
pub use setting::Setting;
pub use source::Source;
pub use verbs::near_verb;
