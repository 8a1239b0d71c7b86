//! TLS with an authority of its own, as a firm or a home has it.

use crate::update::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::card::BOOT;
use tests::process::Process;
use tests::{Server, guest, paths, poll};

/// What ends TLS before a server: its arguments are the server's port, and a certificate with its key.
const FRONT: &str = "
import asyncio, ssl, sys
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    inner_reader, inner_writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    server = await asyncio.start_server(serve, '127.0.0.1', 0, ssl=context)
    print('front at', server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
";

/// An authority, and a certificate of it for what boards reach as [`guest::HOST`]; both are valid from now on, for two days.
pub struct Authority {
    /// What a board has to trust.
    pub file: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Its files are made in `folder`, and are gone with it.
    pub fn new(folder: &Path) -> Self {
        let [key, file, certificate] = ["server.key", "authority.pem", "server.pem"].map(|name| folder.join(name));
        let make = |subject: &str, key: &Path, out: &Path, more: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]);
            run(openssl.args([subject, "-days", "2", "-keyout"]).arg(key).arg("-out").arg(out).args(more));
        };
        let secret = folder.join("authority.key");
        make("/CN=an authority of this test", &secret, &file, &[]);
        let [by, with] = [&file, &secret].map(|path| path.to_str().expect("a path of ours is text"));
        let name = format!("subjectAltName=IP:{}", guest::HOST);
        let leaf = ["-CA", by, "-CAkey", with, "-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
        make("/CN=a server of this test", &key, &certificate, &leaf);
        Self { file, certificate, key }
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("just made")
    }
}

/// A server behind TLS. It ends when it is dropped.
pub struct Front {
    process: Process,
}

impl Front {
    pub fn of(server: &Server, authority: &Authority) -> Self {
        let mut command = Command::new(paths::python());
        command.args(["-u", "-c", FRONT]).arg(server.address().port().to_string());
        Self { process: Process::start("front", command.arg(&authority.certificate).arg(&authority.key)) }
    }

    /// Where boards find it.
    pub fn url(&self) -> String {
        let line = poll::until("the front listens", BOOT, || self.process.log.find(&["front at"])).text;
        format!("wss://{}:{}", guest::HOST, line.rsplit(' ').next().expect("it says where"))
    }
}
