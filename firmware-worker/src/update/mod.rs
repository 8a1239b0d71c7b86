//! Updates of a board's image: the other slot is written, put on trial, and kept or given up. `protocol::update` decides; here
//! are files, partitions and the network.

mod disk;
mod error;
mod source;
mod system;
mod trial;

pub use error::Error;
pub use source::Source;
pub use system::System;
pub use trial::{Ending, settle};

use disk::Disk;
use protocol::update::bundle::{HEADER_LEN, Manifest, SIGNATURE_LEN, manifest_len, open};
use protocol::update::{Action, Install, Part, Record, compare_versions};
use std::cmp::Ordering;

/// What is installed although there is a reason against it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Insist {
    /// An older version than the running one.
    pub older: bool,
    /// A version that was taken back before.
    pub again: bool,
}

/// Writes the update to the slot that does not run, and puts it on trial. `must_register` if the worker was registered within
/// the last ten minutes. `progress` hears of bytes done and of all.
pub fn install(
    system: &System,
    source: &mut Source,
    insist: Insist,
    must_register: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Manifest, Error> {
    let _lock = system.lock()?;
    let mut history = system.history();
    let copies = system.copies()?;
    let running = system.slot();
    if Record::newest(&copies).is_some_and(|record| record.good != running && record.tries.is_some()) {
        return Err(Error::OnTrial { slot: running });
    }
    let manifest = read_manifest(system, source)?;
    check(system, source, &manifest, insist)?;
    if let Some(reason) = history.failure(&manifest.version).filter(|_| !insist.again) {
        return Err(Error::Failed { version: manifest.version, reason: reason.to_owned() });
    }
    let mut disk = Disk::open(system, running.other())?;
    let install = Install::new(&manifest, running, copies);
    // Before the record: a trial that is forgotten would not be told apart from none.
    history.installed(&manifest.version, running.other(), must_register, install.generation());
    system.remember(&history)?;
    let written = write(&mut disk, source, install, &manifest, &mut progress);
    if written.is_err() {
        history.trial = None;
        // The error to be told is the first.
        let _ = system.remember(&history);
    }
    written.map(|()| manifest)
}

fn write(
    disk: &mut Disk,
    source: &mut Source,
    mut install: Install,
    manifest: &Manifest,
    progress: &mut impl FnMut(u64, u64),
) -> Result<(), Error> {
    let (mut done, all) = (0, 2 * manifest.payload());
    loop {
        let action = install.step().map_err(|damage| Error::Damage { file: source.name().to_owned(), damage })?;
        match action {
            Action::Take(buffer) => {
                source.fill(buffer)?;
                done += buffer.len() as u64;
            }
            Action::Write { place, offset, bytes } => disk.write(place, offset, bytes)?,
            Action::Flush(place) => disk.flush(place)?,
            Action::Read { part, offset, buffer } => {
                disk.read(part, offset, buffer)?;
                done += buffer.len() as u64;
            }
            Action::Done => return Ok(()),
        }
        progress(done.min(all), all);
    }
}

/// Nothing is believed before its signature.
fn read_manifest(system: &System, source: &mut Source) -> Result<Manifest, Error> {
    let keys = system.keys()?;
    let wrong = |source: &Source, error| Error::Bundle { file: source.name().to_owned(), error };
    let mut header = [0; HEADER_LEN];
    source.fill(&mut header)?;
    let length = manifest_len(&header).map_err(|error| wrong(source, error))?;
    let (mut manifest, mut signature) = (vec![0; length], [0; SIGNATURE_LEN]);
    source.fill(&mut manifest)?;
    source.fill(&mut signature)?;
    let manifest = open(&manifest, &signature, &keys).map_err(|error| wrong(source, error))?;
    let wanted = (HEADER_LEN + length + SIGNATURE_LEN) as u64 + manifest.payload();
    match source.length() == wanted {
        true => Ok(manifest),
        false => Err(Error::Length { file: source.name().to_owned(), wanted, found: source.length() }),
    }
}

/// Is it for this board, and does it fit?
fn check(system: &System, source: &Source, manifest: &Manifest, insist: Insist) -> Result<(), Error> {
    let name = || source.name().to_owned();
    let (board, version) = system.image()?;
    if manifest.board != board {
        return Err(Error::Board { file: name(), board: manifest.board.clone(), ours: board });
    }
    if compare_versions(&manifest.version, &version) == Ordering::Less && !insist.older {
        return Err(Error::Older { file: name(), version: manifest.version.clone(), ours: version });
    }
    for (part, size) in [(Part::Kernel, manifest.kernel.size), (Part::Root, manifest.root.size)] {
        let room = system.room(system.slot().other(), part)?;
        if size > room {
            return Err(Error::Room { file: name(), part, size, room });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
