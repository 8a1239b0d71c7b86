//! A server behind TLS, as nearly all are that a board meets: registration, the job's room and the sign-off go through it.

use crate::SOON;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tests::worker::{AGENT, NO_RESTART, Setup};
use tests::{Judge, Server, poll, process};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Between two attempts where the certificate or the clock is wrong.
const RETRY: Range<Duration> = Duration::from_millis(4500)..Duration::from_secs(9);

const VALID: Range<i32> = 2020..2100;

/// Ends TLS before a server, under `localhost`.
struct Front {
    port: u16,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// What a worker has to trust.
    file: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    shown: Arc<ServerConfig>,
    accepted: Vec<Instant>,
}

impl Front {
    /// Shows a certificate for this name, which is valid in these years.
    fn start(target: SocketAddr, name: &str, years: Range<i32>) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of this test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let file = std::env::temp_dir().join(format!("authority-{}-{port}.pem", std::process::id()));
        let text = STANDARD.encode(authority.der());
        std::fs::write(&file, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
        let state = State { shown: certificate(&authority, name, years), accepted: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(accept(listener, target, &shared)));
        Self { port, authority, file, state }
    }

    /// A worker for the server behind it, which trusts its authority.
    fn worker(&self) -> Setup {
        let file = self.file.to_str().expect("a path of ours is text");
        Setup::with_url(&format!("wss://localhost:{}", self.port)).toml(&format!("[server]\nca_file = {file:?}\n"))
    }

    /// Shows another certificate from now on.
    fn show(&self, name: &str, years: Range<i32>) {
        self.lock().shown = certificate(&self.authority, name, years);
    }

    /// When a client came.
    fn accepted(&self) -> Vec<Instant> {
        self.lock().accepted.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, years: Range<i32>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let chain: Vec<CertificateDer<'static>> = vec![params.signed_by(&key, authority).unwrap().der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap())
}

async fn accept(listener: std::net::TcpListener, target: SocketAddr, state: &Mutex<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        let shown = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.accepted.push(Instant::now());
            state.shown.clone()
        };
        tokio::spawn(async move {
            // A client that refuses the certificate says so, which fails here as well.
            let mut client = TlsAcceptor::from(shown).accept(client).await?;
            let mut server = TcpStream::connect(target).await?;
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}

#[test]
fn a_board_registers_joins_and_signs_off_through_tls_with_an_authority_of_its_own() {
    let server = Server::start();
    let front = Front::start(server.address(), "localhost", VALID);
    let worker = front.worker().toml(NO_RESTART).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let before = front.accepted().len();
    assert!(before >= 2, "worker and job came through it: {before}");
    // Its successor at the server is the supervisor, which says goodbye for it.
    process::kill(worker.started("studio").1, Signal::KILL);
    judge.event("participant_left", SOON);
    assert!(front.accepted().len() > before, "the sign-off came through it");
}

#[test]
fn a_certificate_that_is_refused_is_named_and_tried_again_every_five_seconds() {
    let server = Server::start();
    let (early, other) = (
        Front::start(server.address(), "localhost", 2090..2100),
        Front::start(server.address(), "media.example", VALID),
    );
    let (mut young, named) = (early.worker().launch(), other.worker().launch());
    let line = young.wait_log("not valid yet", SOON).text;
    assert!(line.contains("clock is probably not set") && line.contains("time servers"), "{line}");
    let line = named.wait_log("for another name (media.example)", SOON).text;
    assert!(line.contains("use that in the URL"), "{line}");
    for front in [&early, &other] {
        let two = poll::until("a second attempt", SOON, || front.accepted().get(..2).map(<[_]>::to_vec));
        let waited = two[1] - two[0];
        assert!(RETRY.contains(&waited), "{waited:?} between two attempts");
    }
    // What a clock that is set does, without setting this machine's.
    early.show("localhost", VALID);
    young.wait_ready();
    let connecting = other.worker().connect("studio");
    connecting.wait_log("for another name", SOON);
}
