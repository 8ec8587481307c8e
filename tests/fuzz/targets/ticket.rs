//! Tickets and commands.

#![no_main]

mod server;

use airstrip::fuzz::{end_at_panics, judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: end_at_panics(), |bytes: &[u8]| judge(&server::server().ticket(bytes)));
