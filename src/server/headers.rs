//! The headers of requests that are Airstrip's own.

use tonic::metadata::{KeyRef, MetadataMap};

use crate::error::{Error, Result};

/// How they begin, before a dash.
const BEGIN: &str = "x-airstrip";
/// The version that a dataset must have.
pub(super) const IF_VERSION: &str = "x-airstrip-if-version";

/// As much of an unknown name as an error repeats.
const MAX_NAME: usize = 100;

/// All that there are.
const NAMES: [&str; 13] = [
    "x-airstrip-allow",
    "x-airstrip-commit",
    "x-airstrip-compression",
    "x-airstrip-endpoints",
    "x-airstrip-expected-rows",
    IF_VERSION,
    "x-airstrip-keep-other-files",
    "x-airstrip-message-size",
    "x-airstrip-mode",
    "x-airstrip-partition-by",
    "x-airstrip-schema",
    "x-airstrip-txn",
    "x-airstrip-types",
];

/// Fails if a header begins as ours do and is none: what it was to ask for would be ignored.
pub(super) fn check(metadata: &MetadataMap) -> Result<()> {
    for key in metadata.keys() {
        let name = name_of(&key);
        if own_part(name).is_some() && !NAMES.contains(&name) {
            return Err(unknown("header", name, &NAMES));
        }
    }
    Ok(())
}

/// What comes after the beginning of ours, with whatever sign in the place of the last dash; `None` of other headers.
fn own_part(name: &str) -> Option<&str> {
    let is_sign = |sign: char| !sign.is_ascii_alphanumeric();
    let rest = name.strip_prefix(BEGIN)?;
    (rest.is_empty() || rest.starts_with(is_sign)).then(|| rest.trim_start_matches(is_sign))
}

/// The error for a name that is none of those that are `known`: a header, an option, a field of a body.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let short: String = name.chars().take(MAX_NAME).collect();
    let wanted = own_part(&short).unwrap_or(&short);
    let likeness = |known: &str| strsim::jaro_winkler(own_part(known).unwrap_or(known), wanted);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
    Error::invalid(format!("there is no {what} {short}{hint}"))
}

/// The name of a header, whatever its value is.
pub(super) fn name_of<'a>(key: &KeyRef<'a>) -> &'a str {
    match key {
        KeyRef::Ascii(key) => key.as_str(),
        KeyRef::Binary(key) => key.as_str(),
    }
}

/// The text of one of our headers.
pub(super) fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>> {
    debug_assert!(NAMES.contains(&name), "{name} is refused as unknown");
    let Some(value) = metadata.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| Error::invalid(format!("the header {name} is not ASCII text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_typo_is_refused_with_the_nearest_name() {
        for (name, nearest) in [
            ("x-airstrip-mod", "x-airstrip-mode"),
            ("x-airstrip-expected-row", "x-airstrip-expected-rows"),
            ("x-airstrip-ifversion", "x-airstrip-if-version"),
            ("x-airstrip-mode-bin", "x-airstrip-mode"),
            ("x-airstrip_mode", "x-airstrip-mode"),
        ] {
            let mut metadata = MetadataMap::new();
            if name.ends_with("-bin") {
                metadata.insert_bin(name, tonic::metadata::BinaryMetadataValue::from_bytes(b"append"));
            } else {
                metadata.insert(name, "append".parse().unwrap());
            }
            let error = check(&metadata).unwrap_err();
            assert_eq!(error.message(), format!("there is no header {name}; did you mean {nearest}?"));
        }
    }

    #[test]
    fn other_headers_are_nobodys_business() {
        let mut metadata = MetadataMap::new();
        for name in NAMES.into_iter().chain(["x-request-id", "authorization", "x-airstripe", "cookie"]) {
            metadata.insert(name, "a".parse().unwrap());
        }
        check(&metadata).unwrap();
    }
}
