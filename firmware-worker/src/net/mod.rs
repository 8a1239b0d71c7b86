//! The WebSocket client of supervisor and job: tungstenite over rustls with aws-lc-rs. Names are resolved elsewhere.

use protocol::secret::Secret;
use std::net::SocketAddr;
use std::time::Duration;

/// Trust anchors: the built-in roots plus the PEM certificates given.
#[derive(Clone, Debug)]
pub struct Tls {}

/// An open WebSocket, binary frames only; pings are answered inside.
#[derive(Debug)]
pub struct WebSocket {}

/// Why a WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// HTTP status instead of 101. The body is not kept: it may echo the token.
    #[error("{url}: the server answered HTTP {status}")]
    Refused {
        /// Without query.
        url: String,
        /// HTTP status.
        status: u16,
        /// Retry-After.
        retry_after: Option<Duration>,
    },
    /// Certificate or handshake.
    #[error("{url}: TLS: {why}")]
    Tls {
        /// Without query.
        url: String,
        /// In plain words.
        why: String,
    },
    /// TCP or handshake failed.
    #[error("{url}: {why}")]
    Broken {
        /// Without query.
        url: String,
        /// In plain words.
        why: String,
    },
}

#[allow(unused_variables, clippy::todo)]
impl Tls {
    /// `ca_pem` may be empty.
    pub fn new(ca_pem: &str) -> Result<Self, String> {
        todo!()
    }
}

/// Host and port of a `ws`, `wss`, `http` or `https` URL, for the resolver.
#[allow(clippy::todo)]
pub fn host_and_port(_url: &str) -> Result<(String, u16), String> {
    todo!()
}

#[allow(unused_variables, clippy::todo)]
impl WebSocket {
    /// Tries the addresses in order (250 ms head start each), 5 s in all.
    pub async fn connect(
        url: &str,
        bearer: &Secret,
        addresses: &[SocketAddr],
        tls: &Tls,
    ) -> Result<Self, ConnectError> {
        todo!()
    }
    /// Sends one binary frame.
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), String> {
        todo!()
    }
    /// The next binary frame; `None` when closed by the peer. Cancel-safe.
    pub async fn receive(&mut self) -> Option<Result<Vec<u8>, String>> {
        todo!()
    }
    /// Sends Close 1000 and waits at most 200 ms for the echo.
    pub async fn close(self) {
        todo!()
    }
}
