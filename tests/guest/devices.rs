//! The device layer alone, on vivid and snd-aloop.

use std::time::Duration;
use tests::guest::{Content, Guest};
use tests::paths;

/// They take two minutes, one of them for its 3 x 10 s of sound; more beside a busy build, or in full.
const LIMIT: Duration = Duration::from_secs(900);

#[test]
fn the_device_layer_does_on_real_drivers_what_its_tests_say() {
    let devices = paths::guest_devices();
    let files = [("/devices", 0o755, Content::File(&devices))];
    // How often the card is unplugged; in full by `tools/test soak guest`.
    let cycles = if std::env::var_os("SOAK").is_some() { 100 } else { 10 };
    let script = format!("CYCLES={cycles} exec /devices --ignored --test-threads=1");
    let mut guest = Guest::boot("devices", &files, &script);
    guest.wait_off(LIMIT);
    let result = guest.console().find(&["test result:"]).expect("the tests came to their end").text;
    assert!(result.contains("ok.") && !result.contains(" 0 passed"), "{}", guest.console().text());
}
