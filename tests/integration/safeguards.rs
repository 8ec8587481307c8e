//! What stands between a user and harm would be missed: the test of each fails without it.

use std::process::Command;

use crate::harness::TAKE_OUT;

#[test]
fn the_absence_of_each_is_noticed() {
    for (safeguard, test) in [
        // Each of the two stands in for the other where a stream is reset.
        ("body_guard,last_look", "endings::only_the_true_end_commits"),
        ("last_look", "whole::a_reset_after_the_end_of_a_proxys_stream_publishes_nothing"),
        ("gate", "errors::bad_requests_are_the_clients_errors"),
        ("trash", "trash::a_file_that_was_replaced_or_dropped_comes_back"),
        ("sql_depth", "limits::deep_and_huge_sql_is_a_clear_error_at_once"),
    ] {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(TAKE_OUT, safeguard)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stdout);
        assert!(
            output.contains("running 1 test") && !run.status.success(),
            "{test} does not miss {safeguard}: {output}"
        );
    }
}
