//! Columns that a table calls otherwise than its files do.
//!
//! The footer of such a file is read as if the file had the table's names. Projections, bounds and page
//! indexes are all found by name, so with this one step they are those of the right column, at any depth.
//! Where a table knows its fields by number, and a file numbers its fields, the number decides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData,
};
use parquet::schema::types::{GroupTypeBuilder, PrimitiveTypeBuilder, SchemaDescriptor, Type, TypePtr};
use sha2::{Digest, Sha256};

/// Where a file holds its Arrow schema, in its own names.
pub(super) const ARROW_SCHEMA: &str = "ARROW:schema";

type Result<T> = std::result::Result<T, ParquetError>;

/// What the columns of a file are called in its table.
#[derive(Debug)]
pub struct ColumnNames {
    columns: Vec<FieldName>,
    id: [u8; 32],
}

/// The names of a column, or of a struct's field.
#[derive(Debug)]
pub struct FieldName {
    /// In the files.
    pub stored: String,
    /// The number (`field_id`) of the field in the files, where the table goes by numbers.
    pub id: Option<i32>,
    /// In the table.
    pub name: String,
    /// The names inside of it.
    pub inner: InnerNames,
}

/// The names inside of a type.
#[derive(Debug)]
pub enum InnerNames {
    /// There are none.
    Plain,
    /// Of a struct's fields.
    Struct(Vec<FieldName>),
    /// Inside of a list's items.
    List(Box<Self>),
    /// Inside of a map's keys, and of its values.
    Map(Box<Self>, Box<Self>),
}

impl ColumnNames {
    /// These names.
    pub fn new(columns: Vec<FieldName>) -> Self {
        let id = Sha256::digest(format!("{columns:?}").as_bytes()).into();
        Self { columns, id }
    }

    /// Tells apart names that differ.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// What the column is called in the table that is called `stored` in the files.
    pub fn of_stored(&self, stored: &str) -> Option<&str> {
        self.columns.iter().find(|column| column.stored == stored).map(|column| column.name.as_str())
    }

    /// `metadata` in the names of the table.
    pub(super) fn rename(&self, metadata: &ParquetMetaData) -> Result<ParquetMetaData> {
        let root = metadata.file_metadata().schema_descr().root_schema();
        with_columns(metadata, renamed_fields(root.get_fields(), &self.columns)?)
    }
}

/// `metadata` with columns that are called by their places: `0`, `1`, … So each can be found by a name, also
/// where a file has several of one name.
pub(super) fn numbered(metadata: &ParquetMetaData) -> Result<ParquetMetaData> {
    let columns = metadata.file_metadata().schema_descr().root_schema().get_fields().iter().enumerate();
    let columns = columns.map(|(place, column)| rebuilt(column, &place.to_string(), None));
    with_columns(metadata, columns.collect::<Result<_>>()?)
}

/// `metadata` without the Arrow schema that its writer noted.
pub(super) fn without_arrow_schema(metadata: &ParquetMetaData) -> Result<ParquetMetaData> {
    let columns = metadata.file_metadata().schema_descr().root_schema().get_fields().to_vec();
    with_columns(metadata, columns)
}

/// `metadata` with other names of its columns, and without the Arrow schema, which is in the names that they had.
fn with_columns(metadata: &ParquetMetaData, columns: Vec<TypePtr>) -> Result<ParquetMetaData> {
    let file = metadata.file_metadata();
    let root = file.schema_descr().root_schema_ptr();
    let schema = Arc::new(SchemaDescriptor::new(rebuilt(&root, root.name(), Some(columns))?));
    // Without it the Arrow types follow from Parquet's; the table's own are in its log.
    let notes: Option<Vec<KeyValue>> = file
        .key_value_metadata()
        .map(|notes| notes.iter().filter(|note| note.key != ARROW_SCHEMA).cloned().collect());
    let renamed = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        notes,
        Arc::clone(&schema),
        file.column_orders().cloned(),
    );
    let group = |group: &RowGroupMetaData| {
        let mut builder = RowGroupMetaData::builder(Arc::clone(&schema))
            .set_num_rows(group.num_rows())
            .set_sorting_columns(group.sorting_columns().cloned())
            .set_total_byte_size(group.total_byte_size())
            .set_column_metadata(group.columns().to_vec());
        if let Some(ordinal) = group.ordinal() {
            builder = builder.set_ordinal(ordinal);
        }
        if let Some(offset) = group.file_offset() {
            builder = builder.set_file_offset(offset);
        }
        builder.build()
    };
    let groups = metadata.row_groups().iter().map(group).collect::<Result<_>>()?;
    let builder = ParquetMetaDataBuilder::new(renamed)
        .set_row_groups(groups)
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Ok(builder.build())
}

fn renamed_fields(stored: &[TypePtr], names: &[FieldName]) -> Result<Vec<TypePtr>> {
    let by_name: HashMap<&str, &FieldName> = names.iter().map(|name| (name.stored.as_str(), name)).collect();
    let by_id: HashMap<i32, &FieldName> =
        names.iter().filter_map(|name| name.id.map(|id| (id, name))).collect();
    let is_numbered = !by_id.is_empty() && stored.iter().any(|field| field.get_basic_info().has_id());
    let find = |field: &TypePtr| {
        let info = field.get_basic_info();
        if !is_numbered {
            return by_name.get(field.name());
        }
        // One that is not known is that of a column that was dropped, whatever its name.
        by_id.get(&info.has_id().then(|| info.id())?)
    };
    let mut taken: HashSet<String> = names.iter().map(|name| name.name.clone()).collect();
    let fields = stored.iter().map(|field| {
        if let Some(known) = find(field) {
            return renamed(field, &known.name, &known.inner);
        }
        // A column that the table dropped. Another one may have got its name since.
        let mut name = field.name().to_owned();
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        renamed(field, &name, &InnerNames::Plain)
    });
    fields.collect()
}

fn renamed(stored: &TypePtr, name: &str, inner: &InnerNames) -> Result<TypePtr> {
    let fields = if stored.is_primitive() { None } else { inner_fields(stored, inner)? };
    if name == stored.name() && fields.is_none() {
        return Ok(Arc::clone(stored));
    }
    rebuilt(stored, name, fields)
}

/// The fields of a group with other names inside of them; `None` where they stay what they are.
fn inner_fields(group: &TypePtr, inner: &InnerNames) -> Result<Option<Vec<TypePtr>>> {
    let same = |field: &TypePtr, inner: &InnerNames| renamed(field, field.name(), inner);
    Ok(match (inner, group.get_fields()) {
        (InnerNames::Struct(names), fields) => Some(renamed_fields(fields, names)?),
        (InnerNames::List(items), [repeated]) => Some(vec![match item_of(group, repeated) {
            Some(item) => rebuilt(repeated, repeated.name(), Some(vec![same(item, items)?]))?,
            None => same(repeated, items)?,
        }]),
        (InnerNames::Map(keys, values), [entries]) => match group_fields(entries) {
            [key, value] => {
                let pair = vec![same(key, keys)?, same(value, values)?];
                Some(vec![rebuilt(entries, entries.name(), Some(pair))?])
            }
            _ => None,
        },
        _ => None,
    })
}

fn group_fields(group: &Type) -> &[TypePtr] {
    if group.is_primitive() { &[] } else { group.get_fields() }
}

/// The item of a list of three levels; older writers have lists of two, whose repeated field is the item.
/// <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#backward-compatibility-rules>
pub(super) fn item_of<'a>(list: &Type, repeated: &'a Type) -> Option<&'a TypePtr> {
    let is_item = repeated.name() == "array" || repeated.name() == format!("{}_tuple", list.name());
    match group_fields(repeated) {
        [item] if !is_item => Some(item),
        _ => None,
    }
}

/// A type under another name; a group with these fields, if there are any given.
fn rebuilt(stored: &TypePtr, name: &str, fields: Option<Vec<TypePtr>>) -> Result<TypePtr> {
    let info = stored.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let built = match stored.as_ref() {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            PrimitiveTypeBuilder::new(name, *physical_type)
                .with_repetition(info.repetition())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_length(*type_length)
                .with_precision(*precision)
                .with_scale(*scale)
                .with_id(id)
                .build()
        }
        Type::GroupType { fields: own, .. } => {
            let mut builder = GroupTypeBuilder::new(name)
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_fields(fields.unwrap_or_else(|| own.clone()))
                .with_id(id);
            if info.has_repetition() {
                builder = builder.with_repetition(info.repetition());
            }
            builder.build()
        }
    };
    built.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn name(stored: &str, name: &str, inner: InnerNames) -> FieldName {
        FieldName { stored: stored.to_owned(), id: None, name: name.to_owned(), inner }
    }

    fn plain(stored: &str, called: &str) -> FieldName {
        name(stored, called, InnerNames::Plain)
    }

    fn check(stored: &str, names: &[FieldName], expected: &str) {
        let fields = |text: &str| {
            let message = parse_message_type(&format!("message m {{ {text} }}")).unwrap();
            message.get_fields().to_vec()
        };
        assert_eq!(renamed_fields(&fields(stored), names).unwrap(), fields(expected));
    }

    #[test]
    fn a_column_that_was_dropped_is_not_taken_for_another() {
        check(
            "required int64 a = 1; optional binary b (UTF8); optional int32 c (DATE);",
            &[plain("b", "a"), plain("col-7", "c")],
            "required int64 a_ = 1; optional binary a (UTF8); optional int32 c_ (DATE);",
        );
    }

    #[test]
    fn numbers_go_before_names() {
        let numbered = |id: i32, stored: &str, called: &str, inner: InnerNames| FieldName {
            id: Some(id),
            ..name(stored, called, inner)
        };
        let of_struct = InnerNames::Struct(vec![numbered(4, "col-4", "x", InnerNames::Plain)]);
        let names = [
            numbered(1, "a", "one", InnerNames::Plain),
            numbered(2, "b", "two", InnerNames::Plain),
            numbered(3, "col-3", "s", of_struct),
        ];
        // Swapped; with names that are in no file; dropped, though another column has that physical name; and
        // in a file that numbers nothing.
        check(
            "optional int64 a = 2; optional int64 b = 1; optional group g = 3 { optional int64 p = 4; }",
            &names,
            "optional int64 two = 2; optional int64 one = 1; optional group s = 3 { optional int64 x = 4; }",
        );
        check("optional int64 a = 7;", &names, "optional int64 a = 7;");
        check("optional int64 one = 7;", &names, "optional int64 one_ = 7;");
        check("optional int64 a; optional int64 b;", &names, "optional int64 one; optional int64 two;");
        // What has no number beside those that have is none of the table's.
        check("optional int64 a; optional int64 x = 1;", &names, "optional int64 a; optional int64 one = 1;");
        // A table that goes by names does not look at numbers.
        check("optional int64 a = 2;", &[plain("a", "b")], "optional int64 b = 2;");
    }

    #[test]
    fn names_are_found_at_any_depth() {
        let of_struct = || InnerNames::Struct(vec![plain("p", "x")]);
        check(
            "optional group s { optional int64 p; optional int64 x; }
             optional group m (MAP) { repeated group key_value {
                required group key { optional int64 p; } optional group value { optional int64 p; } } }",
            &[
                name("s", "t", of_struct()),
                name("m", "m", InnerNames::Map(Box::new(of_struct()), Box::new(of_struct()))),
            ],
            "optional group t { optional int64 x; optional int64 x_; }
             optional group m (MAP) { repeated group key_value {
                required group key { optional int64 x; } optional group value { optional int64 x; } } }",
        );
    }

    #[test]
    fn lists_of_older_writers_have_a_level_less() {
        let list = |stored: &str| {
            let items = Box::new(InnerNames::Struct(vec![plain("p", "x"), plain("q", "y")]));
            name(stored, stored, InnerNames::List(items))
        };
        check(
            "optional group a (LIST) { repeated group list { optional group element { optional int64 p; } } }
             optional group b (LIST) { repeated group array { optional int64 p; } }
             optional group c (LIST) { repeated group c_tuple { optional int64 p; } }
             optional group d (LIST) { repeated group bag { optional int64 p; optional int64 q; } }
             optional group e (LIST) { repeated int64 p; }",
            &[list("a"), list("b"), list("c"), list("d"), list("e")],
            "optional group a (LIST) { repeated group list { optional group element { optional int64 x; } } }
             optional group b (LIST) { repeated group array { optional int64 x; } }
             optional group c (LIST) { repeated group c_tuple { optional int64 x; } }
             optional group d (LIST) { repeated group bag { optional int64 x; optional int64 y; } }
             optional group e (LIST) { repeated int64 p; }",
        );
    }
}
