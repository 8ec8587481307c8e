//! Names, validated once at the edge and trusted from there on.

use std::fmt;

use crate::error::{Error, Result};

/// The schema of the datasets that lie in the root itself.
pub const DEFAULT_SCHEMA: &str = "public";

/// Schemas that are made of no files.
const RESERVED: [&str; 2] = ["information_schema", "system"];
const MAX_BYTES: usize = 200;
const SUFFIX: &str = ".parquet";

/// A dataset's name without the `.parquet` that it may be written with: `uploaded` and
/// `uploaded.parquet` name the same dataset. It is also the name of the dataset's SQL table.
///
/// UTF-8 of 1 to 200 bytes, without separators, control characters, `#`, `..` or a leading dot, so
/// that it is a file name on every system and stays in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetName(String);

impl DatasetName {
    /// Reads a name as clients write it.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.strip_suffix(SUFFIX).unwrap_or(text);
        check("dataset name", name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name without the suffix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shortest text that [`parse`](Self::parse) reads as this name: a name that itself ends in
    /// `.parquet` needs the suffix once more.
    pub fn to_wire(&self) -> String {
        if self.0.ends_with(SUFFIX) { self.with_suffix() } else { self.0.clone() }
    }

    /// The name of a file that is this dataset.
    pub fn with_suffix(&self) -> String {
        format!("{}{SUFFIX}", self.0)
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a SQL schema, under the same rules as [`DatasetName`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaName(String);

impl SchemaName {
    /// Reads a schema's name; empty means the default schema.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        check("schema name", text)?;
        if RESERVED.contains(&text) {
            return Err(invalid("schema name", text, "it belongs to the server"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the schema of the root itself.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_SCHEMA
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self(DEFAULT_SCHEMA.to_owned())
    }
}

/// A dataset, fully named. Shown as `name`, or as `schema.name` outside of the default schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetRef {
    /// The schema that holds it.
    pub schema: SchemaName,
    /// Its name there.
    pub name: DatasetName,
}

impl DatasetRef {
    /// A dataset of the default schema.
    pub fn in_default(name: DatasetName) -> Self {
        Self { schema: SchemaName::default(), name }
    }

    /// Reads the two fields that messages carry. An empty schema is the default one.
    pub fn parse(schema: &str, name: &str) -> Result<Self> {
        Ok(Self { schema: SchemaName::parse(schema)?, name: DatasetName::parse(name)? })
    }

    /// Reads the elements of a descriptor's path: a name, or a schema and a name.
    pub fn from_path(path: &[impl AsRef<str>]) -> Result<Self> {
        match path {
            [name] => Self::parse("", name.as_ref()),
            [schema, name] => Self::parse(schema.as_ref(), name.as_ref()),
            _ => Err(Error::invalid(format!(
                "a path has one element (a dataset) or two (a schema and a dataset), not {}",
                path.len()
            ))),
        }
    }

    /// The other reading of a bare `schema.name`: the text as a dataset of another schema.
    pub fn split_dotted(text: &str) -> Option<Self> {
        let (schema, name) = text.split_once('.')?;
        Self::parse(schema, name).ok().filter(|dataset| !schema.is_empty() && !dataset.schema.is_default())
    }

    /// The elements of the descriptor's path that names this dataset.
    pub fn to_path(&self) -> Vec<String> {
        let name = self.name.to_wire();
        if self.schema.is_default() { vec![name] } else { vec![self.schema.0.clone(), name] }
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema.is_default() { self.name.fmt(f) } else { write!(f, "{}.{}", self.schema.0, self.name) }
    }
}

fn check(what: &str, text: &str) -> Result<()> {
    let problem = match text {
        "" => Some("it is empty"),
        _ if text.len() > MAX_BYTES => Some("it is longer than 200 bytes"),
        _ if text.starts_with('.') => Some("it starts with a dot"),
        _ if text.contains("..") => Some("it contains \"..\""),
        _ if text.contains(['/', '\\']) => Some("it contains a separator"),
        _ if text.contains('#') => Some("it contains \"#\""),
        _ if text.contains(char::is_control) => Some("it contains a control character"),
        _ => None,
    };
    problem.map_or(Ok(()), |problem| Err(invalid(what, text, problem)))
}

fn invalid(what: &str, text: &str, problem: &str) -> Error {
    let shown: String = text.chars().take(60).collect();
    Error::invalid(format!("{shown:?} is not a {what}: {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_suffix_makes_no_difference() {
        assert_eq!(DatasetName::parse("a").unwrap(), DatasetName::parse("a.parquet").unwrap());
        assert_eq!(DatasetName::parse("a.parquet.parquet").unwrap().as_str(), "a.parquet");
    }

    #[test]
    fn what_could_leave_the_directory_is_no_name() {
        let long = "x".repeat(201);
        for text in [
            "", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a..b", "a#b", "a\0b", "a\nb", ".parquet", &long,
        ] {
            assert!(DatasetName::parse(text).is_err(), "{text:?}");
        }
        assert!(SchemaName::parse("information_schema").is_err());
    }

    #[test]
    fn a_path_has_one_or_two_elements() {
        assert_eq!(DatasetRef::from_path(&["a"]).unwrap().to_string(), "a");
        assert_eq!(DatasetRef::from_path(&["f", "a.parquet"]).unwrap().to_string(), "f.a");
        assert!(DatasetRef::from_path(&[] as &[&str]).is_err());
        assert!(DatasetRef::from_path(&["a", "b", "c"]).is_err());
    }

    proptest! {
        #[test]
        fn a_name_survives_the_wire(text in "\\PC{1,40}(\\.parquet){0,2}") {
            if let Ok(name) = DatasetName::parse(&text) {
                prop_assert_eq!(DatasetName::parse(&name.to_wire()).unwrap(), name);
            }
        }

        #[test]
        fn a_reference_survives_the_path(schema in "[a-z.]{0,8}", name in "[a-zA-Z.]{1,12}") {
            if let Ok(dataset) = DatasetRef::parse(&schema, &name) {
                prop_assert_eq!(DatasetRef::from_path(&dataset.to_path()).unwrap(), dataset);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = DatasetName::parse(&text);
            let _ = DatasetRef::split_dotted(&text);
        }
    }
}
