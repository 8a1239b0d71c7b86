//! What the running image says of itself, its disk and its partitions, under an injectable root.

use super::Error;
use crate::board::replace;
use protocol::update::{COPY_OFFSETS, Copies, History, Part, RECORD_LEN, Slot};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The partition whose disk has the slots too.
const BOOT: &str = "/boot/firmware";

/// By which U-Boot tells the slot that it started, and why it did not take the other.
const SLOT: &str = "firmware_worker.slot=";
const FALLBACK: &str = "firmware_worker.fallback=";

/// By which the initramfs finds the disk: its signature and the number of a partition, hexadecimal, with a dash between.
const ROOT: &str = "root=PARTUUID=";

/// Bytes in front of the signature (MBR).
const SIGNATURE_OFFSET: u64 = 440;

const OS_RELEASE: &str = "etc/os-release";
const KEYS: &str = "usr/share/firmware-worker/update.pub";

/// On the data partition, so that both slots know it.
const STATE: &str = "data/update";

/// Bytes of a sector, as sysfs counts them whatever the disk has.
const SECTOR: u64 = 512;

/// An image that runs from one of two slots.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
    slot: Slot,
    fallback: Option<String>,
    /// In sysfs.
    disk: PathBuf,
    /// The boot partition is mounted.
    has_boot: bool,
}

impl System {
    /// The one whose files are under `root`.
    pub fn under(root: &Path) -> Result<Self, Error> {
        let cmdline = read(&root.join("proc/cmdline"))?;
        let word = |key: &str| cmdline.split_whitespace().find_map(|word| word.strip_prefix(key));
        let slot = word(SLOT).ok_or_else(|| Error::NoSlots(format!("the kernel was started without {SLOT}")))?;
        let slot = slot.parse().map_err(Error::NoSlots)?;
        let fallback = word(FALLBACK).map(str::to_owned);
        let mounts = read(&root.join("proc/self/mountinfo"))?;
        let boot = mounts.lines().find_map(|line| device_of(line, BOOT));
        let disk = match boot {
            Some(device) => {
                let partition = root.join("sys/dev/block").join(device);
                let partition = partition.canonicalize().map_err(failed("find", &partition))?;
                partition.parent().unwrap_or(&partition).to_owned()
            }
            // A version that cannot mount it must be taken back, and be updated.
            None => word(ROOT).and_then(|name| disk_with(root, name)).ok_or_else(|| {
                Error::NoSlots(format!("no partition is mounted on {BOOT}, and no disk has the kernel's {ROOT}"))
            })?,
        };
        Ok(Self { root: root.to_owned(), slot, fallback, disk, has_boot: boot.is_some() })
    }

    /// The slot that runs.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Why U-Boot did not take the other one, if it wanted to.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Whether the boot partition is mounted, from which settings come.
    pub fn has_boot(&self) -> bool {
        self.has_boot
    }

    /// Board and version of the running image.
    pub fn image(&self) -> Result<(String, String), Error> {
        let path = self.root.join(OS_RELEASE);
        let text = read(&path)?;
        let value = |key: &'static str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value
                .map(|value| value.trim_matches('"').to_owned())
                .ok_or_else(|| Error::Image { path: path.clone(), key })
        };
        Ok((value("IMAGE_ID")?, value("IMAGE_VERSION")?))
    }

    /// Whose updates are good: DER.
    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        let path = self.root.join(KEYS);
        let wrong = |why: String| Error::Keys { path: path.clone(), why };
        let text = fs::read(&path).map_err(|e| wrong(e.to_string()))?;
        let keys: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(&text).collect();
        let keys = keys.map_err(|e| wrong(format!("not PEM: {e}")))?;
        match keys.is_empty() {
            true => Err(wrong("no public key in it".into())),
            false => Ok(keys.into_iter().map(|key| key.as_ref().to_vec()).collect()),
        }
    }

    /// Both copies of the record.
    pub fn copies(&self) -> Result<Copies, Error> {
        let path = self.disk();
        let disk = File::open(&path).map_err(failed("open", &path))?;
        let mut copies = [[0; RECORD_LEN]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            disk.read_exact_at(copy, offset).map_err(failed("read", &path))?;
        }
        Ok(copies)
    }

    /// Device node of the whole disk.
    pub(super) fn disk(&self) -> PathBuf {
        self.node(&self.disk)
    }

    /// Device node of a slot's partition.
    pub(super) fn partition(&self, slot: Slot, part: Part) -> Result<PathBuf, Error> {
        Ok(self.node(&self.in_sysfs(slot, part)?))
    }

    /// Bytes that a slot's partition has.
    pub(super) fn room(&self, slot: Slot, part: Part) -> Result<u64, Error> {
        let path = self.in_sysfs(slot, part)?.join("size");
        let sectors = read(&path)?.trim().parse::<u64>();
        let sectors = sectors.map_err(|e| failed("parse", &path)(io::Error::other(e)))?;
        Ok(sectors.saturating_mul(SECTOR))
    }

    fn in_sysfs(&self, slot: Slot, part: Part) -> Result<PathBuf, Error> {
        let wanted = slot.partition(part);
        let found = partition_of(&self.disk, wanted).map_err(failed("list", &self.disk))?;
        let disk = || self.disk().display().to_string();
        found.ok_or_else(|| Error::NoSlots(format!("{} has no partition {wanted}", disk())))
    }

    fn node(&self, in_sysfs: &Path) -> PathBuf {
        node(&self.root, in_sysfs)
    }

    /// What is remembered of updates; nothing where it cannot be read, as a board must be updatable all the same.
    pub fn history(&self) -> History {
        let path = self.state().join("history.json");
        let parsed = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return History::default(),
            Err(e) => Err(e),
        };
        parsed.unwrap_or_else(|e| {
            tracing::warn!("{}: {e}: earlier updates are forgotten", path.display());
            History::default()
        })
    }

    /// Replaces it as a whole.
    pub fn remember(&self, history: &History) -> Result<(), Error> {
        let folder = self.state();
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let path = folder.join("history.json");
        let text = serde_json::to_vec(history).map_err(|e| failed("write", &path)(io::Error::other(e)))?;
        Ok(replace(&path, &text, 0o644)?)
    }

    /// Held as long as the file lives.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let folder = self.state();
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(failed("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Error(e)) => Err(failed("lock", &path)(e)),
        }
    }

    fn state(&self) -> PathBuf {
        self.root.join(STATE)
    }
}

fn node(root: &Path, in_sysfs: &Path) -> PathBuf {
    // Names with a slash have a `!` there.
    let name = in_sysfs.file_name().unwrap_or_default().to_string_lossy().replace('!', "/");
    root.join("dev").join(name)
}

/// The partition with this number, in sysfs as the disk.
fn partition_of(disk: &Path, wanted: u32) -> io::Result<Option<PathBuf>> {
    let is_it = |path: &PathBuf| {
        let number = fs::read_to_string(path.join("partition"));
        number.is_ok_and(|number| number.trim().parse() == Ok(wanted))
    };
    Ok(fs::read_dir(disk)?.flatten().map(|entry| entry.path()).find(is_it))
}

/// The disk of the partition with this name, in sysfs: of several the first by its own, as the initramfs has it.
fn disk_with(root: &Path, name: &str) -> Option<PathBuf> {
    let (signature, number) = name.split_once('-')?;
    let [signature, number] = [signature, number].map(|digits| u32::from_str_radix(digits, 16));
    let (signature, number) = (signature.ok()?, number.ok()?);
    let mut disks: Vec<_> = fs::read_dir(root.join("sys/block")).ok()?.flatten().map(|entry| entry.path()).collect();
    disks.sort();
    let is_it = |disk: &PathBuf| {
        let mut bytes = [0; 4];
        let read = File::open(node(root, disk)).and_then(|file| file.read_exact_at(&mut bytes, SIGNATURE_OFFSET));
        read.is_ok() && u32::from_le_bytes(bytes) == signature
    };
    disks.into_iter().filter(|disk| matches!(partition_of(disk, number), Ok(Some(_)))).find(is_it)
}

/// `MAJOR:MINOR` of what a line of mountinfo mounts on `place`.
fn device_of<'a>(line: &'a str, place: &str) -> Option<&'a str> {
    let mut words = line.split(' ').skip(2);
    let device = words.next()?;
    (words.nth(1)? == place).then_some(device)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// For `map_err`.
pub(super) fn failed(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { call, path, source }
}
