//! A camera that is a command: the `writer` of these tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The writer, where everybody may run it: a command runs as nobody, who may not look into everybody's folders, and has a
/// `/tmp` of its own. Removed on drop.
#[derive(Debug)]
pub struct Pipe(PathBuf);

impl Pipe {
    /// With this program.
    pub fn new(writer: &Path) -> Self {
        let copy = PathBuf::from(format!("/var/tmp/firmware-worker-writer-{}", std::process::id()));
        fs::copy(writer, &copy).unwrap_or_else(|error| panic!("{} to {}: {error}", writer.display(), copy.display()));
        Self(copy)
    }

    /// A camera and a tone, as configuration.
    pub fn toml(&self, width: u32, height: u32, fps: u32) -> String {
        let command = format!("command = [{:?}, \"{width}\", \"{height}\", \"{fps}\"]", self.0);
        let camera = format!("[[camera]]\ndevice = \"pipe\"\n{command}\nwidth = {width}\nheight = {height}\n");
        camera + "[[microphone]]\ndevice = \"tone\"\n"
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // A leftover there is no failure.
        let _ = fs::remove_file(&self.0);
    }
}
