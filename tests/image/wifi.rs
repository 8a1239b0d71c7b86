//! Wi-Fi with two radios of the kernel's: one is the board's, the other is the access point.

use tests::card::{BOOT, Board, Card};

/// The network, with a password that its access point does not have.
pub const SETTINGS: &str = "[wifi]\ncountry = \"DE\"\nssid = \"porch\"\npassword = \"wrong horse\"\n";

const REFUSED: &str = "Wi-Fi: the network \"porch\" refuses the password (reason: 15): correct `password` under [wifi]";

/// What the board says of it, in this order.
const SAID: [&str; 3] = [
    "Wi-Fi: this board has no radio that it can use",
    "Wi-Fi: the network \"porch\" is not in reach: is `ssid` under [wifi] right",
    REFUSED,
];

/// A board with these settings looks for its radio, then for its network, which refuses it.
pub fn comes_step_by_step(board: &mut Board) {
    board.wait(SAID[0], BOOT);
    board.must("modprobe mac80211_hwsim radios=2");
    board.wait(SAID[1], BOOT);
    board.must("iwctl device wlan1 set-property Mode ap; iwctl ap wlan1 start porch 'right horse'");
    // It looks by itself, but not that soon; and not twice at once.
    board.must("while ! iwctl station wlan0 scan; do usleep 200000; done");
    board.wait(SAID[2], BOOT);
    let told = board.must("journalctl --quiet --unit firmware-worker-wifi.service --output cat | grep -c ^Wi-Fi:");
    assert_eq!(told, SAID.len().to_string(), "a line for each change");
}

/// The report has it too.
pub fn is_reported(card: &Card, report: &str) {
    let report = card.text(report);
    let places: Vec<_> = SAID.iter().map(|said| report.find(said)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{report}");
}
