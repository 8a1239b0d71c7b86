//! A time server (RFC 4330) that is silent until it is told to answer.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// NTP's own: clients ask no other. Emulated boards reach it under [`HOST`](crate::guest::HOST).
const ADDRESS: &str = "127.0.0.1:123";

/// How soon it notices that it is no longer wanted.
const LOOK: Duration = Duration::from_millis(100);

/// From NTP's first second, of 1900, to that of Unix.
const UNTIL_1970_S: u64 = 2_208_988_800;

/// Bytes of a question, and of an answer.
const LENGTH: usize = 48;

const SILENT: u8 = 0;
const ANSWERING: u8 = 1;
const ENDED: u8 = 2;

/// Held by the one who has the port: tests of a process take turns.
static PORT: Mutex<()> = Mutex::new(());

/// Tells the time of this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct TimeServer {
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
    _port: MutexGuard<'static, ()>,
}

impl TimeServer {
    /// Hears questions from now on, and answers none. It waits for the end of another in this process.
    ///
    /// # Panics
    ///
    /// Where the port is taken, or not ours to take: it wants root.
    pub fn start() -> Self {
        let port = PORT.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = UdpSocket::bind(ADDRESS).unwrap_or_else(|error| panic!("{ADDRESS}, for root only: {error}"));
        socket.set_read_timeout(Some(LOOK)).expect("not zero");
        let state = Arc::new(AtomicU8::new(SILENT));
        let seen = state.clone();
        let thread = std::thread::spawn(move || serve(&socket, &seen));
        Self { state, thread: Some(thread), _port: port }
    }

    /// Answers from now on.
    pub fn answer(&self) {
        self.state.store(ANSWERING, Ordering::Relaxed);
    }

    /// Answers no longer.
    pub fn fall_silent(&self) {
        self.state.store(SILENT, Ordering::Relaxed);
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.state.store(ENDED, Ordering::Relaxed);
        // Its failure has been printed already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, state: &AtomicU8) {
    let mut question = [0; LENGTH];
    while state.load(Ordering::Relaxed) != ENDED {
        let Ok((LENGTH, from)) = socket.recv_from(&mut question) else { continue };
        if state.load(Ordering::Relaxed) == ANSWERING {
            // One that is lost is asked again.
            let _ = socket.send_to(&answer(&question), from);
        }
    }
}

fn answer(question: &[u8; LENGTH]) -> [u8; LENGTH] {
    // No leap second, version 4, a server, of the first stratum, precise to a microsecond.
    let mut answer = [0; LENGTH];
    answer[..4].copy_from_slice(&[0x24, 1, question[2], 0xec]);
    answer[12..16].copy_from_slice(b"LOCL");
    // When its clock was set, what the client sent, when that came, and when this goes.
    let now = now();
    answer[16..24].copy_from_slice(&now);
    answer[24..32].copy_from_slice(&question[40..48]);
    answer[32..40].copy_from_slice(&now);
    answer[40..48].copy_from_slice(&now);
    answer
}

/// Seconds and their 2^-32 parts.
fn now() -> [u8; 8] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let part = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    ((now.as_secs() + UNTIL_1970_S) << 32 | part).to_be_bytes()
}
