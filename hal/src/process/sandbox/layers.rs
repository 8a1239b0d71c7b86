//! What a child of ours takes from itself before it reads its first message, layer by layer.
//!
//! ```text
//! limits -> namespaces (own user namespace where we are not root) -> files -> bounding set -> user -> capabilities
//!     -> no_new_privs -> not dumpable -> Landlock -> system calls
//! ```
//! Each layer is taken if it can be had; one that cannot is told with its remedy, and the next is tried. Whatever needs
//! rights (limits that are raised, scheduling) comes before the user; the calls for it are allowed afterwards too.

use super::rights::{self, Limit};
use super::tally::Tally;
use super::view::View;
use super::{landlock, unshare};
use crate::process::check;
use std::fs;
use std::io;
use std::path::PathBuf;

/// What a child gives up and what it keeps.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Whom to become, where we are root: user and group of this number.
    pub uid: Option<u32>,
    /// Groups of devices that it keeps.
    pub groups: Vec<u32>,
    /// It keeps the network.
    pub network: bool,
    /// It keeps what tells one device from another, `/sys`.
    pub devices: bool,
    /// It keeps the nodes of sound cards.
    pub sound: bool,
    /// Directories that it reads beside those of the system.
    pub paths: Vec<PathBuf>,
    /// Directories that are empty for it.
    pub hidden: Vec<PathBuf>,
    /// Bytes of its private `/tmp`.
    pub temporary: u64,
    /// Limits of its resources.
    pub limits: Vec<Limit>,
    /// System calls beside those that are always allowed, by name; unknown ones are ignored.
    pub calls: Vec<String>,
    /// Where refused system calls are counted.
    pub tally: Option<Tally>,
}

/// One kind of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A user that no other process has.
    User,
    /// Only the files it needs, and no devices of others.
    Files,
    /// Other processes are not seen.
    Processes,
    /// No network, for those that need none.
    Network,
    /// No capability in any set.
    Capabilities,
    /// No program gives it rights.
    NoNewPrivileges,
    /// Limits of resources.
    Limits,
    /// Landlock.
    Landlock,
    /// The filter of system calls.
    Calls,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::User,
        Self::Files,
        Self::Processes,
        Self::Network,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Limits,
        Self::Landlock,
        Self::Calls,
    ];

    /// As operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "own user",
            Self::Files => "file view",
            Self::Processes => "hidden processes",
            Self::Network => "no network",
            Self::Capabilities => "no capabilities",
            Self::NoNewPrivileges => "no new privileges",
            Self::Limits => "resource limits",
            Self::Landlock => "landlock",
            Self::Calls => "seccomp",
        }
    }

    /// What an operator can do where it is missing.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::User => {
                "run the worker as root (its systemd unit does), with `uids` under [isolation] free on this system"
            }
            Self::Files | Self::Network => {
                "run the worker as root with CAP_SYS_ADMIN, or allow user namespaces (sysctl user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            }
            Self::Processes => "run the worker as root with CAP_SYS_ADMIN, on Linux 5.8 or newer",
            Self::Capabilities => "add CAP_SETPCAP to the bounding set of the worker's unit",
            Self::NoNewPrivileges => "use Linux 3.5 or newer",
            Self::Limits => "run the worker as root with CAP_SYS_RESOURCE",
            Self::Landlock => "use a kernel with CONFIG_SECURITY_LANDLOCK and `landlock` in its lsm= list",
            Self::Calls => "use a 64-bit system, and a kernel with CONFIG_SECCOMP_FILTER",
        }
    }

    /// `strict` does without those that many boards' kernels lack, and without those that others repeat.
    pub fn required(self) -> bool {
        match self {
            Self::User | Self::Files | Self::Capabilities | Self::NoNewPrivileges | Self::Limits => true,
            Self::Calls => cfg!(target_pointer_width = "64"),
            Self::Processes | Self::Network | Self::Landlock => false,
        }
    }
}

/// A layer that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub layer: Layer,
    /// What failed.
    pub why: String,
}

impl Sandbox {
    /// Takes every layer that can be had, for good, and tells the others. Called in a process of one thread.
    pub fn enter(&self) -> Vec<Missing> {
        let mut missing = Missings(Vec::new());
        // SAFETY: takes nothing and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        missing.layer(Layer::Limits, self.limit(root));
        // The others would keep what is taken from this one.
        if fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
            missing.layer(Layer::Files, Err(io::Error::other("`main` has started threads before it called `run`")));
        }
        let view = View::new(self);
        match namespaces(root, self.network).and_then(|network| Ok((network, view.enter()?))) {
            Ok((network, apart)) => {
                missing.layer(Layer::Network, network);
                missing.layer(Layer::Processes, apart);
            }
            Err(error) => {
                let again = || io::Error::new(error.kind(), "there is no mount namespace of its own");
                missing.layer(Layer::Processes, Err(again()));
                // Its namespace is made before the files, and may be there.
                missing.layer(Layer::Network, if self.network { Ok(()) } else { Err(again()) });
                missing.layer(Layer::Files, Err(error));
            }
        }
        let bounding = if root { rights::drop_bounding_set(0) } else { Ok(()) };
        missing.layer(Layer::User, self.become_user(root));
        missing.layer(Layer::Capabilities, rights::drop_capabilities().and(bounding));
        // SAFETY: take numbers only.
        let (no_new_privileges, _) = unsafe {
            (libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))
        };
        missing.layer(Layer::NoNewPrivileges, check(no_new_privileges).map(drop));
        missing.layer(Layer::Landlock, landlock::apply(&view));
        missing.layer(Layer::Calls, self.filter());
        missing.0
    }

    fn limit(&self, root: bool) -> io::Result<()> {
        rights::keep_nothing()?;
        if !self.limits.iter().any(|limit| matches!(limit, Limit::Realtime(_))) {
            rights::keep_no_priority()?;
        }
        // The processes of a user that is not its own are not its own either, and rights cannot be raised.
        let own = |limit: &&Limit| root || limit.lowers_our_own();
        self.limits.iter().filter(own).try_for_each(|limit| limit.set())
    }

    fn become_user(&self, root: bool) -> io::Result<()> {
        match self.uid {
            Some(uid) if root => rights::become_user(uid, &self.groups),
            _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it runs as the worker's user")),
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn filter(&self) -> io::Result<()> {
        let calls = self.calls.iter().filter_map(|name| super::calls::number(name)).collect();
        super::filter::apply(&super::filter::Permits { network: self.network, calls }, self.tally.as_ref())
    }

    /// 32-bit ARM has each call that tells a time twice, old calls that glibc falls back to by version, and none that this
    /// project could try on a board; a list that is wrong there ends jobs. The other layers do not depend on it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn filter(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no list for this architecture"))
    }
}

/// Whether this name is a system call that can be allowed; on systems without a filter every name is.
pub fn is_call(name: &str) -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return super::calls::number(name).is_some();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return !name.is_empty();
}

/// Mounts and System V IPC of its own, and a network that is empty unless it keeps ours.
fn namespaces(root: bool, network: bool) -> io::Result<io::Result<()>> {
    if !root {
        rights::own_namespace().map_err(|error| io::Error::new(error.kind(), format!("user namespace: {error}")))?;
    }
    unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC)
        .map_err(|error| io::Error::new(error.kind(), format!("mount namespace: {error}")))?;
    Ok(if network { Ok(()) } else { unshare(libc::CLONE_NEWNET) })
}

struct Missings(Vec<Missing>);

impl Missings {
    fn layer(&mut self, layer: Layer, taken: io::Result<()>) {
        if let Err(error) = taken {
            self.0.push(Missing { layer, why: error.to_string() });
        }
    }
}
