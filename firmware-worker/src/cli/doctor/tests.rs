use super::boot::enable_memory_cgroup;
use super::checks::{self, Finding};
use hal::board::Board;
use hal::interfaces::Address;
use hal::video::Encoder;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const CMDLINE: &str = "console=serial0,115200 root=PARTUUID=4e639091-02 rootfstype=ext4 rootwait\n";
const PI: (&str, &str) = ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");

/// A board made of files; gone at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("fw-doctor-{name}-{}", std::process::id()));
        for (file, content) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(root)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    /// What `--fix` shows, or why it refuses.
    fn fix(&self) -> Result<String, String> {
        let mut shown = Vec::new();
        enable_memory_cgroup(&self.0, &mut shown).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(shown).unwrap())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn says(finding: &Finding, state: &str, text: &str) {
    let line = finding.to_string();
    assert!(line.starts_with(state) && line.contains(text) && !line.contains('\n'), "{line}");
}

const CONTROLLERS: &str = "sys/fs/cgroup/cgroup.controllers";

#[test]
fn a_raspberry_pi_without_memory_controller_is_told_the_file_and_the_word() {
    let files = [(CONTROLLERS, "cpuset cpu io pids\n"), ("boot/firmware/cmdline.txt", CMDLINE)];
    let finding = checks::cgroups(&Tree::new("memory", &files).0);
    says(
        &finding,
        "WRONG",
        "cgroup_enable=memory is missing in /boot/firmware/cmdline.txt: sudo firmware-worker doctor --fix",
    );
    let changed = format!("{} cgroup_enable=memory\n", CMDLINE.trim());
    let files = [(CONTROLLERS, "cpu\n"), ("boot/firmware/cmdline.txt", changed.as_str())];
    says(&checks::cgroups(&Tree::new("changed", &files).0), "WRONG", "with the next start: reboot");
    says(&checks::cgroups(&Tree::new("pc", &[(CONTROLLERS, "cpu\n")]).0), "WRONG", "kernel's command line");
}

#[test]
fn cgroups_with_their_controllers_are_good_and_without_v2_they_are_not() {
    let good = Tree::new("good", &[(CONTROLLERS, "cpuset cpu io memory pids\n")]);
    says(&checks::cgroups(&good.0), "good", "can be limited");
    says(&checks::cgroups(&Tree::new("pids", &[(CONTROLLERS, "memory\n")]).0), "WRONG", "CONFIG_CGROUP_PIDS");
    says(&checks::cgroups(&Tree::new("v1", &[]).0), "WRONG", "systemd.unified_cgroup_hierarchy=1");
}

#[test]
fn a_user_outside_of_the_devices_groups_is_told_which() {
    let groups = "root:x:0:\naudio:x:29:\nvideo:x:44:pi\n";
    let of = |name: &str, status: &str| {
        checks::groups(&Tree::new(name, &[("proc/self/status", status), ("etc/group", groups)]).0)
    };
    says(&of("both", "Uid:\t1000\t1000\nGroups:\t29 44 1000 \n"), "good", "may open");
    says(&of("one", "Uid:\t1000\t1000\nGroups:\t44 1000 \n"), "WRONG", "usermod -aG audio $USER");
    says(&of("none", "Uid:\t1000\t1000\nGroups:\t \n"), "WRONG", "usermod -aG video,audio $USER");
    says(&of("root", "Uid:\t0\t0\nGroups:\t \n"), "good", "root");
}

#[test]
fn a_weak_supply_is_wrong_and_heat_slows() {
    let file = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let of = |name: &str, bits: &str| checks::power(&Board::under(&Tree::new(name, &[(file, bits)]).0));
    says(&of("weak", "5\n"), "WRONG", "supply");
    says(&of("hot", "8\n"), "note", "fan");
    says(&of("past", "50000\n"), "good", "full speed");
    let sensor = [("sys/class/hwmon/hwmon0/name", "rpi_volt"), ("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")];
    says(&checks::power(&Board::under(&Tree::new("sensor", &sensor).0)), "WRONG", "supply");
    let model = [("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")];
    says(&checks::power(&Board::under(&Tree::new("unknown", &model).0)), "note", "this kernel does not tell");
    says(&checks::power(&Board::under("/nowhere")), "good", "does not complain");
    let zone = |name: &str, milli: &str| {
        let files =
            [("sys/class/thermal/thermal_zone0/type", "cpu-thermal"), ("sys/class/thermal/thermal_zone0/temp", milli)];
        checks::heat(&Board::under(&Tree::new(name, &files).0))
    };
    says(&zone("warm", "61322"), "good", "61 degrees");
    says(&zone("hotter", "81000"), "note", "81 degrees Celsius: give");
}

#[test]
fn a_clock_that_was_never_set_is_wrong_and_one_that_runs_free_is_noted() {
    says(&checks::clock(Some(true), NOW, false), "good", "set");
    says(&checks::clock(Some(false), NOW, false), "note", "set-ntp true");
    says(&checks::clock(Some(false), NOW, true), "note", "write `ntp` under [board]");
    says(&checks::clock(Some(false), Duration::from_secs(5), false), "WRONG", "never set");
}

#[test]
fn an_address_beyond_loopback_is_a_network() {
    let address = |interface: &str, ip: &str, loopback| Address {
        interface: interface.into(),
        ip: ip.parse().unwrap(),
        loopback,
    };
    let lo = address("lo", "127.0.0.1", true);
    says(&checks::network(std::slice::from_ref(&lo), false), "WRONG", "plug in the cable, or sudo nmcli");
    says(&checks::network(std::slice::from_ref(&lo), true), "WRONG", "plug in the cable, or write [wifi]");
    says(&checks::network(&[lo, address("wlan0", "192.168.1.7", false)], false), "good", "wlan0 192.168.1.7");
}

#[test]
fn the_boards_encoder_is_named_and_its_absence_noted() {
    let encoder = Encoder {
        path: "/dev/video11".into(),
        card: "bcm2835-codec-encode".into(),
        driver: "bcm2835-codec".into(),
        inputs: vec!["NV12".into()],
        outputs: vec!["H264".into()],
    };
    says(&checks::encoder(&[encoder]), "good", "/dev/video11 (bcm2835-codec)");
    says(&checks::encoder(&[]), "note", "640x360");
}

#[test]
fn the_fix_shows_the_change_makes_it_once_and_leaves_no_other_file() {
    for file in ["boot/firmware/cmdline.txt", "boot/cmdline.txt"] {
        let tree = Tree::new(&file.replace('/', "-"), &[PI, (file, CMDLINE)]);
        let shown = tree.fix().unwrap();
        let wanted = format!("{} cgroup_enable=memory\n", CMDLINE.trim());
        assert_eq!(tree.read(file), wanted);
        assert!(shown.contains(&format!("- {CMDLINE}")) && shown.contains(&format!("+ {wanted}")), "{shown}");
        assert_eq!(fs::read_dir(tree.0.join(file).parent().unwrap()).unwrap().count(), 1);
        assert!(tree.fix().unwrap().contains("already"));
        assert_eq!(tree.read(file), wanted);
    }
}

#[test]
fn a_word_that_switches_the_controller_off_is_replaced() {
    let file = "boot/firmware/cmdline.txt";
    let tree = Tree::new("off", &[PI, (file, "cgroup_enable=memory root=/dev/x cgroup_disable=memory quiet\r\n")]);
    tree.fix().unwrap();
    assert_eq!(tree.read(file), "cgroup_enable=memory root=/dev/x quiet cgroup_enable=memory\n");
}

#[test]
fn what_is_not_a_pis_command_line_is_left_alone() {
    let file = "boot/firmware/cmdline.txt";
    let pc = Tree::new("other", &[("proc/device-tree/model", "Radxa ROCK 4\0"), (file, CMDLINE)]);
    assert!(pc.fix().unwrap_err().contains("not a Raspberry Pi (Radxa ROCK 4)"));
    assert_eq!(pc.read(file), CMDLINE);
    for (name, text, why) in [
        ("two", "root=/dev/a\nroot=/dev/b\n", "not exactly one line"),
        ("empty", "\n", "not exactly one line"),
        ("rootless", "console=tty1\n", "no root="),
    ] {
        let tree = Tree::new(name, &[PI, (file, text)]);
        let error = tree.fix().unwrap_err();
        assert!(error.contains("cmdline.txt") && error.contains(why), "{error}");
        assert_eq!(tree.read(file), text);
    }
    assert!(Tree::new("nothing", &[PI]).fix().unwrap_err().contains("is the boot partition mounted?"));
}
