//! A dataset as one reader sees it, whatever happens to its names meanwhile.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Area, HeldFile, parallel_map};

/// A dataset as one reader sees it: the files that make it up, held open until the reader is done.
///
/// A reader who can tell by the values of folders that it needs few of many files has only these opened. Until then the
/// directory is held, and a file is taken only if it is the one that was looked at.
#[derive(Debug)]
pub struct Snapshot {
    /// What it holds.
    pub dataset: Dataset,
    /// The open files, one for each of `dataset.parts`.
    files: Vec<OnceLock<HeldFile>>,
    source: Option<Source>,
}

/// Where files are opened that are not held yet.
#[derive(Debug)]
struct Source {
    area: Area,
    /// The dataset's directory, and its path in the area. It stays the same one where it is moved, into the trash for
    /// example.
    home: Option<(Area, PathBuf)>,
}

impl Snapshot {
    /// A snapshot of `dataset`, whose files are these.
    pub(super) fn held(dataset: Dataset, files: Vec<HeldFile>) -> Self {
        Self { dataset, files: files.into_iter().map(OnceLock::from).collect(), source: None }
    }

    /// A snapshot of `dataset` that holds none of its files yet, which lie in `area`, and in or below the directory `home`
    /// if it is one.
    pub(super) fn not_held(dataset: Dataset, area: Area, home: Option<(Area, PathBuf)>) -> Self {
        let files = dataset.parts.iter().map(|_| OnceLock::new()).collect();
        Self { dataset, files, source: Some(Source { area, home }) }
    }

    /// Whether the files of these parts are held.
    pub fn holds(&self, parts: &[usize]) -> bool {
        parts.iter().all(|part| self.files[*part].get().is_some())
    }

    /// Opens all files. To be done before any of them is read.
    pub(super) fn hold_all(&self) -> Result<()> {
        self.hold(&(0..self.files.len()).collect::<Vec<_>>())
    }

    /// Opens the files of these parts. [`Aborted`](ErrorKind::Aborted) where one is not there any more, or is another one
    /// than was looked at.
    pub fn hold(&self, parts: &[usize]) -> Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let missing: Vec<usize> = parts.iter().copied().filter(|part| !self.holds(&[*part])).collect();
        let opened = parallel_map(&missing, |part| self.open(source, *part));
        for (part, file) in missing.into_iter().zip(opened) {
            // Another scan of the same statement may have come first: it is the same file.
            let _ = self.files[part].set(file?);
        }
        Ok(())
    }

    fn open(&self, source: &Source, place: usize) -> Result<HeldFile> {
        let part = &self.dataset.parts[place];
        let at_home = source.home.as_ref().and_then(|(home, base)| {
            let file = home.hold_part(part.path.strip_prefix(base).ok()?, &part.path);
            // A link to elsewhere in the area leads out of the directory.
            file.map_or_else(|error| (!is_elsewhere(&error)).then_some(Err(error)), |file| Some(Ok(file)))
        });
        match at_home.unwrap_or_else(|| source.area.hold_to_read(&part.path)) {
            Ok(file) if file.stat().identity == part.stat.identity => Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => {
                let (path, dataset) = (part.path.display(), &self.dataset.reference);
                Err(Error::new(
                    ErrorKind::Aborted,
                    format!(
                        "the file {path} of dataset {dataset} was changed while it was opened; try again"
                    ),
                ))
            }
        }
    }

    /// The open file of a part.
    pub fn file(&self, part: usize) -> Result<&HeldFile> {
        let file = self.files.get(part).and_then(OnceLock::get);
        file.ok_or_else(|| Error::internal("a file is read that the snapshot does not hold"))
    }
}

fn is_elsewhere(error: &Error) -> bool {
    error.kind() == ErrorKind::FailedPrecondition
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::catalog::{Catalog, CatalogOptions, DatasetName, DatasetRef};
    use crate::storage::Root;

    fn write(folder: &Path, rows: i64) {
        fs::create_dir_all(folder).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let file = fs::File::create(folder.join("part.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    /// A snapshot for a query of a dataset of 200 folders.
    fn snapshot(root: &Path) -> Snapshot {
        for folder in 100..300 {
            write(&root.join(format!("t/k={folder}")), folder);
        }
        let catalog = Catalog::new(Root::open(root, false).unwrap(), CatalogOptions::small()).unwrap();
        let dataset = DatasetRef::in_default(DatasetName::parse("t").unwrap());
        catalog.snapshot_to_query(&dataset).unwrap()
    }

    fn rows(snapshot: &Snapshot) -> Vec<u64> {
        snapshot.dataset.parts.iter().map(|part| part.footer.rows()).collect()
    }

    #[test]
    fn only_what_is_read_of_a_partitioned_dataset_is_held() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = snapshot(root.path());
        assert_eq!(rows(&snapshot), (100..300).collect::<Vec<_>>(), "in the order of the folders");
        snapshot.hold(&[7, 9]).unwrap();
        let held: Vec<usize> = (0..200).filter(|part| snapshot.holds(&[*part])).collect();
        assert_eq!(held, [7, 9]);
        let wanted = Path::new("t/k=107/part.parquet");
        assert_eq!(snapshot.file(7).unwrap().path(), wanted);
        assert_eq!(snapshot.file(8).unwrap_err().kind(), ErrorKind::Internal);
        snapshot.hold_all().unwrap();
        assert!(snapshot.holds(&(0..200).collect::<Vec<_>>()));
    }

    #[test]
    fn a_file_that_is_another_one_by_then_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = snapshot(root.path());
        fs::remove_file(root.path().join("t/k=100/part.parquet")).unwrap();
        write(&root.path().join("t/k=101"), 5);
        for part in [0, 1] {
            assert_eq!(snapshot.hold(&[part]).unwrap_err().kind(), ErrorKind::Aborted);
        }
        snapshot.hold(&[2]).unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another program moves it")]
    fn a_directory_that_is_moved_stays_the_same() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = snapshot(root.path());
        fs::rename(root.path().join("t"), root.path().join("elsewhere")).unwrap();
        write(&root.path().join("t/k=100"), 5);
        snapshot.hold_all().unwrap();
        assert_eq!(snapshot.file(0).unwrap().stat(), &snapshot.dataset.parts[0].stat);
    }

    #[test]
    fn a_link_to_elsewhere_in_the_root_is_followed() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("u"), 3);
        fs::create_dir_all(root.path().join("t/k=099")).unwrap();
        let link = root.path().join("t/k=099/part.parquet");
        std::os::unix::fs::symlink("../../u/part.parquet", link).unwrap();
        let snapshot = snapshot(root.path());
        assert_eq!(rows(&snapshot)[0], 3);
        snapshot.hold_all().unwrap();
    }
}
