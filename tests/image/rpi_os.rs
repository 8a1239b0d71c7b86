//! Raspberry Pi OS with the worker in it. Its image is too large a download for a test: a Debian 13 of the same partitions, names
//! and mounts stands for it, without its kernel, first start and programs; and where nothing of it is started, one that says it
//! were of Debian 12.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::guest::Guest;
use tests::package::{self, TARGETS};
use tests::server::SECRET;
use tests::{Card, Server, paths};

/// Everything in the guest runs about twenty times slower than on the host.
const SLOW: Duration = Duration::from_secs(120);

/// Of the card: the root has what the image gave it, as on a card that is hardly larger.
const MIB: u64 = 768;

/// What the worker says, on the console; then whatever the test types is run.
const SCRIPT: &str = "
journalctl --follow --output cat --lines 400 --unit firmware-worker --unit firmware-worker-install --unit firmware-worker-board &
while read -r line; do eval \"$line\"; done
";

const SETTINGS: &str = "firmware-worker.toml";
const REPORT: &str = "firmware-worker-report.txt";

/// Who may log in, and a radio, for its NetworkManager.
const NETWORK: &str = "hostname = \"porch\"\nssh_keys = [\"ssh-ed25519 AAAAC3Nz me@desk\"]\n\
                       [wifi]\ncountry = \"DE\"\nssid = \"home\"\npassword = \"correct horse\"\n";

#[test]
fn raspberry_pi_os_gets_the_worker_without_being_booted_and_registers_at_its_first_start() {
    let server = Server::start_for_guest();
    let card = Card::with(treated(&paths::guest_rpi_os()).expect("a good base"), "rpi-os", MIB);
    let line = card.text("cmdline.txt");
    assert_eq!(line.lines().count(), 1, "{line:?}");
    assert!(
        line.starts_with("console=serial0,115200 ") && line.ends_with(" resize cgroup_enable=memory\n"),
        "{line:?}"
    );
    assert!(card.text(SETTINGS).contains("#[server]"), "something to fill in");

    card.configure(&server, NETWORK);
    let mut guest = Guest::boot_card("rpi-os", &card, SCRIPT);
    guest.wait_console("registered as", SLOW);
    let mut must = |command: &str| guest.must(command, SLOW);
    let known =
        "dpkg-query -W -f '${binary:Package} ${db:Status-Status} ' firmware-worker libasound2-data libasound2t64";
    assert_eq!(must(known), "firmware-worker installed libasound2-data installed libasound2t64:arm64 installed");
    assert_eq!(must("dpkg --audit && systemctl is-enabled firmware-worker"), "enabled");
    assert_eq!(must("systemctl --failed --plain --no-legend"), "");
    must("test ! -e /var/lib/firmware-worker-image -a ! -e /etc/systemd/system/firmware-worker-install.service");
    // With it the worker knows the end of the system from one of its own, at this start already.
    must("until test -d /run/firmware-worker-system-up; do sleep 0.2; done");
    // The prewarmed job, in a leaf with the limit that README.md says.
    let limits = must("cat /sys/fs/cgroup/firmware-worker.service/*/memory.max");
    assert!(limits.split(' ').any(|limit| limit == (64 << 20).to_string()), "{limits}");
    // The network is there before its manager looks, and the radio is told its country after that.
    let found = must("cat /run/network-manager-found");
    assert!(found.contains("-rw-------") && found.ends_with("firmware-worker-wifi.nmconnection"), "{found}");
    assert_eq!(must("cat /run/radio /proc/sys/kernel/hostname"), "iw reg set DE nmcli radio wifi on porch");
    assert!(must("grep /boot/firmware /proc/mounts").contains(" rw,"), "as Raspberry Pi OS has it");
    // Which this one has not; off, as Raspberry Pi OS has it.
    must("printf '[Service]\\nExecStart=sleep infinity\\n' >/etc/systemd/system/ssh.service");
    guest.type_line("systemctl poweroff");
    guest.wait_off(SLOW);

    let settings = card.text(SETTINGS);
    assert!(!settings.contains(SECRET) && !settings.contains("correct horse"), "the secrets were moved: {settings}");
    assert!(card.text(REPORT).starts_with("The settings of this board are good."), "{}", card.text(REPORT));

    // Nothing of the first start is left to do. Who has made a mistake can log in to mend it.
    card.put(SETTINGS, &settings.replace("api_key", "api_kye"));
    let mut guest = Guest::boot_card("rpi-os", &card, SCRIPT);
    guest.wait_console("registered as", SLOW);
    guest.must("while ! systemctl --quiet is-active ssh.service; do sleep 1; done", SLOW);
    let failed = guest.must("systemctl --failed --plain --no-legend | cut -d ' ' -f 1", SLOW);
    assert_eq!(failed, "firmware-worker-board.service");
}

#[test]
fn a_base_of_debian_12_gets_that_ones_packages_and_what_is_no_raspberry_pi_os_is_refused_with_a_reason_and_a_remedy() {
    let folder = std::env::temp_dir().join(format!("rpi-os-wrong-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary directory is writable");
    let (good, wrong) = (folder.join("good.img"), folder.join("wrong.img"));
    shell("xz -dc \"$0\" >\"$1\"", &[&paths::guest_rpi_os(), &good]);
    let release =
        |name: &str| edit("/usr/lib", "os-release", &format!("s/^VERSION_CODENAME=.*/VERSION_CODENAME={name}/"));
    shell(&release("bookworm"), &[&good]);
    let again = treated(&good).expect("a good base");
    let laid = shell("debugfs -R 'ls -p /var/lib/firmware-worker-image' \"$root\"", &[&again]);
    assert!(laid.contains("/libasound2_1.2.8-"), "{laid}");

    let other_architecture = edit("/var/lib/dpkg", "status", "/^Arch/s/arm64/armhf/");
    let other_release = release("bullseye");
    let cases = [
        ("rm \"$0\"", "no such file; --base takes Raspberry Pi OS Lite (64-bit)"),
        ("echo hello >\"$0\"", "no image of a disk; --base takes"),
        ("truncate -s 100M \"$0\"", "is cut off; download it again"),
        ("echo 'label: gpt' | sfdisk -q \"$0\"", "has not the two partitions of Raspberry Pi OS, FAT and ext4; take"),
        ("mdel -i \"$0@@4M\" ::cmdline.txt", "no cmdline.txt on the first partition; take"),
        ("dd if=/dev/zero of=\"$0\" bs=1M seek=68 count=1 conv=notrunc", "the second partition is not ext4; take"),
        ("debugfs -w -R 'feature needs_recovery' \"$root\"", "its root was not unmounted; take"),
        ("debugfs -w -R 'ssv r_blocks_count 160000' \"$root\"", "are needed; take the image as it was downloaded"),
        (other_architecture.as_str(), "its programs are of armhf, not arm64; take the 64-bit one"),
        (other_release.as_str(), "its release is 'bullseye'; take one of Debian's bookworm trixie"),
        ("cp \"$1\" \"$0\"", "has the worker already; take the image as it was downloaded"),
    ];
    for (change, expected) in cases {
        shell("cp --sparse=always \"$0\" \"$1\"", &[&good, &wrong]);
        shell(change, &[&wrong, &again]);
        let said = treated(&wrong).expect_err(change);
        assert!(said.contains(&format!("{}: ", wrong.display())) && said.contains(expected), "{change}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    fs::remove_dir_all(&folder).expect("it is ours");
}

/// A script that edits a file of the root, as sed does.
fn edit(folder: &str, name: &str, how: &str) -> String {
    format!(
        "debugfs -R 'cat {folder}/{name}' \"$root\" | sed '{how}' >\"$0.{name}\"
        printf 'cd {folder}\\nrm {name}\\nwrite %s {name}\\n' \"$0.{name}\" | debugfs -w \"$root\""
    )
}

/// What is made of this base, or what is said of it.
fn treated(base: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new(paths::root().join("tools/image"));
    command.args(["rpi-os", "--disk-only", "--base"]).arg(base).arg("--deb").arg(package::deb(&TARGETS[0]));
    let output = command.output().expect("part of the checkout");
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(path) if output.status.success() => Ok(path.into()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Runs a script with these as `$0` and so on, and the root of the first as `$root`; gives what it prints.
#[track_caller]
fn shell(script: &str, files: &[&Path]) -> String {
    let mut command = Command::new("bash");
    let script = format!("root=\"$0?offset=$((68 << 20))\"; {script}");
    command.args(["-e", "-o", "pipefail", "-c", &script]).args(files);
    let output = command.output().expect("part of the base system");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
