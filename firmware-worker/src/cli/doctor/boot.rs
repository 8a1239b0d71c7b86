//! A Raspberry Pi's kernel command line, where its owner switches the memory controller on.

use crate::board;
use hal::board::Board;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Since Debian 12, and before.
const FILES: [&str; 2] = ["boot/firmware/cmdline.txt", "boot/cmdline.txt"];

/// The firmware passes `cgroup_disable=memory`, which a later word of the file overrides.
const ENABLE: &str = "cgroup_enable=memory";
const DISABLE: &str = "cgroup_disable=memory";

/// Why a command line was left as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Only a Raspberry Pi is known to read such a file.
    #[error("not a Raspberry Pi ({model}): its boot files are left alone; {remedy}")]
    NotAPi {
        /// What it is.
        model: String,
        /// What to do by hand.
        remedy: &'static str,
    },
    /// No file to change.
    #[error("no cmdline.txt in /boot/firmware or /boot: is the boot partition mounted?")]
    Missing,
    /// The file is none that a Raspberry Pi boots with.
    #[error("{path}: not a kernel command line ({why}), so it is left alone")]
    Strange {
        /// File.
        path: PathBuf,
        /// In plain words.
        why: &'static str,
    },
    /// Replacing the file.
    #[error(transparent)]
    Replace(#[from] board::Error),
    /// Reading or writing.
    #[error("{call} {path}: {source}")]
    File {
        /// Operation.
        call: &'static str,
        /// Object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Mode of a file that anybody may read, where the file system has modes.
const PUBLIC: u32 = 0o644;

const BY_HAND: &str = "add cgroup_enable=memory to the kernel's command line and reboot";

/// What to do about a missing memory controller.
pub(super) fn memory_remedy(root: &Path) -> String {
    match find(root).map(|path| (fs::read_to_string(&path), path)) {
        Some((Ok(line), _)) if is_enabled(&line) => "it is switched on with the next start: reboot".into(),
        Some((_, path)) => format!(
            "{ENABLE} is missing in /{}: sudo firmware-worker doctor --fix, then reboot",
            path.strip_prefix(root).unwrap_or(&path).display()
        ),
        None => BY_HAND.into(),
    }
}

/// Shows the change on `out`, then makes it; nothing where it is there already.
pub(super) fn enable_memory_cgroup(root: &Path, out: &mut impl Write) -> Result<(), Error> {
    let model = Board::under(root).model().unwrap_or_else(|| "unknown board".into());
    if !model.starts_with("Raspberry Pi") {
        return Err(Error::NotAPi { model, remedy: BY_HAND });
    }
    let path = find(root).ok_or(Error::Missing)?;
    let before = fs::read_to_string(&path).map_err(|source| file("read", &path, source))?;
    let say = |out: &mut dyn Write, text: String| out.write_all(text.as_bytes());
    let failed = |source| file("write to", Path::new("stdout"), source);
    if is_enabled(&before) {
        return say(out, format!("{}: has {ENABLE} already\n", path.display())).map_err(failed);
    }
    let after = enabled(&before).map_err(|why| Error::Strange { path: path.clone(), why })?;
    let shown = format!("{}:\n- {}\n+ {}\n", path.display(), before.trim_end(), after.trim_end());
    say(out, shown).map_err(failed)?;
    board::replace(&path, after.as_bytes(), PUBLIC)?;
    say(out, "Reboot for it to take effect.\n".into()).map_err(failed)
}

fn find(root: &Path) -> Option<PathBuf> {
    FILES.iter().map(|file| root.join(file)).find(|path| path.is_file())
}

/// The last word on the memory controller counts.
fn is_enabled(line: &str) -> bool {
    line.split_whitespace().rfind(|word| [ENABLE, DISABLE].contains(word)) == Some(ENABLE)
}

/// The line with the memory controller on.
fn enabled(line: &str) -> Result<String, &'static str> {
    let mut lines = line.lines().filter(|line| !line.trim().is_empty());
    let (Some(only), None) = (lines.next(), lines.next()) else { return Err("it has not exactly one line") };
    if !only.split_whitespace().any(|word| word.starts_with("root=")) {
        return Err("no root= in it");
    }
    let mut words: Vec<_> = only.split_whitespace().filter(|word| *word != DISABLE).collect();
    words.push(ENABLE);
    Ok(format!("{}\n", words.join(" ")))
}

fn file(call: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { call, path: path.to_owned(), source }
}
