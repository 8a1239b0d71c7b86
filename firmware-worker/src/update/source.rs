//! Where an update comes from.

use super::Error;
use crate::net::{Download, Tls, shown};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

/// An update file, read from its beginning to its end.
#[derive(Debug)]
pub struct Source {
    name: String,
    length: u64,
    from: From,
}

#[derive(Debug)]
enum From {
    File(File),
    Server(Runtime, Box<Download>),
}

impl Source {
    /// A file, or what a server has at an `http://` or `https://` URL.
    pub fn open(name: &str, tls: Tls) -> Result<Self, Error> {
        match name.starts_with("http://") || name.starts_with("https://") {
            true => Self::fetch(name, tls),
            false => Self::file(name),
        }
    }

    fn file(name: &str) -> Result<Self, Error> {
        let wrong = |call| move |source| Error::File { call, path: Path::new(name).to_owned(), source };
        let file = File::open(name).map_err(wrong("open"))?;
        let length = file.metadata().map_err(wrong("stat"))?.len();
        Ok(Self { name: name.to_owned(), length, from: From::File(file) })
    }

    fn fetch(url: &str, tls: Tls) -> Result<Self, Error> {
        let name = shown(url);
        let wrong = |source| Error::File { call: "fetch", path: Path::new(&name).to_owned(), source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(wrong)?;
        let download = runtime.block_on(Download::open(url, tls))?;
        Ok(Self { name, length: download.length(), from: From::Server(runtime, Box::new(download)) })
    }

    /// As errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes, all of them.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        match &mut self.from {
            From::File(file) => file.read_exact(buffer).map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => Error::Truncated { file: self.name.clone(), length: self.length },
                _ => Error::File { call: "read", path: Path::new(&self.name).to_owned(), source },
            }),
            From::Server(runtime, download) => Ok(runtime.block_on(download.fill(buffer))?),
        }
    }
}
