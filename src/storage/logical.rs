//! What Parquet says of a file's columns that its Arrow reader leaves out.
//!
//! - INT96 is read as microseconds: as nanoseconds, which the reader takes them for, 64 bits reach from 1677 to
//!   2262 only, and what lies outside wraps. A writer that noted its Arrow schema chose the unit itself.
//! - UUID, JSON, VARIANT, GEOMETRY and GEOGRAPHY become Arrow's extension types of what they are stored as. The
//!   reader knows them too, where it is built with features that nothing else here needs.
//! - So do columns that a note of the file calls geometries: GeoParquet before Parquet had a type for them.
//! - A zone is kept where the unit is not: Parquet has no seconds, and the reader takes the zone of a noted
//!   schema only along with its unit.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::{FileMetaData, KeyValue};
use parquet::schema::types::{Type, TypePtr};

use super::names::{ARROW_SCHEMA, item_of};
use crate::error::contain;
use crate::safeguard::Safeguard;

/// The name of a field's extension type, among its metadata.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
/// The parameters of a field's extension type, among its metadata.
pub const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// The extension type of a UUID, which is stored as 16 bytes.
pub const UUID: &str = "arrow.uuid";
/// The extension type of JSON, which is stored as text.
pub const JSON: &str = "arrow.json";

/// The extension type of a geometry, which is stored as well-known binary.
const WKB: &str = "geoarrow.wkb";
/// The note of a file that says which of its columns are geometries.
const GEOMETRIES: &str = "geo";
/// The coordinates of a geometry of which nothing else is said: longitude and latitude.
/// <https://github.com/apache/parquet-format/blob/master/Geospatial.md#coordinate-reference-system>
const DEFAULT_CRS: &str = "OGC:CRS84";
/// What stands for coordinates of which nothing is known.
const UNKNOWN_CRS: &str = "srid:0";
/// Before the name of a note of the file that describes the coordinates.
const NOTED_CRS: &str = "projjson:";

/// `schema`, which the reader made of a file's footer, with what it left out; `None` where that is nothing.
pub(super) fn amended(file: &FileMetaData, schema: &SchemaRef) -> Option<SchemaRef> {
    let noted = note(file, ARROW_SCHEMA);
    let stored = file.schema_descr().root_schema().get_fields();
    let amendment = Amendment { file, has_own_units: noted.is_some() };
    if stored.len() != schema.fields().len() {
        return None;
    }
    let fields = schema.fields().iter().zip(stored).map(|(field, stored)| amendment.field(field, stored));
    let fields = amendment.with_noted_geometries(fields.collect());
    let fields = with_zones(fields, noted);
    let is_same = fields.iter().zip(schema.fields()).all(|(new, field)| Arc::ptr_eq(new, field));
    (!is_same).then(|| Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// `field` as an extension type, with its parameters if it has any.
#[must_use]
pub fn with_extension(field: Field, name: &str, parameters: Option<String>) -> Field {
    let mut metadata: HashMap<_, _> = field.metadata().clone();
    metadata.insert(EXTENSION_NAME.to_owned(), name.to_owned());
    metadata.extend(parameters.map(|parameters| (EXTENSION_METADATA.to_owned(), parameters)));
    field.with_metadata(metadata)
}

fn note<'a>(file: &'a FileMetaData, key: &str) -> Option<&'a str> {
    let is_it = |note: &&KeyValue| note.key == key;
    file.key_value_metadata()?.iter().find(is_it)?.value.as_deref()
}

struct Amendment<'a> {
    file: &'a FileMetaData,
    /// Whether the writer noted what it stored, units of time included.
    has_own_units: bool,
}

impl Amendment<'_> {
    /// A field whose column in the file is `stored`; the same where nothing is to be added.
    fn field(&self, field: &FieldRef, stored: &Type) -> FieldRef {
        let data_type = self.data_type(field.data_type(), stored);
        let extension = if field.extension_type_name().is_some() {
            None
        } else {
            self.extension(data_type.as_ref().unwrap_or(field.data_type()), stored)
        };
        if data_type.is_none() && extension.is_none() {
            return Arc::clone(field);
        }
        let mut amended = Field::clone(field);
        if let Some(data_type) = data_type {
            amended.set_data_type(data_type);
        }
        Arc::new(match extension {
            Some((name, parameters)) => with_extension(amended, name, parameters),
            None => amended,
        })
    }

    /// `fields` with those marked that the file's note calls geometries.
    /// <https://geoparquet.org/releases/v1.1.0/>
    fn with_noted_geometries(&self, fields: Vec<FieldRef>) -> Vec<FieldRef> {
        let Some(noted) = note(self.file, GEOMETRIES) else { return fields };
        let noted: serde_json::Value = serde_json::from_str(noted).unwrap_or_default();
        let field = |field: FieldRef| {
            let column = noted.get("columns").and_then(|columns| columns.get(field.name()));
            let is_wkb = |column: &&serde_json::Value| {
                column.get("encoding").and_then(serde_json::Value::as_str) == Some("WKB")
            };
            let is_free = field.data_type().is_binary() && field.extension_type_name().is_none();
            let Some(column) = column.filter(is_wkb).filter(|_| is_free) else { return field };
            let mut parameters = serde_json::Map::new();
            let crs = column.get("crs").cloned().unwrap_or_else(|| DEFAULT_CRS.into());
            let crs = Some(crs).filter(|crs| !crs.is_null());
            parameters.extend(crs.map(|crs| ("crs".to_owned(), crs)));
            let edges = column.get("edges").filter(|edges| edges.as_str() != Some("planar"));
            parameters.extend(edges.map(|edges| ("edges".to_owned(), edges.clone())));
            let parameters = serde_json::Value::Object(parameters).to_string();
            Arc::new(with_extension(Field::clone(&field), WKB, Some(parameters)))
        };
        fields.into_iter().map(field).collect()
    }

    /// The type instead of `data_type`, if it is another one.
    fn data_type(&self, data_type: &DataType, stored: &Type) -> Option<DataType> {
        use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
        let item = |item: &FieldRef| {
            let new = self.field(item, stored_item(stored));
            (!Arc::ptr_eq(&new, item)).then_some(new)
        };
        match data_type {
            DataType::Timestamp(TimeUnit::Nanosecond, None) if self.is_int96(stored) => {
                Some(DataType::Timestamp(TimeUnit::Microsecond, None))
            }
            List(of) => item(of).map(List),
            LargeList(of) => item(of).map(LargeList),
            ListView(of) => item(of).map(ListView),
            LargeListView(of) => item(of).map(LargeListView),
            FixedSizeList(of, size) => item(of).map(|item| FixedSizeList(item, *size)),
            Struct(fields) => self.fields(fields, children(stored)).map(Struct),
            Map(entries, is_sorted) => {
                let Struct(pair) = entries.data_type() else { return None };
                let [stored] = children(stored) else { return None };
                let pair = self.fields(pair, children(stored))?;
                Some(Map(Arc::new(Field::clone(entries).with_data_type(Struct(pair))), *is_sorted))
            }
            _ => None,
        }
    }

    fn fields(&self, fields: &Fields, stored: &[TypePtr]) -> Option<Fields> {
        if fields.len() != stored.len() {
            return None;
        }
        let new: Fields =
            fields.iter().zip(stored).map(|(field, stored)| self.field(field, stored)).collect();
        let is_same = new.iter().zip(fields).all(|(new, field)| Arc::ptr_eq(new, field));
        (!is_same).then_some(new)
    }

    fn is_int96(&self, stored: &Type) -> bool {
        !self.has_own_units
            && stored.is_primitive()
            && stored.get_physical_type() == PhysicalType::INT96
            && Safeguard::Int96.stands()
    }

    /// The name and the parameters of the extension type that a column is.
    fn extension(&self, data_type: &DataType, stored: &Type) -> Option<(&'static str, Option<String>)> {
        use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, LargeUtf8, Struct, Utf8, Utf8View};
        let logical = stored.get_basic_info().logical_type_ref()?;
        match (logical, data_type) {
            (LogicalType::Uuid, FixedSizeBinary(16)) => Some((UUID, None)),
            (LogicalType::Json, Utf8 | LargeUtf8 | Utf8View) => Some((JSON, Some(String::new()))),
            (LogicalType::Variant(_), Struct(_)) => Some(("arrow.parquet.variant", Some(String::new()))),
            (LogicalType::Geometry(geometry), Binary | LargeBinary | BinaryView) => {
                Some((WKB, Some(self.wkb(geometry.crs.as_deref(), None))))
            }
            (LogicalType::Geography(geography), Binary | LargeBinary | BinaryView) => {
                let edges = geography.algorithm().unwrap_or_default().to_string().to_lowercase();
                Some((WKB, Some(self.wkb(geography.crs.as_deref(), Some(&edges)))))
            }
            _ => None,
        }
    }

    /// What `GeoArrow` says of coordinates and of the edges between them.
    /// <https://geoarrow.org/extension-types.html#extension-metadata>
    fn wkb(&self, crs: Option<&str>, edges: Option<&str>) -> String {
        let mut parameters = serde_json::Map::new();
        let crs = crs.unwrap_or(DEFAULT_CRS);
        if crs != UNKNOWN_CRS {
            let noted = crs.strip_prefix(NOTED_CRS).and_then(|key| note(self.file, key));
            let crs = noted.unwrap_or(crs);
            let described = serde_json::from_str(crs).ok().filter(serde_json::Value::is_object);
            parameters.insert("crs".to_owned(), described.unwrap_or_else(|| crs.into()));
        }
        parameters.extend(edges.map(|edges| ("edges".to_owned(), edges.into())));
        serde_json::Value::Object(parameters).to_string()
    }
}

fn children(group: &Type) -> &[TypePtr] {
    if group.is_primitive() { &[] } else { group.get_fields() }
}

/// What the items of a list are stored as. What is repeated without being called a list is its own item.
fn stored_item(stored: &Type) -> &Type {
    let [repeated] = children(stored) else { return stored };
    let info = stored.get_basic_info();
    let is_list = info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List));
    if !is_list {
        return stored;
    }
    item_of(stored, repeated).map_or(repeated, |item| item)
}

/// `fields` in the zones that `noted`, the schema of the writer, has for them.
fn with_zones(fields: Vec<FieldRef>, noted: Option<&str>) -> Vec<FieldRef> {
    let is_zoned = |field: &FieldRef| {
        let found = std::cell::Cell::new(false);
        super::types::rewrite_field(field, &|data_type| {
            found.set(found.get() || matches!(data_type, DataType::Timestamp(_, Some(_))));
            None
        });
        found.get()
    };
    let Some(noted) = noted.filter(|_| fields.iter().any(is_zoned)) else { return fields };
    let decoded = STANDARD.decode(noted).ok().and_then(|bytes| {
        // The reader has read it too, so it is not damaged.
        contain(|| try_schema_from_ipc_buffer(&bytes)).ok()?.ok()
    });
    match decoded {
        Some(noted) if noted.fields().len() == fields.len() => {
            fields.iter().zip(noted.fields()).map(|(field, noted)| zoned(field, noted)).collect()
        }
        _ => fields,
    }
}

fn zoned(field: &FieldRef, noted: &FieldRef) -> FieldRef {
    zoned_type(field.data_type(), noted.data_type())
        .map_or_else(|| Arc::clone(field), |zoned| Arc::new(Field::clone(field).with_data_type(zoned)))
}

fn zoned_type(data_type: &DataType, noted: &DataType) -> Option<DataType> {
    use DataType::{FixedSizeList, LargeList, List, Map, Struct, Timestamp};
    let inner = |field: &FieldRef, noted: &FieldRef| {
        let new = zoned(field, noted);
        (!Arc::ptr_eq(&new, field)).then_some(new)
    };
    match (data_type, noted) {
        (Timestamp(unit, Some(own)), Timestamp(_, Some(zone))) if own != zone => {
            Some(Timestamp(*unit, Some(Arc::clone(zone))))
        }
        (List(item), List(noted)) => inner(item, noted).map(List),
        (LargeList(item), LargeList(noted)) => inner(item, noted).map(LargeList),
        (FixedSizeList(item, size), FixedSizeList(noted, _)) => {
            inner(item, noted).map(|item| FixedSizeList(item, *size))
        }
        (Map(entries, is_sorted), Map(noted, _)) => {
            inner(entries, noted).map(|entries| Map(entries, *is_sorted))
        }
        (Struct(fields), Struct(noted)) if fields.len() == noted.len() => {
            let new: Fields = fields.iter().zip(noted).map(|(field, noted)| zoned(field, noted)).collect();
            let is_same = new.iter().zip(fields).all(|(new, field)| Arc::ptr_eq(new, field));
            (!is_same).then_some(Struct(new))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use parquet::arrow::parquet_to_arrow_schema;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// The schema of a file of these columns and notes, amended.
    fn read(columns: &str, notes: &[(&str, &str)]) -> Schema {
        let message = parse_message_type(&format!("message m {{ {columns} }}")).unwrap();
        let descriptor = Arc::new(SchemaDescriptor::new(Arc::new(message)));
        let notes: Vec<_> =
            notes.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned())).collect();
        let file = FileMetaData::new(2, 0, None, Some(notes), Arc::clone(&descriptor), None);
        let schema = Arc::new(parquet_to_arrow_schema(&descriptor, file.key_value_metadata()).unwrap());
        amended(&file, &schema).map_or_else(|| Schema::clone(&schema), |schema| Schema::clone(&schema))
    }

    #[test]
    fn int96_is_microseconds_at_any_depth() {
        let schema = read(
            "optional int96 a; optional int64 b (TIMESTAMP(NANOS,false));
             optional group l (LIST) { repeated group list { optional int96 element; } }
             optional group o (LIST) { repeated int96 array; }
             optional group m (MAP) { repeated group key_value { required int96 key; optional group value {
                optional int96 x; } } }
             repeated int96 r;",
            &[],
        );
        let text = format!("{schema:?}");
        assert_eq!(text.matches("Microsecond").count(), 6, "{text}");
        assert_eq!(text.matches("Nanosecond").count(), 1, "{text}");
    }

    #[test]
    fn other_columns_are_left_alone() {
        let columns = "optional binary s (STRING); optional group g { optional int64 x; repeated int32 y; }";
        let message = parse_message_type(&format!("message m {{ {columns} }}")).unwrap();
        let descriptor = Arc::new(SchemaDescriptor::new(Arc::new(message)));
        let file = FileMetaData::new(2, 0, None, None, Arc::clone(&descriptor), None);
        let schema = Arc::new(parquet_to_arrow_schema(&descriptor, None).unwrap());
        assert!(amended(&file, &schema).is_none());
    }

    #[test]
    fn logical_types_are_extension_types() {
        let schema = read(
            "optional fixed_len_byte_array(16) u (UUID); optional binary j (JSON);
             optional group l (LIST) { repeated group list { optional fixed_len_byte_array(16) element (UUID); } }",
            &[],
        );
        let name = |field: &Field| field.extension_type_name().map(str::to_owned);
        assert_eq!(name(schema.field(0)).as_deref(), Some(UUID));
        assert_eq!(name(schema.field(1)).as_deref(), Some("arrow.json"));
        let DataType::List(item) = schema.field(2).data_type() else { panic!("no list") };
        assert_eq!(name(item).as_deref(), Some(UUID));
    }

    #[test]
    fn coordinates_are_told() {
        let descriptor = || {
            let message = parse_message_type("message m { optional binary g; }").unwrap();
            Arc::new(SchemaDescriptor::new(Arc::new(message)))
        };
        let notes = vec![KeyValue::new("swiss".to_owned(), r#"{"type": "ProjectedCRS"}"#.to_owned())];
        let file = FileMetaData::new(2, 0, None, Some(notes), descriptor(), None);
        let amendment = Amendment { file: &file, has_own_units: false };
        for (crs, edges, expected) in [
            (None, None, r#"{"crs":"OGC:CRS84"}"#),
            (Some("srid:0"), None, "{}"),
            (Some("EPSG:2056"), Some("spherical"), r#"{"crs":"EPSG:2056","edges":"spherical"}"#),
            (Some("projjson:swiss"), None, r#"{"crs":{"type":"ProjectedCRS"}}"#),
        ] {
            assert_eq!(amendment.wkb(crs, edges), expected);
        }
    }

    #[test]
    fn geometries_of_a_note_are_told() {
        let note = r#"{"columns": {"a": {"encoding": "WKB"}, "b": {"encoding": "WKB", "crs": null, "edges": "planar"},
            "c": {"encoding": "point"}, "d": {"encoding": "WKB", "crs": {"id": 1}, "edges": "spherical"}}}"#;
        let columns =
            "optional binary a; optional binary b; optional binary c; optional binary d; optional binary e;";
        let schema = read(columns, &[(GEOMETRIES, note)]);
        let parameters = |column: usize| schema.field(column).metadata().get(EXTENSION_METADATA).cloned();
        assert_eq!(parameters(0).as_deref(), Some(r#"{"crs":"OGC:CRS84"}"#));
        assert_eq!(parameters(1).as_deref(), Some("{}"));
        assert_eq!(parameters(3).as_deref(), Some(r#"{"crs":{"id":1},"edges":"spherical"}"#));
        assert!(schema.field(2).metadata().is_empty() && schema.field(4).metadata().is_empty());
    }

    #[test]
    fn a_zone_is_kept_without_its_unit() {
        let zoned = |unit| DataType::Timestamp(unit, Some("Europe/Zurich".into()));
        let list = |data_type| DataType::new_list(data_type, true);
        let noted = Schema::new(vec![
            Field::new("z", zoned(TimeUnit::Second), true),
            Field::new("l", list(zoned(TimeUnit::Second)), true),
        ]);
        let noted = STANDARD.encode(crate::storage::ipc_schema(&noted));
        let schema = read(
            "optional int64 z (TIMESTAMP(MILLIS,true));
             optional group l (LIST) { repeated group list { optional int64 item (TIMESTAMP(MILLIS,true)); } }",
            &[(ARROW_SCHEMA, &noted)],
        );
        assert_eq!(*schema.field(0).data_type(), zoned(TimeUnit::Millisecond));
        assert_eq!(*schema.field(1).data_type(), list(zoned(TimeUnit::Millisecond)));
    }
}
