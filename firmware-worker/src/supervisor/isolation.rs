//! What each child gives up, whom it becomes, and which layers cannot be had on this system.

mod users;

use super::handover::{ConfinedEntry, UserEntry};
use super::process::Kind;
use super::run::Supervisor;
use crate::config::{self, Config, Credentials, Device, IsolationMode};
use crate::control::SandboxReport;
use crate::control::confinement::{self, Confinement, Report};
use hal::process::{Claims, Layer, Missing, Socket, Tally, group};
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use tracing::warn;
pub(super) use users::claims;
use users::{User, Users};

/// Bytes of a child's `/tmp`: memory of its cgroup.
const TEMPORARY: u64 = 16 << 20;

/// Descriptors of a child: sockets and files of user code; devices, readers and rings of an owner.
const FILES: u64 = 1024;

/// The group of sound cards.
const AUDIO: &str = "audio";

/// The capabilities that the supervisor needs, and no more: to become other users and signal them (SETUID, SETGID, KILL),
/// to mount (SYS_ADMIN), to take the bounding set from children (SETPCAP), to raise the limits by which the thread of a
/// sound card gets its priority (SYS_RESOURCE), and to find out who holds a device, by the descriptors of other users' processes:
/// to list them (DAC_READ_SEARCH), and to see where they lead (SYS_PTRACE).
pub const BOUNDING_SET: [&str; 8] = [
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SYS_ADMIN",
    "CAP_KILL",
    "CAP_SYS_RESOURCE",
    "CAP_DAC_READ_SEARCH",
    "CAP_SYS_PTRACE",
];

/// How children are confined.
#[derive(Debug)]
pub(super) struct Isolation {
    settings: config::Isolation,
    /// Directories with secrets of ours.
    hidden: Vec<PathBuf>,
    users: Users,
    /// What a first child could not take.
    missing: Vec<Missing>,
}

/// One child's confinement, as the supervisor sees it.
#[derive(Debug)]
pub(super) struct Confined {
    tally: Tally,
    /// None until it has told.
    report: Option<Report>,
    /// Given back when the child is gone.
    user: User,
}

/// Of all, for operators.
#[derive(Debug, Serialize)]
pub(super) struct IsolationView {
    mode: &'static str,
    missing: Vec<String>,
}

impl Isolation {
    pub(super) fn new(settings: config::Isolation, hidden: Vec<PathBuf>) -> Self {
        let users = Users::new(settings.uids.clone());
        Self { settings, hidden, users, missing: Vec::new() }
    }

    /// Puts what a child of this kind is to give up into its socket.
    pub(super) fn confine(
        &mut self,
        kind: Kind,
        processes: Option<u32>,
        leaf: Option<PathBuf>,
        control: &Socket,
    ) -> Result<Confined, String> {
        let user = self
            .users
            .take(leaf)
            .ok_or("all users of `uids` under [isolation] are in use, by this worker or others on the board")?;
        let uid = user.uid;
        let confinement = self.confinement(kind, uid, processes);
        let tally = Tally::new().map_err(|e| format!("page for refused calls: {e}"))?;
        confinement::send(control, &confinement, &tally).map_err(|e| format!("confinement: {e}"))?;
        Ok(Confined { tally, report: None, user })
    }

    fn confinement(&self, kind: Kind, uid: u32, processes: Option<u32>) -> Confinement {
        let common = Confinement {
            uid: Some(uid),
            hidden: self.hidden.clone(),
            temporary: TEMPORARY,
            files: FILES,
            processes: processes.map(u64::from),
            strict: self.strict(),
            ..Confinement::default()
        };
        match kind {
            Kind::Job => Confinement {
                network: true,
                paths: self.settings.paths.clone(),
                calls: self.settings.syscalls.clone(),
                ..common
            },
            Kind::Camera => Confinement { devices: true, ..common },
            Kind::Sound => {
                // Where nobody gives nodes to a group, only root may open them.
                let audio = group(AUDIO);
                let uid = audio.map(|_| uid);
                Confinement {
                    devices: true,
                    sound: true,
                    realtime: true,
                    uid,
                    groups: audio.into_iter().collect(),
                    ..common
                }
            }
            Kind::Bare => common,
        }
    }

    /// Shares the users of children with other workers on this board.
    pub(super) fn share_users_by(&mut self, claims: Claims) {
        self.users.share_by(claims);
    }

    /// What the users of children are shared by.
    pub(super) fn claims(&self) -> Option<RawFd> {
        self.users.claims().map(|claims| claims.as_fd().as_raw_fd())
    }

    /// Users whose last child may still be going.
    pub(super) fn export_users(&mut self) -> Vec<UserEntry> {
        self.users.export()
    }

    /// The same in a program that takes another's place, and what a first child of that one could not take.
    pub(super) fn resume(&mut self, users: Vec<UserEntry>, missing: Vec<Missing>) {
        users.into_iter().for_each(|user| self.users.mark(user));
        self.missing = missing;
    }

    /// A child of the earlier program.
    pub(super) fn adopt(&mut self, entry: ConfinedEntry, tally: OwnedFd) -> Confined {
        Confined { tally: tally.into(), report: entry.report, user: self.users.adopt(entry.user) }
    }

    pub(super) fn strict(&self) -> bool {
        self.settings.mode == IsolationMode::Strict
    }

    /// What a first child reports holds for all. An error is what `strict` does not run without.
    pub(super) fn judge(&mut self, missing: Vec<Missing>) -> Result<(), String> {
        self.missing = missing;
        match self.missing.iter().find(|missing| self.strict() && missing.layer.required()) {
            Some(missing) => Err(format!("isolation is strict, and missing is {}", describe(missing))),
            None => Ok(()),
        }
    }

    /// What a first child could not take.
    pub(super) fn missing_layers(&self) -> &[Missing] {
        &self.missing
    }

    /// One line for each missing layer.
    pub(super) fn missing(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(describe)
    }

    /// With what else is missing.
    pub(super) fn view(&self, controllers: Vec<String>) -> IsolationView {
        let mode = if self.strict() { "strict" } else { "best-effort" };
        IsolationView { mode, missing: self.missing().chain(controllers).collect() }
    }
}

impl Supervisor {
    /// Another worker on this board, a second one or a `connect` beside it, has other users for its children.
    pub(super) fn share_users(&mut self) {
        match claims() {
            Ok(claims) => claims.into_iter().for_each(|claims| self.spawner.share_users_by(claims)),
            Err(error) => warn!("{error}; jobs of another worker on this board may have the users of this one's"),
        }
    }

    /// Says which layers of isolation are missing here; an error where it must not run so.
    pub(super) async fn isolated(mut self) -> Result<Self, String> {
        if let (true, Some(why)) = (self.spawner.isolation().strict(), self.spawner.unlimited()) {
            return Err(format!("isolation is strict, and children would have no limits: {why}"));
        }
        self.share_users();
        match self.spawner.try_isolation().await {
            Err(why) if self.spawner.isolation().strict() => return Err(why),
            Err(why) => warn!("{why}"),
            Ok(()) => self.spawner.isolation().missing().for_each(|layer| warn!("isolation without {layer}")),
        }
        // Where no child becomes another user that has been said.
        if self.spawner.isolation().missing_layers().iter().all(|missing| missing.layer != Layer::User)
            && let Some(why) = sound_stays_root(&self.config.devices, group(AUDIO))
        {
            if self.spawner.isolation().strict() {
                return Err(format!("isolation is strict, and {why}"));
            }
            warn!("{why}");
        }
        Ok(self)
    }
}

/// A sound card's nodes belong to a group; where there is none, only root may open them.
fn sound_stays_root(devices: &[Device], audio: Option<u32>) -> Option<String> {
    let sound = devices.iter().filter(|device| Kind::of(device) == Kind::Sound).map(|device| device.name.as_str());
    let names: Vec<_> = sound.collect();
    (audio.is_none() && !names.is_empty()).then(|| {
        format!(
            "the owners of {} stay root, as there is no group {AUDIO}: groupadd --system {AUDIO}, plug the cards in again or \
             restart the board, so that udev gives them to it, and restart the worker",
            names.join(", ")
        )
    })
}

impl Confined {
    /// It has told what it could not take, and speaks its own messages from now on.
    pub(super) fn reported(&mut self, report: Report) {
        self.report = Some(report);
    }

    pub(super) fn has_reported(&self) -> bool {
        self.report.is_some()
    }

    pub(super) fn missing(&self) -> Vec<Missing> {
        self.report.as_ref().map(Report::missing).unwrap_or_default()
    }

    pub(super) fn export(&self) -> ConfinedEntry {
        let User { uid, leaf, .. } = &self.user;
        let user = UserEntry { uid: *uid, leaf: leaf.clone() };
        ConfinedEntry { user, tally: self.tally.as_fd().as_raw_fd(), report: self.report.clone() }
    }

    pub(super) fn view(&self) -> SandboxReport {
        let missing = self.missing();
        let has = |layer: &Layer| self.has_reported() && missing.iter().all(|missing| missing.layer != *layer);
        let layers: Vec<_> = Layer::ALL.into_iter().filter(has).collect();
        SandboxReport {
            uid: layers.contains(&Layer::User).then_some(self.user.uid),
            layers: layers.iter().map(|layer| layer.name().to_owned()).collect(),
            missing: missing.iter().map(describe).collect(),
            refused: self.tally.refused().into_iter().collect(),
        }
    }
}

fn describe(Missing { layer, why }: &Missing) -> String {
    format!("{}: {why} ({})", layer.name(), layer.remedy())
}

/// Where the configuration, token and API secret are, but for directories that children need.
pub(super) fn secrets(config: &Config) -> Vec<PathBuf> {
    let file = match &config.server.credentials {
        Credentials::TokenFile(path) => Some(path.as_path()),
        Credentials::Token(_) | Credentials::Key { .. } => None,
    };
    let files = [Some(Path::new(crate::cli::CONFIG_FILE)), file];
    let directories = files.into_iter().flatten().filter_map(Path::parent).map(Path::to_owned);
    directories.filter(|path| path.components().count() > 2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Camera, DeviceKind, Microphone, MicrophoneDevice, Speaker};

    #[test]
    fn a_card_whose_owner_would_stay_root_is_told_with_the_remedy() {
        let device = |name: &str, kind| Device { name: name.into(), kind };
        let microphone = Microphone::default();
        let tone = Microphone { device: MicrophoneDevice::Tone, ..Microphone::default() };
        let silent =
            [device("camera", DeviceKind::Camera(Camera::default())), device("tone", DeviceKind::Microphone(tone))];
        assert_eq!(sound_stays_root(&silent, None), None);
        let hall = [
            device("mic", DeviceKind::Microphone(microphone)),
            device("hall", DeviceKind::Speaker(Speaker::default())),
        ];
        assert_eq!(sound_stays_root(&hall, Some(29)), None);
        let why = sound_stays_root(&hall, None).expect("two cards");
        assert!(
            why.starts_with("the owners of mic, hall stay root") && why.contains("groupadd --system audio"),
            "{why}"
        );
    }
}
