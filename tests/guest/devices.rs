//! The device layer alone, on vivid and snd-aloop.

use std::time::Duration;
use tests::guest::{Content, Guest};
use tests::paths;

/// They take ten seconds; more beside a busy build.
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn the_device_layer_does_on_real_drivers_what_its_tests_say() {
    let devices = paths::guest_devices();
    let files = [("/devices", 0o755, Content::File(&devices))];
    let mut guest = Guest::boot("devices", &files, "exec /devices --ignored --test-threads=1");
    guest.wait_off(LIMIT);
    let result = guest.console().find(&["test result:"]).expect("the tests came to their end").text;
    assert!(result.contains("ok.") && !result.contains(" 0 passed"), "{}", guest.console().text());
}
