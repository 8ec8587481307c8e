//! The columns of a table as its log has them: a text in JSON.
//!
//! Other programs note on their columns what Arrow's types do not tell: variants, comments, lengths of texts,
//! collations, at any depth. A change of the columns keeps it where that text is edited; made anew from Arrow's
//! types, it would be lost.

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use serde_json::{Value, json};

use super::types::struct_type;
use crate::error::{Error, Result};

/// What a field's metadata tells of its type, and of no other one.
const OF_TYPE: [&str; 2] = ["__CHAR_VARCHAR_TYPE_STRING", "__COLLATIONS"];

/// The text of the columns `after`, made from the `text` of the columns `before`, both in the types that Delta
/// has: a column that stays keeps its own.
pub(super) fn with_columns(text: &str, before: &Schema, after: &Schema) -> Result<String> {
    let damaged = || Error::data_loss("the schema in the log of the Delta table is damaged");
    let mut tree: Value = serde_json::from_str(text).map_err(|error| damaged().with_source(error))?;
    let known = tree.get_mut("fields").ok_or_else(damaged)?;
    *known = edited(known, before.fields(), after.fields())?;
    Ok(tree.to_string())
}

fn edited(known: &Value, before: &Fields, after: &Fields) -> Result<Value> {
    let known = known.as_array().map(Vec::as_slice).unwrap_or_default();
    let field = |field: &FieldRef| {
        let is_it = |node: &&Value| node.get("name").and_then(Value::as_str) == Some(field.name());
        match known.iter().find(is_it).zip(before.find(field.name())) {
            Some((node, (_, before))) => kept(node, before, field),
            None => made(field),
        }
    };
    after.iter().map(field).collect::<Result<Vec<_>>>().map(Value::Array)
}

/// The field that is `node` now, if it is still of that type.
fn kept(node: &Value, before: &Field, after: &Field) -> Result<Value> {
    let mut node = node.clone();
    if before.data_type() != after.data_type() {
        let (DataType::Struct(inner), DataType::Struct(wanted)) = (before.data_type(), after.data_type())
        else {
            return made(after);
        };
        let Some(fields) = node.pointer_mut("/type/fields") else { return made(after) };
        *fields = edited(fields, inner, wanted)?;
        if let Some(metadata) = node.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !OF_TYPE.contains(&key.as_str()));
        }
    }
    if before.is_nullable() != after.is_nullable() {
        node["nullable"] = json!(after.is_nullable());
    }
    Ok(node)
}

/// A field that the table did not have.
fn made(field: &Field) -> Result<Value> {
    let columns = struct_type(&Schema::new(vec![field.clone()]))?;
    let made = serde_json::to_value(&columns)
        .ok()
        .and_then(|mut tree| Some(tree.get_mut("fields")?.get_mut(0)?.take()));
    made.ok_or_else(|| Error::internal(format!("column {:?} as a log has it", field.name())))
}

#[cfg(test)]
mod tests {
    use deltalake_core::kernel::StructType;

    use super::super::log::arrow_schema;
    use super::super::types::delta_types;
    use super::*;

    const COLUMNS: &str = concat!(
        r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":false,"metadata":{"comment":"the key"}},"#,
        r#"{"name":"v","type":"variant","nullable":true,"metadata":{}},"#,
        r#"{"name":"st","type":{"type":"struct","fields":[{"name":"a","type":"integer","nullable":true,"#,
        r#""metadata":{"comment":"inner"}},{"name":"b","type":"string","nullable":true,"metadata":{}}]},"#,
        r#""nullable":true,"metadata":{"comment":"x","__CHAR_VARCHAR_TYPE_STRING":"struct<a:int,b:varchar(3)>"}},"#,
        r#"{"name":"l","type":{"type":"array","elementType":"variant","containsNull":true},"nullable":true,"#,
        r#""metadata":{"n":1,"deep":{"z":[1,2],"a":null}}}]}"#,
    );

    fn columns() -> Schema {
        let columns: StructType = serde_json::from_str(COLUMNS).unwrap();
        delta_types(&arrow_schema(&columns).unwrap()).unwrap()
    }

    fn with(change: impl FnOnce(&mut Vec<FieldRef>)) -> String {
        let (before, mut fields) = (columns(), columns().fields().to_vec());
        change(&mut fields);
        with_columns(COLUMNS, &before, &Schema::new(fields)).unwrap()
    }

    #[test]
    fn columns_that_stay_keep_their_text() {
        assert_eq!(with(|_| ()), COLUMNS);
        let more = with(|fields| fields.push(Field::new("new", DataType::Utf8, true).into()));
        let new = r#",{"name":"new","type":"string","nullable":true,"metadata":{}}]}"#;
        assert_eq!(more, format!("{}{new}", COLUMNS.strip_suffix("]}").unwrap()));
        let loose = with(|fields| fields[0] = Field::new("id", DataType::Int64, true).into());
        assert_eq!(loose, COLUMNS.replace(r#""nullable":false"#, r#""nullable":true"#));
    }

    #[test]
    fn fields_inside_of_a_column_that_changes_keep_theirs() {
        let changed = with(|fields| {
            let inner = vec![Field::new("a", DataType::Int32, true), Field::new("c", DataType::Utf8, true)];
            fields[2] = Field::new("st", DataType::Struct(inner.into()), true).into();
        });
        let changed: Value = serde_json::from_str(&changed).unwrap();
        let st = &changed["fields"][2];
        assert_eq!(st["metadata"], json!({"comment": "x"}));
        assert_eq!(st.pointer("/type/fields/0/metadata"), Some(&json!({"comment": "inner"})));
        assert_eq!(st.pointer("/type/fields/1/name"), Some(&json!("c")));
        let other = with(|fields| fields[0] = Field::new("id", DataType::Utf8, true).into());
        let other: Value = serde_json::from_str(&other).unwrap();
        assert_eq!(
            other["fields"][0],
            json!({"name": "id", "type": "string", "nullable": true, "metadata": {}})
        );
    }
}
