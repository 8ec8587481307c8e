//! The server that the targets ask.

use std::sync::LazyLock;

use airstrip::fuzz::Fuzzed;
use tempfile::TempDir;

static SERVER: LazyLock<(TempDir, Fuzzed)> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a directory");
    let fuzzed = Fuzzed::new(root.path()).expect("a server");
    (root, fuzzed)
});

/// The server, which is made for the first input.
pub fn server() -> &'static Fuzzed {
    &SERVER.1
}
