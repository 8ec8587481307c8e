//! The `airstrip` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    airstrip::cli::main(give_back)
}

/// Gives memory back to the system that was freed and is kept for what is asked for next: a second of it, and as long as
/// nothing is asked for at all.
#[allow(unsafe_code)]
fn give_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: a function of the allocator's, for any thread and at any time.
    unsafe { mi_collect(true) }
}
