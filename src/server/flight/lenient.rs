//! Bodies in JSON, as people and tools write them: a number or a boolean may be a text, and a text a number.
//!
//! Protobuf's JSON mapping writes 64-bit numbers as texts, and so do we; who builds a body by hand writes `5` or `"5"`,
//! `true` or `"true"`, and means the same. A field that the message lacks is refused with the nearest that it has.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};
use crate::server::headers::unknown;

/// Reads a message from JSON. `what` names its place in errors: "the action's body".
pub(in crate::server) fn from_json<M: DeserializeOwned>(json: &[u8], what: &str) -> Result<M> {
    let read = serde_json::from_slice(json);
    let Once(value) = read.map_err(|error| Error::invalid(format!("{what} is no JSON: {error}")))?;
    from_value(value, what)
}

/// The same of JSON that is read already.
pub(in crate::server) fn from_value<M: DeserializeOwned>(value: Value, what: &str) -> Result<M> {
    M::deserialize(Lenient(value))
        .map_err(|Wrong(why)| Error::invalid(format!("{what} is not what it takes: {why}")))
}

/// A value whose objects have each field once: of two of one name, one would be ignored.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Once(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Once(value))) = entries.next_entry::<String, Once>()? {
            if fields.contains_key(&name) {
                return Err(serde::de::Error::custom(format_args!("the field {name} is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

/// Why a value is not what was asked for.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        // Messages know each of their fields by two names; the one that JSON writes has no underscore.
        let names: Vec<&str> = expected.iter().copied().filter(|name| !name.contains('_')).collect();
        Self(unknown("field", field, &names).message().to_owned())
    }
}

/// A value that gives itself as what it is asked for, where that means the same.
struct Lenient(Value);

impl Lenient {
    /// As a text, if it is a number or a boolean.
    fn into_text(self) -> Value {
        match self.0 {
            Value::Number(number) => Value::String(number.to_string()),
            Value::Bool(value) => Value::String(value.to_string()),
            other => other,
        }
    }

    /// As a boolean, if it is the text of one.
    fn into_bool(self) -> Value {
        match self.0 {
            Value::String(text) if text == "true" => Value::Bool(true),
            Value::String(text) if text == "false" => Value::Bool(false),
            other => other,
        }
    }

    /// As a number, if it is the text of one.
    fn into_number(self) -> Value {
        match self.0 {
            Value::String(text) => match text.trim().parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => Value::String(text),
            },
            other => other,
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
            Lenient(self.into_number()).deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => number.deserialize_any(visitor).map_err(serde::de::Error::custom),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(values) => visitor.visit_seq(Values(values.into_iter())),
            Value::Object(fields) => visitor.visit_map(Fields::new(fields)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        Self(self.into_text()).deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        Self(self.into_bool()).deserialize_any(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of an array.
struct Values(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Values {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> std::result::Result<Option<T::Value>, Wrong> {
        self.0.next().map(|value| seed.deserialize(Lenient(value))).transpose()
    }
}

/// The fields of an object, of which one is being read.
struct Fields {
    rest: serde_json::map::IntoIter,
    name: String,
    value: Value,
}

impl Fields {
    fn new(fields: Map<String, Value>) -> Self {
        Self { rest: fields.into_iter(), name: String::new(), value: Value::Null }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, Wrong> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = value;
        self.name.clone_from(&name);
        seed.deserialize(Lenient(Value::String(name))).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> std::result::Result<T::Value, Wrong> {
        let value = std::mem::take(&mut self.value);
        seed.deserialize(Lenient(value)).map_err(|Wrong(why)| Wrong(format!("{}: {why}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn read<M: DeserializeOwned>(json: &str) -> Result<M> {
        from_json(json.as_bytes(), "the body")
    }

    #[test]
    fn numbers_booleans_and_texts_are_taken_for_each_other() {
        for to in ["3", "\"3\""] {
            let request: proto::RestoreDatasetRequest =
                read(&format!(r#"{{"name": "a", "to": {to}}}"#)).unwrap();
            assert_eq!(request.to, "3");
        }
        for replace in ["true", "\"true\""] {
            let request: proto::RegisterDatasetRequest =
                read(&format!(r#"{{"name": 5, "replace": {replace}}}"#)).unwrap();
            assert!(request.replace);
            assert_eq!(request.name, "5");
        }
        for rows in ["7", "\"7\""] {
            let receipt: proto::PutReceipt = read(&format!(r#"{{"rows": {rows}}}"#)).unwrap();
            assert_eq!(receipt.rows, 7);
        }
        let request: proto::OptimizeDatasetRequest = read(r#"{"name": "a", "zOrderBy": ["b", 1]}"#).unwrap();
        assert_eq!(request.z_order_by, ["b", "1"]);
    }

    #[test]
    fn what_does_not_mean_the_same_is_refused_with_its_field() {
        for json in [r#"{"replace": "yes"}"#, r#"{"replace": 1}"#, r#"{"name": ["a"]}"#] {
            let error = read::<proto::RegisterDatasetRequest>(json).unwrap_err();
            assert!(error.message().contains("replace: ") || error.message().contains("name: "), "{error}");
        }
        assert!(read::<proto::PutReceipt>(r#"{"rows": "many"}"#).is_err());
        assert!(read::<proto::PutReceipt>(r#"{"rows": 1"#).unwrap_err().message().contains("no JSON"));
        let error = read::<proto::PutReceipt>(r#"{"rows": 1, "rows": 2}"#).unwrap_err();
        assert!(error.message().contains("the field rows is there twice"), "{error}");
    }

    #[test]
    fn a_field_with_a_typo_is_refused_with_the_nearest() {
        for (json, hint) in [
            (r#"{"nome": "a"}"#, "there is no field nome; did you mean name?"),
            (r#"{"new_nam": "a"}"#, "there is no field new_nam; did you mean newName?"),
            (r#"{"newschema": "a"}"#, "there is no field newschema; did you mean newSchema?"),
        ] {
            let error = read::<proto::RenameDatasetRequest>(json).unwrap_err();
            assert!(error.message().contains(hint), "{error}");
        }
        // Both of a field's own names are right.
        assert!(read::<proto::RenameDatasetRequest>(r#"{"new_name": "a", "newSchema": "b"}"#).is_ok());
    }
}
