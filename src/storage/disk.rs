//! What a machine that has run out of something is said to lack: disk, file descriptors, memory.

use std::error::Error as StdError;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytesize::ByteSize;
use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, Result, causes};

/// The root that is served. A full disk shows where only a file is known, or not even that.
static SERVED: Mutex<Option<PathBuf>> = Mutex::new(None);
/// Descriptors that reads leave to commits and to whoever has to say what is wrong.
const RESERVED: u64 = 32;

/// Notes where the root lies that this process writes to.
pub(super) fn served(path: &Path) {
    *SERVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
}

/// The error for an operation that failed for want of something, `what` it was ("write x"); `None` for all other errors.
pub(super) fn exhausted(what: &str, error: &io::Error) -> Option<Error> {
    let why = match error.kind() {
        io::ErrorKind::StorageFull => file_system("is full"),
        io::ErrorKind::QuotaExceeded => file_system("has no room left for this user (its quota)"),
        io::ErrorKind::FileTooLarge => {
            "the file would be larger than the server may write (ulimit -f)".to_owned()
        }
        _ if is(error, Errno::MFILE) => {
            "the server has no file descriptors left; raise its limit (ulimit -n)".to_owned()
        }
        _ if is(error, Errno::NFILE) => {
            "the machine has no file descriptors left (the kernel's fs.file-max)".to_owned()
        }
        _ if is(error, Errno::NOMEM) => "the machine has no memory left".to_owned(),
        _ => return None,
    };
    Some(Error::exhausted(format!("cannot {what}: {why}")))
}

/// The same for an error that has one of the system's as its cause, however deep.
pub fn exhausted_in(what: &str, error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut system = causes(error).filter_map(|error| error.downcast_ref::<io::Error>());
    system.find_map(|io| exhausted(what, io))
}

/// The same for a file that could not be read, whether its error has the system's as its cause or only that one's text.
pub fn exhausted_reading(path: &Path, error: &(dyn StdError + 'static)) -> Option<Error> {
    let what = format!("read {}", path.display());
    exhausted_in(&what, error).or_else(|| exhausted_in_text(&what, &error.to_string()))
}

/// The same for the text of an error that a library has kept nothing else of: the standard library's ends in the number of
/// the system's.
pub fn exhausted_in_text(what: &str, text: &str) -> Option<Error> {
    let (_, number) = text.trim_end().strip_suffix(')')?.rsplit_once("(os error ")?;
    exhausted(what, &io::Error::from_raw_os_error(number.parse().ok()?))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// What is wrong with the file system of the root, and what is left of it.
fn file_system(what: &str) -> String {
    let served = SERVED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(root) = served else { return format!("the disk {what}") };
    let name =
        mount_point(&root).map_or_else(|| "of the root".to_owned(), |at| format!("at {}", at.display()));
    let left = statvfs(&root).map_or_else(
        |_| String::new(),
        |stat| {
            let bytes = |blocks: u64| ByteSize::b(blocks.saturating_mul(stat.f_frsize));
            let files = if stat.f_files > 0 && stat.f_favail == 0 { ", no inodes" } else { "" };
            format!(" ({} of {} left{files})", bytes(stat.f_bavail), bytes(stat.f_blocks))
        },
    );
    format!("the file system {name} {what}{left}; make room there")
}

/// Where the file system is mounted that `path` lies on, as far as the system tells.
fn mount_point(path: &Path) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    // Of several at one place the last one is seen.
    points.filter(|point| path.starts_with(point)).max_by_key(|point| point.components().count())
}

/// A path as mountinfo writes it: blanks and the like as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                path.push(code.into());
                path.push_str(&part[3..]);
            }
            None => path.push_str(part),
        }
    }
    path.into()
}

/// How many descriptors this process may have; `None` where there is no limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many of `limit` descriptors reads leave to others.
pub fn reserved_descriptors(limit: u64) -> u64 {
    RESERVED.min(limit / 4)
}

/// Fails where a file that was opened for reading has taken a descriptor that is reserved. The kernel gives the lowest
/// number that is free: so high a number says that all below are taken.
pub(super) fn check_reserve(file: &impl AsRawFd, path: &Path) -> Result<()> {
    let Some(limit) = descriptor_limit() else { return Ok(()) };
    let number = u64::try_from(file.as_raw_fd()).unwrap_or(0);
    if number < limit - reserved_descriptors(limit) {
        return Ok(());
    }
    let no_more = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
    Err(exhausted(&format!("open {}", path.display()), &no_more)
        .unwrap_or_else(|| Error::exhausted("the server has no file descriptors left")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_full_disk_is_told_with_its_file_system() {
        served(Path::new("/"));
        let full = || io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        let told = exhausted("write x", &full()).unwrap();
        assert_eq!(told.kind(), ErrorKind::ResourceExhausted);
        assert!(told.message().starts_with("cannot write x: the file system at / is full ("), "{told}");
        // As tempfile and Arrow wrap it.
        let wrapped = io::Error::new(full().kind(), io::Error::other(full()));
        let wrapped = arrow::error::ArrowError::IoError("spilling".to_owned(), wrapped);
        assert!(exhausted_in("spill", &wrapped).is_some());
        assert!(exhausted_in("spill", &io::Error::from(io::ErrorKind::NotFound)).is_none());
        // As the Parquet library's errors become Arrow's.
        let text = format!("External: {}", full());
        assert_eq!(exhausted_in_text("read x", &text).unwrap().kind(), ErrorKind::ResourceExhausted);
        for other in ["External: broken (os error 5)", "(os error )", "no such page"] {
            assert!(exhausted_in_text("read x", other).is_none(), "{other}");
        }
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(r"/mnt/my\040disk\134x"), Path::new(r"/mnt/my disk\x"));
        assert_eq!(unescaped("/"), Path::new("/"));
    }

    #[test]
    fn reads_leave_some_descriptors() {
        assert_eq!((reserved_descriptors(64), reserved_descriptors(1024)), (16, 32));
        check_reserve(&tempfile::tempfile().unwrap(), Path::new("x")).unwrap();
    }
}
