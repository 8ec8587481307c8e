//! The root as it is named on the command line.

use std::path::{Component, Path};

use crate::config::DEFAULT_ROOT;
use crate::error::{Error, Result};

/// Fails where `root` is not a directory's path but an address: it would become a local directory of that name.
pub(super) fn check(root: &Path) -> Result<()> {
    let text = root.to_string_lossy();
    let Some((scheme, rest)) = text.split_once(':') else { return Ok(()) };
    // A letter alone would be a drive.
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !is_scheme || !rest.starts_with('/') {
        return Ok(());
    }
    let way_out = match scheme.to_ascii_lowercase().as_str() {
        "file" => format!("give its path: {}", rest.strip_prefix("//").unwrap_or(rest)),
        "http" | "https" | "ftp" | "sftp" => "download the files into a directory, and serve that".to_owned(),
        "grpc" | "grpc+tcp" | "grpc+tls" => {
            "that is where a server listens; give the directory that it is to serve".to_owned()
        }
        _ => "object stores are not served yet; copy the files into a directory (as aws s3 sync, gcloud storage rsync, \
              azcopy and rclone do), or mount the bucket, and serve that"
            .to_owned(),
    };
    Err(Error::invalid(format!("{text} is no directory: {way_out}")))
}

/// Fails where the directory to serve is missing and is not to be made: a name with a typo would look like an empty store.
pub(super) fn check_there(root: &Path, create: bool) -> Result<()> {
    if create || is_default(root) || root.try_exists().unwrap_or(true) {
        return Ok(());
    }
    let shown = root.display();
    Err(Error::not_found(format!("there is no directory {shown}; to make it, add --create")))
}

fn is_default(root: &Path) -> bool {
    root.components().filter(|part| *part != Component::CurDir).eq(Path::new(DEFAULT_ROOT).components())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_directories() {
        for (root, part) in [
            ("s3://bucket/prefix", "aws s3 sync"),
            ("S3://bucket", "aws s3 sync"),
            ("gs://bucket", "mount"),
            ("az://container", "mount"),
            ("abfss://container@account.dfs.core.windows.net/x", "mount"),
            ("https://example.com/x.parquet", "download"),
            ("file:///data/x", "give its path: /data/x"),
            ("file:/data/x", "give its path: /data/x"),
            // As a path it has lost a slash.
            ("s3:/bucket", "mount"),
            ("grpc://127.0.0.1:8815", "directory that it is to serve"),
        ] {
            let error = check(Path::new(root)).unwrap_err();
            assert!(error.message().contains(part) && error.message().contains(root), "{root}: {error}");
        }
        for root in ["datasets", "/data", "./s3://x", "a:b", "12:30", "a b:/c", "C:/data", ""] {
            check(Path::new(root)).unwrap();
        }
    }

    #[test]
    fn only_the_default_root_is_made_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(check_there(&missing, false).unwrap_err().message().contains("--create"));
        check_there(&missing, true).unwrap();
        check_there(dir.path(), false).unwrap();
        assert!(is_default(Path::new("datasets")) && is_default(Path::new("./datasets/")));
        assert!(!is_default(Path::new("/datasets")) && !is_default(Path::new("datasets/x")));
    }
}
