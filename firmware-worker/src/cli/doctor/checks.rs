//! Each check: facts in, one finding out.

use super::boot;
use hal::board::Board;
use hal::interfaces::Address;
use hal::video::Encoder;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How a check has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Good,
    /// The worker runs, but not as well as it could.
    Note,
    /// Something will not work.
    Wrong,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub state: State,
    name: &'static str,
    text: String,
}

impl Finding {
    pub(super) fn good(name: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Good, name, text: text.into() }
    }

    pub(super) fn note(name: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Note, name, text: text.into() }
    }

    pub(super) fn wrong(name: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Wrong, name, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "good ",
            State::Note => "note ",
            State::Wrong => "WRONG",
        };
        write!(f, "{state}  {:<8}  {}", self.name, self.text)
    }
}

/// Whether jobs can be limited. `/proc/cgroups` lists controllers that no cgroup has, so it is not asked.
pub(super) fn cgroups(root: &Path) -> Finding {
    const NAME: &str = "cgroups";
    let Ok(controllers) = fs::read_to_string(root.join("sys/fs/cgroup/cgroup.controllers")) else {
        return Finding::wrong(
            NAME,
            "no cgroup v2 at /sys/fs/cgroup, so no job can be limited: boot with systemd.unified_cgroup_hierarchy=1",
        );
    };
    let has = |wanted: &str| controllers.split_whitespace().any(|name| name == wanted);
    if !has("memory") {
        return Finding::wrong(NAME, format!("the memory of jobs cannot be limited: {}", boot::memory_remedy(root)));
    }
    if !has("pids") {
        return Finding::wrong(NAME, "processes of jobs cannot be limited: the kernel lacks CONFIG_CGROUP_PIDS");
    }
    Finding::good(NAME, "memory and processes of each job can be limited")
}

/// Whether this user may open cameras and sound cards.
pub(super) fn groups(root: &Path) -> Finding {
    const NAME: &str = "groups";
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    if field("Uid:").contains("0") {
        return Finding::good(NAME, "root may open every camera and sound card");
    }
    let known = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let id =
        |wanted: &str| known.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(":")?.split(':').nth(1));
    let mine = field("Groups:");
    let missing: Vec<_> =
        ["video", "audio"].into_iter().filter(|name| id(name).is_some_and(|id| !mine.contains(id))).collect();
    if missing.is_empty() {
        return Finding::good(NAME, "this user may open cameras and sound cards");
    }
    let groups = missing.join(",");
    Finding::wrong(NAME, format!("not in {groups}: sudo usermod -aG {groups} $USER, then log in again"))
}

/// What encodes a camera's pictures.
pub(super) fn encoder(encoders: &[Encoder]) -> Finding {
    const NAME: &str = "encoder";
    match encoders.iter().find(|encoder| encoder.suits_cameras()) {
        Some(encoder) => Finding::good(NAME, format!("{} ({}) makes H.264", encoder.path.display(), encoder.driver)),
        None => Finding::note(
            NAME,
            "none that makes H.264, so the processor does: keep to 1280x720 at 30 on a fast board, to 640x360 at 15 on a \
             small one, or take a camera that gives H.264",
        ),
    }
}

/// What a Raspberry Pi's firmware says about its supply and clock.
pub(super) fn power(board: &Board) -> Finding {
    const NAME: &str = "power";
    match board.throttled() {
        None if board.model().is_some_and(|model| model.starts_with("Raspberry Pi")) => Finding::note(
            NAME,
            "this kernel does not tell whether the supply is strong enough, as it lacks CONFIG_SENSORS_RASPBERRYPI_HWMON: \
             take the board's own supply and a short, thick cable",
        ),
        None => Finding::good(NAME, "this board does not complain about its supply"),
        Some(now) if now.undervoltage => Finding::wrong(
            NAME,
            "the supply's voltage is too low: take the board's own supply and a short, thick cable",
        ),
        Some(now) if now.slowed => {
            Finding::note(NAME, "the clock is held down by heat: give the board a heat sink or a fan")
        }
        Some(_) => Finding::good(NAME, "the supply is strong enough, and the clock runs at full speed"),
    }
}

/// How hot the processor is.
pub(super) fn heat(board: &Board) -> Finding {
    const NAME: &str = "heat";
    /// Raspberry Pis slow down from 80 on, most others from 85.
    const HOT: f32 = 75.0;
    match board.temperature() {
        None => Finding::good(NAME, "this board has no sensor"),
        Some(degrees) if degrees >= HOT => {
            Finding::note(NAME, format!("{degrees:.0} degrees Celsius: give the board a heat sink or a fan"))
        }
        Some(degrees) => Finding::good(NAME, format!("{degrees:.0} degrees Celsius")),
    }
}

/// Whether tokens and certificates can be judged by this board's time.
pub(super) fn clock(synchronised: Option<bool>, now: Duration, flashed: bool) -> Finding {
    const NAME: &str = "clock";
    /// 2025-01-01: an earlier time was never set.
    const PLAUSIBLE: Duration = Duration::from_secs(1_735_689_600);
    let remedy = if flashed {
        "let UDP port 123 out, or write `ntp` under [board] into firmware-worker.toml on the boot partition"
    } else {
        "sudo timedatectl set-ntp true, and let UDP port 123 out"
    };
    if now < PLAUSIBLE {
        return Finding::wrong(NAME, format!("it was never set, so no certificate and no token is valid: {remedy}"));
    }
    match synchronised {
        Some(false) => Finding::note(NAME, format!("no time service keeps it: {remedy}")),
        Some(true) | None => Finding::good(NAME, "set"),
    }
}

/// Whether there is any way out.
pub(super) fn network(addresses: &[Address], flashed: bool) -> Finding {
    const NAME: &str = "network";
    let outward: Vec<_> = addresses.iter().filter(|address| !address.loopback).collect();
    if outward.is_empty() {
        let remedy = if flashed {
            "plug in the cable, or write [wifi] into firmware-worker.toml on the boot partition"
        } else {
            "plug in the cable, or sudo nmcli device wifi connect NETWORK password PASSWORD"
        };
        return Finding::wrong(NAME, format!("no interface has an address: {remedy}"));
    }
    let list: Vec<_> = outward.iter().map(|address| format!("{} {}", address.interface, address.ip)).collect();
    Finding::good(NAME, list.join(", "))
}
