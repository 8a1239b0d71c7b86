//! Where our own cgroup is: the `0::` line says where in the hierarchy, mountinfo says where that is mounted.

use super::files::{has_word, read};
use super::{Error, Missing, OWN};
use std::path::{Path, PathBuf};

/// The place of our leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub base: PathBuf,
    /// It is the root of the whole hierarchy, for which the kernel makes exceptions.
    pub root: bool,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// Controllers that a v1 hierarchy has, by their mount options.
    v1: String,
}

/// Looks through `process` (`/proc/self`).
pub(super) fn own(process: &Path) -> Result<Place, Error> {
    let membership_file = process.join("cgroup");
    let membership = read(&membership_file)?;
    let Some(path) = membership.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Err(Error::Unfit { path: membership_file, why: "no cgroup v2 here".into() });
    };
    let mounts_file = process.join("mountinfo");
    let mounts = read(&mounts_file)?;
    let mut v1 = String::new();
    let mut found = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let fields: Vec<_> = left.split(' ').collect();
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else { continue };
        if right.starts_with("cgroup ") {
            v1.push_str(&right.replace(',', " "));
            v1.push(' ');
        }
        // In a container the mount may start below the hierarchy's root; any that shows our cgroup will do.
        let (root, point) = (PathBuf::from(unescape(root)), PathBuf::from(unescape(point)));
        if found.is_none()
            && right.starts_with("cgroup2 ")
            && let Ok(below) = Path::new(path).strip_prefix(&root)
            && point.join(below).join("cgroup.procs").exists()
        {
            found = Some((point.join(below), point));
        }
    }
    let Some((mut base, mount)) = found else {
        return Err(Error::Unfit { path: mounts_file, why: "our cgroup is mounted nowhere".into() });
    };
    // We were put into our leaf already: by the service manager, or by an earlier binary of this process.
    if base.ends_with(OWN) {
        base.pop();
    }
    Ok(Place { root: !base.join("cgroup.type").exists(), base, mount, v1 })
}

impl Place {
    /// Why a controller is not there, and what helps.
    pub(super) fn missing(&self, controller: &'static str, needed: bool) -> Missing {
        let base = self.base.display();
        let offered = read(&self.mount.join("cgroup.controllers")).unwrap_or_default();
        let why = if has_word(&self.v1, controller) {
            format!(
                "the {controller} controller belongs to cgroup v1 on this host: boot with \
                 systemd.unified_cgroup_hierarchy=1"
            )
        } else if has_word(&offered, controller) {
            format!("{base} was not given the {controller} controller: the service needs Delegate=yes")
        } else if controller == "memory" {
            "the kernel runs without the memory controller: add cgroup_enable=memory to cmdline.txt (Raspberry Pi OS) or \
             to the kernel's command line"
                .to_owned()
        } else {
            format!("the kernel was built or started without the {controller} controller")
        };
        Missing { controller, needed, why }
    }
}

/// mountinfo writes blanks, tabs, newlines and backslashes as octal numbers (proc(5)).
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => plain.extend([char::from(byte)]),
            None => plain.push('\\'),
        }
        plain.push_str(part.get(3..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_a_mount_point_are_read_as_blanks() {
        assert_eq!(unescape(r"/mnt/my\040disk\134x"), r"/mnt/my disk\x");
        assert_eq!(unescape("/plain"), "/plain");
    }
}
