//! Tickets and commands.

#![no_main]

use std::sync::LazyLock;

use airstrip::fuzz::{Fuzzed, end_at_panics, judge};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static ROOT: LazyLock<(TempDir, Fuzzed)> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a directory");
    let fuzzed = Fuzzed::new(root.path()).expect("a server");
    (root, fuzzed)
});

fuzz_target!(init: end_at_panics(), |bytes: &[u8]| judge(&ROOT.1.ticket(bytes)));
