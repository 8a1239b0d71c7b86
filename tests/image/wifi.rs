//! Wi-Fi with two radios of the kernel's: one is the board's, the other is the access point.

use crate::serve_addresses;
use tests::card::{BOOT, Board, Card};

/// The network, with a password that its access point has not at first.
pub const SETTINGS: &str = "[wifi]\ncountry = \"DE\"\nssid = \"porch\"\npassword = \"plain horse\"\n";

/// What the board says of it, in this order, while it is not let in.
const SAID: [&str; 3] = [
    "Wi-Fi: this board has no radio that it can use",
    "Wi-Fi: the network \"porch\" is not in reach: is `ssid` under [wifi] right",
    "Wi-Fi: the network \"porch\" refuses the password (reason: 15): correct `password` under [wifi]",
];

/// What it says once the access point has its password, and when that is switched off.
const JOINED: &str = "Wi-Fi: joined \"porch\"";
const LOST: &str = "Wi-Fi: lost the network \"porch\"; trying again";

/// A board with these settings looks for its radio, then for its network, which refuses it, then takes it, and goes away.
pub fn comes_step_by_step(board: &mut Board) {
    board.wait(SAID[0], BOOT);
    board.must(&serve_addresses("wlan1", "198.51.100.1"));
    board.must("systemctl reload systemd-networkd.service");
    board.must("modprobe mac80211_hwsim radios=2");
    board.wait(SAID[1], BOOT);
    board.must("iwctl device wlan1 set-property Mode ap");
    switch_on(board, "wrong horse");
    // It looks by itself, but not that soon; and not twice at once.
    board.must("while ! iwctl station wlan0 scan; do usleep 200000; done");
    board.wait(SAID[2], BOOT);
    let told = board.must("journalctl --quiet --unit firmware-worker-wifi.service --output cat | grep -c ^Wi-Fi:");
    assert_eq!(told, SAID.len().to_string(), "a line for each change");
    board.must("iwctl ap wlan1 stop");
    switch_on(board, "plain horse");
    // As above.
    board.must("while ! iwctl station wlan0 connect porch; do usleep 200000; done");
    board.wait(JOINED, BOOT);
    board.must("while ! ip -4 addr show dev wlan0 | grep -q ' 198[.]51[.]100[.]'; do usleep 200000; done");
    // Nobody tells the time there.
    let asked = "journalctl --quiet --unit systemd-timesyncd.service | grep -q 'reply from 198.51.100.1:123'";
    board.must(&format!("while ! {asked}; do usleep 200000; done"));
    board.must("iwctl ap wlan1 stop");
    board.wait(LOST, BOOT);
}

/// An access point as they mostly are: of WPA2, whose ciphers are AES in CCM.
fn switch_on(board: &mut Board, password: &str) {
    let profile = format!("[Security]\\nPassphrase={password}\\nPairwiseCiphers=CCMP-128\\n");
    board.must(&format!("mkdir -p /var/lib/iwd/ap && printf '{profile}' >/var/lib/iwd/ap/porch.ap"));
    board.must("iwctl ap wlan1 start-profile porch");
}

/// The report has it too, up to the first time that it was joined.
pub fn is_reported(card: &Card, report: &str) {
    let report = card.text(report);
    let places: Vec<_> = SAID.iter().chain([&JOINED]).map(|said| report.find(said)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{report}");
    assert!(!report.contains(LOST), "{report}");
}
