//! A program that is installed somewhere, and replaced there as a package manager does it: whole, by a rename.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed with its directory on drop.
#[derive(Debug)]
pub struct Installed(PathBuf);

impl Installed {
    /// A copy of this program, in a directory of its own.
    pub fn new(program: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("installed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("the temporary directory is writable");
        let installed = Self(directory.join("firmware-worker"));
        installed.update(program);
        installed
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts another program there; whoever runs the one before keeps it.
    pub fn update(&self, program: &Path) {
        self.place(|fresh| {
            fs::copy(program, fresh).expect("a program can be copied");
        });
    }

    /// Puts a shell script there.
    pub fn update_with_script(&self, script: &str) {
        self.place(|fresh| {
            fs::write(fresh, format!("#!/bin/sh\n{script}\n")).expect("the temporary directory is writable");
            fs::set_permissions(fresh, Permissions::from_mode(0o755)).expect("our own file");
        });
    }

    /// Whether a process runs what is there now.
    pub fn is_run_by(&self, pid: u32) -> bool {
        let number = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        number(&self.0).is_some_and(|ours| number(Path::new(&format!("/proc/{pid}/exe"))) == Some(ours))
    }

    fn place(&self, write: impl FnOnce(&Path)) {
        let fresh = self.0.with_extension("new");
        write(&fresh);
        fs::rename(&fresh, &self.0).expect("both are in one directory");
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if let Some(directory) = self.0.parent() {
            // A leftover in the temporary directory is no failure.
            let _ = fs::remove_dir_all(directory);
        }
    }
}
