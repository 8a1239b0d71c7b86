//! The sandbox on another architecture and kernel, and where the root is an initial RAM disk.

use super::board::{self, SLOW};
use tests::guest::{Content, Guest};
use tests::paths;

#[test]
fn what_a_hostile_child_tries_fails_on_the_board_as_on_any_machine() {
    let sandbox = paths::guest_sandbox();
    let mut guest = Guest::boot("sandbox-attacks", &[("/sandbox", 0o755, Content::File(&sandbox))], "exec /sandbox");
    guest.wait_off(SLOW);
    let result = guest.console().find(&["test result:"]).expect("the attacks came to their end").text;
    let landlock = guest.console().find(&["landlock version "]).expect("said first").text;
    // Since Linux 5.13.
    assert_eq!(landlock.ends_with(" 0"), board::is_oldest(), "{landlock}");
    // Elsewhere it may not be had.
    guest.console().find(&["real time was taken after"]).expect("a thread that spun has lost its priority");
    assert!(result.contains("ok.") && !result.contains(" 0 passed"), "{}", guest.console().text());
}
