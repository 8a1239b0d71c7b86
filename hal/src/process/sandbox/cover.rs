//! What is covered of a directory that is shown whole. `/etc` must be: a file in it that others replace by renaming, such
//! as `resolv.conf`, stays the newest only in its own directory. So what a child does not need lies under a cover that
//! nobody may open. What comes later, or is replaced, is seen.

use super::mount;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What programs may need of `/etc`: certificates, names and how they are found, time zones, libraries.
const NEEDED: [&str; 19] = [
    "ssl",
    "ca-certificates",
    "ca-certificates.conf",
    "pki",
    "hosts",
    "host.conf",
    "resolv.conf",
    "resolvconf",
    "nsswitch.conf",
    "gai.conf",
    "services",
    "protocols",
    "localtime",
    "timezone",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "alternatives",
];

/// Lays covers in `etc`, which shows `/etc`, over all that is neither needed nor spared. They are made in `workshop`, which
/// is writable now and keeps nothing of it.
pub(super) fn cover(etc: &Path, workshop: &Path, spared: impl Fn(&str) -> bool) -> io::Result<()> {
    let (file, directory) = (workshop.join("file"), workshop.join("directory"));
    DirBuilder::new().mode(0o700).create(workshop)?;
    // What is bound from here later cannot be written to either.
    let here = workshop.to_string_lossy();
    mount(&here, &here, "", libc::MS_BIND, "")?;
    OpenOptions::new().write(true).create_new(true).mode(0o000).open(&file)?;
    DirBuilder::new().mode(0o000).create(&directory)?;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
    mount("none", &here, "", flags, "")?;
    for entry in fs::read_dir(etc)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if NEEDED.contains(&name.as_str()) || spared(&name) {
            continue;
        }
        let cover = match entry.file_type() {
            Ok(kind) if kind.is_dir() => &directory,
            Ok(kind) if kind.is_file() => &file,
            // A link leads to what is seen, or covered, where it is; anything else cannot be read.
            Ok(_) | Err(_) => continue,
        };
        match mount(&cover.to_string_lossy(), &entry.path().to_string_lossy(), "", libc::MS_BIND, "") {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            covered => covered?,
        }
    }
    super::unmount(workshop)?;
    fs::remove_file(file)?;
    fs::remove_dir(directory)?;
    fs::remove_dir(workshop)
}
