//! What goes with a dataset: its own files, and nothing else that lies among them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::dataset::Kind;
use super::layout::{Form, dataset_of, schema_dir, view_of};
use super::name::{DatasetRef, SchemaName};
use super::several::check_one_table;
use super::store::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Entry, EntryKind, Label, check_no_table, io_error, list_entries, list_others};

/// Files that an error names.
const NAMED: usize = 3;

impl Catalog {
    /// Fails where the dataset in this form is a table of another format, or holds one.
    pub(super) fn check_form(&self, dataset: &DatasetRef, form: Form) -> Result<()> {
        let path = form.path(dataset);
        let is_plain = form.entry_kind() == EntryKind::Directory && !self.is_delta(&path)?;
        if is_plain { check_no_table(self.root.area(), &path) } else { Ok(()) }
    }

    /// Those of a dataset's forms that go with it: all but tables of other formats that are hidden by it. Fails where
    /// the visible one is such a table.
    pub(super) fn own_forms(&self, dataset: &DatasetRef, forms: &[Form]) -> Result<Vec<Form>> {
        let mut own = Vec::with_capacity(forms.len());
        for (place, form) in forms.iter().enumerate() {
            match self.check_form(dataset, *form) {
                Ok(()) => own.push(*form),
                Err(error) if place > 0 && is_of_format(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(own)
    }

    /// What an upload that replaces the dataset takes away of `forms`; fails where that would take files along that are
    /// not its own, unless it is asked to keep them.
    pub(super) fn replaceable(
        &self,
        dataset: &DatasetRef,
        forms: &[Form],
        keep_others: bool,
    ) -> Result<Vec<Form>> {
        let own = self.own_forms(dataset, forms)?;
        if forms.contains(&Form::SuffixedDirectory) {
            let path = Form::SuffixedDirectory.path(dataset);
            let others = self.others(&path)?;
            if !others.is_empty() {
                return Err(Error::precondition(format!(
                    "the folder {} has files that are not the dataset's own ({}); move them away first",
                    path.display(),
                    some_of(&others)
                )));
            }
        }
        self.check_one_dataset(dataset, &own)?;
        if !keep_others {
            self.check_only_own(dataset, &own)?;
        }
        Ok(own)
    }

    /// Fails where a folder that goes is no dataset, but has the files of several: whoever names it may mean one of them.
    pub(super) fn check_one_dataset(&self, dataset: &DatasetRef, forms: &[Form]) -> Result<()> {
        let Some(form) = forms.first().filter(|form| form.entry_kind() == EntryKind::Directory) else {
            return Ok(());
        };
        let located = self.locate_form(dataset, *form)?;
        if located.kind != Kind::Directory {
            return Ok(());
        }
        match self.described_parts(dataset, &located) {
            Ok((parts, keys)) => check_one_table(dataset, &located.path, keys.len(), &parts),
            // A damaged one goes.
            Err(_) => Ok(()),
        }
    }

    /// Fails where a folder that goes holds files that are not the dataset's own.
    pub(super) fn check_only_own(&self, dataset: &DatasetRef, forms: &[Form]) -> Result<()> {
        for form in forms.iter().filter(|form| form.entry_kind() == EntryKind::Directory) {
            let path = form.path(dataset);
            let others = self.others(&path)?;
            if !others.is_empty() {
                return Err(Error::precondition(format!(
                    "the folder {} has files that are not the dataset's own ({}); move them away, or ask to keep them \
                     where they are: keepOtherFiles of the action drop_dataset, or the header \
                     x-airstrip-keep-other-files: true of an upload",
                    path.display(),
                    some_of(&others)
                )));
            }
        }
        Ok(())
    }

    /// The files in the directory at `path` that are not its dataset's own.
    pub(super) fn others(&self, path: &Path) -> Result<Vec<PathBuf>> {
        // Of a link only the link goes.
        if self.root.area().is_link(path)? { Ok(Vec::new()) } else { list_others(self.root.area(), path) }
    }

    /// Moves the dataset in one of its forms to the trash, in one step. `others`, which are not its own, stay where they
    /// are. Says whether it is in the trash, and not gone for good.
    pub(super) fn remove_form(
        &self,
        dataset: &DatasetRef,
        form: Form,
        others: &[PathBuf],
        label: &Label<'_>,
    ) -> Result<bool> {
        let path = form.path(dataset);
        if others.is_empty() {
            return self.root.trash(&path, label);
        }
        let staged = self.root.create_staged_dir()?;
        let label = Label { keeps_others: true, ..label.clone() };
        let replaced = self
            .link_others(&path, others, &staged)
            .and_then(|()| self.root.publish_over(&staged, &path, &label));
        if replaced.is_err() {
            self.root.discard_staged_dir(&staged);
        }
        replaced.map(|trashed| trashed.unwrap_or(false))
    }

    /// Gives the files `others` below `base` second names in a directory that is to take its place.
    pub(super) fn link_others(&self, base: &Path, others: &[PathBuf], staged: &Path) -> Result<()> {
        let mut made = BTreeSet::from([staged.to_owned()]);
        for other in others {
            let inner =
                other.strip_prefix(base).map_err(|_| Error::internal("a file outside of its folder"))?;
            let to = staged.join(inner);
            for above in to.ancestors().skip(1).take_while(|above| *above != staged) {
                made.insert(above.to_owned());
            }
            let parent = to.parent().unwrap_or(staged);
            let dir = self.root.area().dir();
            dir.create_dir_all(parent).map_err(|error| io_error("create", parent, error))?;
            self.root.link_staged(other, &to)?;
        }
        // The directory itself last.
        made.iter().rev().try_for_each(|dir| self.root.sync_staged_dir(dir))
    }

    /// Fails where something lies in a schema's folder that is neither a dataset's nor a view.
    pub(super) fn check_only_datasets(&self, schema: &SchemaName) -> Result<()> {
        let folder = schema_dir(schema);
        let mut hidden = self.hidden_files(&folder)?;
        if let Some(hidden) = hidden.pop() {
            return Err(not_own(schema, &[hidden]));
        }
        for entry in list_entries(self.root.area(), &folder)? {
            let path = folder.join(&entry.name);
            let others = match (dataset_of(&entry), entry.kind) {
                (Some(_), EntryKind::Directory) => self.others(&path)?,
                (Some(_), EntryKind::File) => continue,
                (None, EntryKind::File) if view_of(&entry).is_some() => continue,
                (None, EntryKind::File) => vec![path],
                (None, EntryKind::Directory) => self.others_in_none(&entry, path)?,
            };
            if !others.is_empty() {
                return Err(not_own(schema, &others));
            }
        }
        Ok(())
    }

    /// What a listing leaves out, but for checksums of files that it has.
    fn hidden_files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let fail = |error| io_error("list", folder, error);
        let entries = self.root.area().dir().read_dir(folder).map_err(fail)?;
        let names = entries
            .map(|entry| entry.map(|entry| PathBuf::from(entry.file_name())))
            .collect::<Result<Vec<_>, _>>();
        let is_hidden = |name: &PathBuf| match name.to_str() {
            Some(name) => {
                name.starts_with('.') && Path::new(name).extension().is_none_or(|ending| ending != "crc")
            }
            None => true,
        };
        Ok(names.map_err(fail)?.into_iter().filter(is_hidden).map(|name| folder.join(name)).collect())
    }

    /// What lies in a folder that is no dataset: an empty one is nothing to lose.
    fn others_in_none(&self, entry: &Entry, path: PathBuf) -> Result<Vec<PathBuf>> {
        let is_empty =
            entry.kind == EntryKind::Directory && list_entries(self.root.area(), &path)?.is_empty();
        Ok(if is_empty { Vec::new() } else { vec![path] })
    }
}

fn is_of_format(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unimplemented | ErrorKind::FailedPrecondition)
}

fn not_own(schema: &SchemaName, others: &[PathBuf]) -> Error {
    Error::precondition(format!(
        "schema {} has files that are no dataset's own ({}); move them away first",
        schema.as_str(),
        some_of(others)
    ))
}

/// The names of some files, for a message.
pub(super) fn some_of(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().take(NAMED).map(|file| file.display().to_string()).collect();
    let more = if files.len() > NAMED { format!(" and {} more", files.len() - NAMED) } else { String::new() };
    format!("{}{more}", names.join(", "))
}
