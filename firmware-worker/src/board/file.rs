//! The boot partition and its file.

use super::{Error, Remount};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// On the boot partition.
pub(super) const NAME: &str = "firmware-worker.toml";
const REPORT: &str = "firmware-worker-report.txt";

/// Bytes of a file that a person wrote.
const LONGEST: u64 = 256 * 1024;

/// What the name of a file that is being written ends with.
pub(super) const UNFINISHED: &str = ".new";

/// Mode of a file with a secret, and of its folder's other files.
pub(super) const PRIVATE: u32 = 0o600;

/// The boot partition.
pub(super) struct Boot {
    root: PathBuf,
    folder: PathBuf,
}

impl Boot {
    pub(super) fn under(root: &Path) -> Self {
        Self { root: root.to_owned(), folder: root.join("boot/firmware") }
    }

    /// The file's text, whatever editor wrote it; nothing without a file.
    pub(super) fn read(&self) -> Result<Option<String>, String> {
        let path = self.folder.join(NAME);
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(meta) if meta.len() > LONGEST => return Err(format!("{NAME}: is longer than {} kB", LONGEST / 1024)),
            _ => fs::read(&path).map_err(|e| format!("{NAME}: cannot be read: {e}"))?,
        };
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if text.contains(&0) || text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
            return Err(format!("{NAME}: is not plain text; save it as UTF-8"));
        }
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(error) => {
                let line = text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
                Err(format!("{NAME}:{line}: holds a character that is not UTF-8; save the file as UTF-8"))
            }
        }
    }

    /// Where the board has what its settings name.
    pub(super) fn named(&self, path: &Path) -> PathBuf {
        path.strip_prefix("/").map_or_else(|_| self.folder.join(path), |below| self.root.join(below))
    }

    pub(super) fn replace(&self, text: &str, remount: Remount<'_>) -> Result<(), Error> {
        self.write(NAME, text, remount)
    }

    /// Writes the report, unless it says the same already: a card has so many writes.
    pub(super) fn tell(&self, text: &str, remount: Remount<'_>) -> Result<(), Error> {
        if fs::read(self.folder.join(REPORT)).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        self.write(REPORT, text, remount)
    }

    fn write(&self, name: &str, text: &str, remount: Remount<'_>) -> Result<(), Error> {
        let read_only = |why| Error::ReadOnly { path: self.folder.clone(), why };
        remount(&self.folder, true).map_err(read_only)?;
        let written = replace(&self.folder.join(name), text.as_bytes(), 0o644);
        let closed = remount(&self.folder, false).map_err(read_only);
        written.and(closed)
    }
}

/// Writes a file as a whole: whatever happens, it holds the old bytes or the new ones.
///
/// On a FAT a name is written with the file that gets it, not with the folder. The temporary name goes before that: two for one
/// place would be two files, of which the next change frees one. And the old file's place is free, which must not be on the medium
/// before the name is, as soon as nobody has it open.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |call| move |source| Error::File { call, path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(UNFINISHED);
    let new = folder.join(name);
    let written = write_new(&new, bytes, mode).map_err(failed("write"));
    let old = File::open(path);
    let renamed = written.and_then(|file| fs::rename(&new, path).map(|()| file).map_err(failed("replace")));
    if renamed.is_err() {
        // The old file is whole; a part of the new one would keep a full partition full.
        let _ = fs::remove_file(&new);
    }
    let file = renamed?;
    File::open(folder).and_then(|folder| folder.sync_all()).and_then(|()| file.sync_all()).map_err(failed("sync"))?;
    drop(old);
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    // What an earlier try has left may have another mode.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// The same text with an empty string for each secret in it; nothing if there is none.
pub(super) fn without_secrets(text: &str) -> Option<String> {
    let places: Places = toml::from_str(text).ok()?;
    let mut values: Vec<_> = [places.board.token, places.board.api_secret, places.wifi.password]
        .into_iter()
        .flatten()
        .filter(|secret| !secret.get_ref().is_empty())
        .map(|secret| secret.span())
        .collect();
    values.sort_by_key(|range| range.start);
    let mut without = text.to_owned();
    values.iter().rev().for_each(|range| without.replace_range(range.clone(), "\"\""));
    (!values.is_empty()).then_some(without)
}

/// Where the secrets stand in the text.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Places {
    board: BoardPlaces,
    wifi: WifiPlaces,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BoardPlaces {
    token: Option<Spanned<String>>,
    api_secret: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WifiPlaces {
    password: Option<Spanned<String>>,
}
