//! The WebSocket client of supervisor and job: tungstenite over rustls with aws-lc-rs, whose names are resolved elsewhere;
//! and the download of an update.

mod dial;
mod download;
mod tls;
mod url;

pub use download::{Download, DownloadError};
pub use tls::{Tls, certificates};
pub use url::{host_and_port, shown};

use dial::Transport;
use futures_util::{SinkExt, StreamExt};
use protocol::clock::Clocks;
use protocol::secret::Secret;
use protocol::worker::UNLESS_LOGIN;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Target;

/// Bytes of one message: what the server itself allows on both of its sockets.
const MAX_MESSAGE: usize = 2 * 1024 * 1024;

/// Bytes read at once. Signal messages are small, and the default of 128 KiB would be a tenth of an idle worker.
const READ_BUFFER: usize = 4 * 1024;

/// From the first TCP packet to the upgrade's answer. A server that needs longer is as good as absent, and the
/// caller's backoff decides what then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A send that the peer does not take for this long fails: its socket is dead, and waiting would hold up the caller.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the peer may take to echo our Close. It is a courtesy; nothing is lost without it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// An open WebSocket, binary frames only; pings are answered inside.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<Box<dyn Transport>>,
}

/// Why a WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// HTTP status instead of 101. The body is not kept: it may echo the token.
    #[error("{url}: the server answered HTTP {status}")]
    Refused {
        /// Without path and query.
        url: String,
        /// HTTP status.
        status: u16,
        /// Retry-After.
        retry_after: Option<Duration>,
        /// Ours and the server's, by its Date.
        clocks: Option<Clocks>,
    },
    /// Certificate or handshake.
    #[error("{url}: {why}")]
    Tls {
        /// Without path and query.
        url: String,
        /// In plain words.
        why: String,
    },
    /// TCP or handshake failed.
    #[error("{url}: {why}")]
    Broken {
        /// Without path and query.
        url: String,
        /// In plain words.
        why: String,
    },
}

impl WebSocket {
    /// Tries the addresses in order (250 ms head start each), 5 s in all.
    pub async fn connect(
        url: &str,
        bearer: &Secret,
        addresses: &[SocketAddr],
        tls: &Tls,
    ) -> Result<Self, ConnectError> {
        let target = Target::parse(url).map_err(|why| ConnectError::Broken { url: "server URL".into(), why })?;
        match timeout(CONNECT_TIMEOUT, open(&target, bearer, addresses, tls)).await {
            Ok(result) => result,
            Err(_) => Err(target.broken(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Sends one binary frame; fails after 10 s if the peer does not take it.
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), String> {
        match timeout(SEND_TIMEOUT, self.stream.send(Message::Binary(frame.into()))).await {
            Ok(result) => result.map_err(|e| in_plain_words(&e)),
            Err(_) => Err(format!("the server took no data for {} s", SEND_TIMEOUT.as_secs())),
        }
    }

    /// The next binary frame; `None` when closed by the peer. Cancel-safe.
    pub async fn receive(&mut self) -> Option<Result<Vec<u8>, String>> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Binary(bytes)) => return Some(Ok(bytes.into())),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(in_plain_words(&error))),
            }
        }
    }

    /// Sends Close 1000 and waits at most 200 ms for the echo.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let goodbye = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        // Nothing depends on the echo: a peer that sends none is simply dropped.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

async fn open(
    target: &Target,
    bearer: &Secret,
    addresses: &[SocketAddr],
    tls: &Tls,
) -> Result<WebSocket, ConnectError> {
    let mut request = target.full.as_str().into_client_request().map_err(|_| target.broken("not a URL".into()))?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", bearer.expose()))
        .map_err(|_| target.broken("the token holds characters that no header may hold".into()))?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, authorization);

    let tcp = dial::tcp(addresses).await.map_err(|why| target.broken(why))?;
    let transport: Box<dyn Transport> = if target.secure {
        let why = |failed: tls::Failed| ConnectError::Tls { url: target.shown.clone(), why: failed.why };
        Box::new(tls.handshake(&target.host, tcp).await.map_err(why)?)
    } else {
        Box::new(tcp)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match client_async_with_config(request, transport, Some(config)).await {
        Ok((stream, _)) => Ok(WebSocket { stream }),
        Err(Error::Http(response)) => Err(target.refused(&response)),
        Err(error) => Err(target.broken(why_no_server(&error))),
    }
}

impl Target {
    fn broken(&self, why: String) -> ConnectError {
        ConnectError::Broken { url: self.shown.clone(), why }
    }

    fn refused(&self, response: &Response<Option<Vec<u8>>>) -> ConnectError {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let seconds = text(header::RETRY_AFTER).and_then(|text| text.trim().parse().ok());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ConnectError::Refused {
            url: self.shown.clone(),
            status: response.status().as_u16(),
            retry_after: seconds.map(Duration::from_secs),
            clocks: text(header::DATE).and_then(|date| Clocks::at(since_1970, date)),
        }
    }
}

/// Why the upgrade failed: a connection that broke, or an answer that no server of ours gives.
fn why_no_server(error: &Error) -> String {
    match error {
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::HandshakeIncomplete) => in_plain_words(error),
        other => {
            format!("what answers is no LiveKit server ({}): correct the URL, {UNLESS_LOGIN}", in_plain_words(other))
        }
    }
}

/// Our own words: the library's may quote what the server sent.
fn in_plain_words(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::ConnectionClosed | Error::AlreadyClosed => "closed".into(),
        Error::Capacity(_) => format!("a message of more than {MAX_MESSAGE} bytes"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "the connection broke off".into(),
        Error::Protocol(error) => format!("not WebSocket: {error}"),
        Error::Http(response) => format!("HTTP {}", response.status().as_u16()),
        _ => "not WebSocket".into(),
    }
}

#[cfg(test)]
mod tests;
