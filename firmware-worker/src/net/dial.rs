//! TCP to the first of several addresses that answers.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// An address gets this much time alone before the next one is tried beside it (RFC 8305 section 8 recommends 250 ms):
/// broken IPv6 then costs a quarter of a second and not a timeout.
const HEAD_START: Duration = Duration::from_millis(250);

/// A byte stream that carries a WebSocket: TCP or TLS over TCP.
pub(super) trait Transport: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Transport for T {}

/// Connects to whichever address answers first. The error names the last address and its reason.
pub(super) async fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut waiting = addresses.iter().copied();
    let mut racing = FuturesUnordered::new();
    let mut failure = String::from("the host has no address");
    racing.extend(waiting.next().map(dial));
    while !racing.is_empty() {
        tokio::select! {
            Some(result) = racing.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(why) => {
                    failure = why;
                    racing.extend(waiting.next().map(dial));
                }
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => racing.extend(waiting.next().map(dial)),
        }
    }
    Err(failure)
}

async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
    // Signal messages are small and each matters now; a socket that cannot do it still works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
