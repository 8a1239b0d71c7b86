//! The device layer alone, on vivid, vicodec, snd-aloop and a USB sound card.

use std::time::Duration;
use tests::guest::{Content, Guest};
use tests::paths;

/// They take two minutes, one of them for its 3 x 10 s of sound; more beside a busy build, or in full.
const LIMIT: Duration = Duration::from_secs(900);

/// Unplugs and replugs in a long run.
const SOAK_CYCLES: u32 = 100;

/// `tools/test soak the_device_layer` asks for the long run.
fn soak() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Two cameras, the second of the multi-planar API.
fn script() -> String {
    let options = "n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x0 multiplanar=1,2";
    let cycles = if soak() { format!("export CYCLES={SOAK_CYCLES}\n") } else { String::new() };
    format!(
        "modprobe -r vivid\nmodprobe vivid {options}\nmodprobe xhci-pci\nmodprobe snd-usb-audio\n{cycles}exec /devices --ignored --test-threads=1 --nocapture"
    )
}

#[test]
fn the_device_layer_does_on_real_drivers_what_its_tests_say() {
    let devices = paths::guest_devices();
    let files = [("/devices", 0o755, Content::File(&devices))];
    let mut guest = Guest::boot("devices", &files, &script());
    guest.wait_off(LIMIT * if soak() { 10 } else { 1 });
    let result = guest.console().find(&["test result:"]).expect("the tests came to their end").text;
    if let Some(line) = guest.console().find(&["cycles, the slowest"]) {
        println!("{}", line.text.trim());
    }
    assert!(result.contains("ok.") && !result.contains(" 0 passed"), "{}", guest.console().text());
}
