//! The messages of an upload.

#![no_main]

use airstrip::fuzz::{end_at_panics, judge, messages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: end_at_panics(), |bytes: &[u8]| judge(&messages(bytes)));
