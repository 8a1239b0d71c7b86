//! Updates, and the server that boards have them from.

use crate::secure::Authority;
use crate::update::{option, parts, run};
use crate::{KERNELS, ROOTS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::card::{BOOT, Board, Card};
use tests::process::Process;
use tests::{guest, paths, poll};

const BLOCK: u64 = 512;

/// What serves a folder: its arguments are the folder, and a certificate with its key for one that is behind TLS.
const SERVE: &str = "
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print('serving at', server.server_port, flush=True)
server.serve_forever()
";

/// Where a board has the certificate of the authority that it is to trust.
const AUTHORITY: &str = "/run/authority.pem";

/// Updates for the image of a card, and who serves them.
pub struct Release {
    pub folder: PathBuf,
    server: Process,
    authority: Option<Authority>,
}

impl Drop for Release {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Release {
    pub fn new(name: &str) -> Self {
        let folder = folder(name);
        let server = serve(&folder, &[]);
        Self { folder, server, authority: None }
    }

    /// Behind TLS, with a certificate of an authority of its own.
    pub fn secure(name: &str) -> Self {
        let folder = folder(name);
        let authority = Authority::new(&folder);
        let server = serve(&folder, &[&authority.certificate, &authority.key]);
        Self { folder, server, authority: Some(authority) }
    }

    /// What slot A of the card has, as an update; with a root that is none where it is to fail.
    pub fn publish(&self, card: &Card, version: &str, broken: bool) {
        let (kernel, root) = parts(card);
        let (kernel, root) = (self.cut(card, "kernel", KERNELS[0], kernel), self.cut(card, "root", ROOTS[0], root));
        if broken {
            fs::write(&root, [0x5a; 1 << 20]).expect("the folder is ours");
        }
        self.bundle("virt", version, &kernel, &root, &paths::update_key());
    }

    fn bundle(&self, board: &str, version: &str, kernel: &Path, root: &Path, key: &Path) {
        let mut bundle = Command::new(paths::root().join("tools/bundle"));
        bundle.args([board, version]).args([kernel, root, key]);
        run(bundle.arg(self.file(version)));
    }

    pub fn file(&self, version: &str) -> PathBuf {
        self.folder.join(format!("{version}.fwu"))
    }

    /// One for another board, one that somebody else has signed, an old one, and one whose end is missing.
    pub fn publish_impostors(&self) {
        let [kernel, root, foreign] = ["kernel", "root", "foreign"].map(|name| self.folder.join(name));
        run(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&foreign));
        self.bundle("rpi-64", "9.7", &kernel, &root, &paths::update_key());
        self.bundle("virt", "9.8", &kernel, &root, &foreign);
        self.bundle("virt", "0.0.1", &kernel, &root, &paths::update_key());
        self.bundle("virt", "9.9", &kernel, &root, &paths::update_key());
        let whole = self.file("9.9");
        let length = fs::metadata(&whole).expect("just made").len();
        let file = fs::File::options().write(true).open(whole).expect("just made");
        file.set_len(length - 1000).expect("it is ours");
    }

    pub fn cut(&self, card: &Card, name: &str, offset: u64, bytes: u64) -> PathBuf {
        let out = self.folder.join(name);
        let blocks = [("skip", offset / BLOCK), ("count", bytes / BLOCK), ("bs", BLOCK)];
        let mut dd = Command::new("dd");
        dd.args(blocks.map(|(key, value)| format!("{key}={value}")));
        run(dd.arg(option("if", &card.path())).arg(option("of", &out)));
        out
    }

    fn url(&self, version: &str) -> String {
        let line = poll::until("the server of updates listens", BOOT, || self.server.log.find(&["serving at"])).text;
        let port = line.split(' ').next_back().expect("it says where");
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{port}/{version}.fwu", guest::HOST)
    }

    /// Brings the board the certificate of our authority, which it has not trusted before.
    pub fn introduce(&self, board: &mut Board) {
        let authority = self.authority.as_ref().expect("a release behind TLS");
        for line in authority.text().lines() {
            board.must(&format!("true; echo '{line}' >>{AUTHORITY}"));
        }
    }

    /// Begins to; the board restarts when it is done.
    pub fn install(&self, board: &mut Board, version: &str) {
        let trusting = if self.authority.is_some() { format!("--ca-file {AUTHORITY}") } else { String::new() };
        let url = self.url(version);
        board.must(&format!("true; (firmware-worker update {trusting} {url} >/run/update.log 2>&1 &)"));
    }

    /// What the board says to it.
    pub fn refused(&self, board: &mut Board, version: &str) -> String {
        board.must(&format!("! firmware-worker update {}", self.url(version)))
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("release-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary directory is writable");
    folder
}

fn serve(folder: &Path, certificate: &[&Path]) -> Process {
    let mut command = Command::new(paths::python());
    command.args(["-u", "-c", SERVE]).arg(folder).args(certificate);
    Process::start("release", &mut command)
}
