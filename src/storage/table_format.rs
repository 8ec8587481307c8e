//! Folders that are tables of other formats, told by the names in them.
//!
//! Most table formats lay their rows down as Parquet, and say in files of their own which of these count, and
//! which of their rows: all that lie in the folder together are rows that were deleted, replaced, or never
//! committed. The names are those that each format's specification gives, or its reference writer uses.

use std::fmt;
use std::path::Path;

use cap_std::fs::Dir;

use super::area::{if_there, io_error};
use super::delta::DELTA_LOG;
use super::listing::{Entry, EntryKind};
use crate::error::{Error, Result};

/// The directory with the log of a Spark streaming query's sink.
pub const SINK_LOG: &str = "_spark_metadata";
/// The directory of an Iceberg table's metadata.
pub(super) const ICEBERG_METADATA: &str = "metadata";

/// The format of a table that is a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Delta Lake.
    Delta,
    /// Apache Iceberg.
    Iceberg,
    /// Apache Hudi.
    Hudi,
    /// Apache Paimon.
    Paimon,
    /// DuckLake, whose catalog lies in a database elsewhere.
    DuckLake,
    /// Lance.
    Lance,
    /// What a streaming query of Spark's writes.
    SparkSink,
}

impl TableFormat {
    /// The format of the table that the directory `dir` is, if it is one; `entries` are all that lies in it, and
    /// `path` is where it lies, for errors.
    ///
    /// Fails if the directory cannot be looked into.
    pub(super) fn of(dir: &Dir, entries: &[Entry], path: &Path) -> Result<Option<Self>> {
        let (mut paimon, mut lance) = (0, 0);
        for Entry { name, kind } in entries {
            match (kind, name.as_str()) {
                (EntryKind::Directory, DELTA_LOG) => return Ok(Some(Self::Delta)),
                (EntryKind::Directory, SINK_LOG) => return Ok(Some(Self::SparkSink)),
                (EntryKind::Directory, ICEBERG_METADATA) if is_iceberg(dir, path)? => {
                    return Ok(Some(Self::Iceberg));
                }
                (EntryKind::Directory, "snapshot" | "schema" | "manifest") => paimon += 1,
                (EntryKind::Directory, "_versions" | "_transactions") => lance += 1,
                (EntryKind::File, name)
                    if Path::new(name).extension().is_some_and(|ending| ending == "lance") =>
                {
                    return Ok(Some(Self::Lance));
                }
                (EntryKind::File, name) if is_ducklake(name) => return Ok(Some(Self::DuckLake)),
                // The table's own directory, or one of its partitions.
                (_, name) if name == ".hoodie" || name.starts_with(".hoodie_partition_metadata") => {
                    return Ok(Some(Self::Hudi));
                }
                _ => {}
            }
        }
        Ok(match (paimon, lance) {
            (3, _) => Some(Self::Paimon),
            (_, 2) => Some(Self::Lance),
            _ => None,
        })
    }

    /// The error for the folder `asked`, which is a table of this format, or holds it at `table`.
    pub(super) fn refuse(self, asked: &Path, table: &Path) -> Error {
        let (folder, inner) = (asked.display(), table.display());
        if asked == table {
            return Error::unimplemented(format!(
                "{folder} is {self}, which is not served: its Parquet files alone are not its rows; {}",
                self.way_out()
            ));
        }
        if self != Self::Delta && self != Self::SparkSink {
            return Error::unimplemented(format!(
                "{folder} is no dataset, it holds {self}: {inner}, which is not served; {}",
                self.way_out()
            ));
        }
        // Only folders of the root can be schemas.
        let way_out = if asked.components().count() == 1 && table.parent() == Some(asked) {
            let table = table.file_name().unwrap_or_default().display();
            format!("name the folder {folder}.db, and {folder}.{table} is that table")
        } else {
            "put such tables side by side in a folder of the root that is named like shop.db: they are the tables \
             of the schema shop"
                .to_owned()
        };
        Error::precondition(format!("{folder} is no dataset, it holds {self}: {inner}; {way_out}"))
    }

    fn way_out(self) -> &'static str {
        match self {
            Self::Iceberg => {
                "write its rows out as Parquet or as a Delta table, with PyIceberg (table.scan().to_arrow()) or Spark"
            }
            Self::Hudi | Self::Paimon | Self::Delta | Self::SparkSink => {
                "write its rows out as Parquet or as a Delta table, with Spark for example"
            }
            Self::DuckLake => {
                "write its rows out with DuckDB, where its catalog is attached: COPY (FROM tbl) TO 'tbl.parquet'"
            }
            Self::Lance => {
                "write its rows out as Parquet: pyarrow.parquet.write_table(lance.dataset(path).to_table(), …)"
            }
        }
    }
}

impl fmt::Display for TableFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delta => "a Delta table",
            Self::Iceberg => "an Apache Iceberg table",
            Self::Hudi => "an Apache Hudi table",
            Self::Paimon => "an Apache Paimon table",
            Self::DuckLake => "a table of DuckLake",
            Self::Lance => "a Lance table",
            Self::SparkSink => "the output of a streaming query of Spark's",
        })
    }
}

/// Whether a file is called as DuckLake calls those with rows, and those with the places of deleted ones.
fn is_ducklake(name: &str) -> bool {
    let id = name.strip_prefix("ducklake-").and_then(|rest| rest.strip_suffix(".parquet"));
    let id = id.map(|id| id.strip_suffix("-delete").unwrap_or(id));
    id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// Whether the directory below has the metadata of an Iceberg table.
fn is_iceberg(dir: &Dir, path: &Path) -> Result<bool> {
    let fail = |error| io_error("list", &path.join(ICEBERG_METADATA), error);
    let Some(entries) = if_there(dir.read_dir(ICEBERG_METADATA)).map_err(fail)? else { return Ok(false) };
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.ends_with(".metadata.json")
            || name.ends_with(".metadata.json.gz")
            || name == "version-hint.text"
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails where the directory at `path`, which is to be served as a root, is a table itself.
pub(super) fn check_root(dir: &Dir, entries: &[Entry], path: &Path) -> Result<()> {
    match TableFormat::of(dir, entries, path)? {
        // Such are told by single files, which can lie among datasets.
        None | Some(TableFormat::DuckLake | TableFormat::Lance) => Ok(()),
        Some(format) => Err(Error::precondition(format!(
            "{} is {format} itself; serve the folder that it lies in",
            path.display()
        ))),
    }
}
