//! Takes the participant of a dead job out of its room, so that no ghost stays for the server's timeout.

use super::ledger::Entry;
use super::resolver::Resolver;
use crate::net::{ConnectError, Tls, WebSocket, host_and_port};
use protocol::backoff::Backoff;
use protocol::room::{SignOff, Step};
use protocol::secret::Secret;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// After this the server has noticed by itself, or the board is offline; a later resume would only disturb.
const GIVE_UP: Duration = Duration::from_secs(15);

/// For one attempt, from the lookup to the end of the session: the server answers a resume at once.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Waits between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Who is to be signed off.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    /// Room server.
    pub url: String,
    /// Newest token of the job.
    pub token: Secret,
    /// Its participant.
    pub sid: String,
    /// As whom it was there.
    pub identity: String,
}

impl Ghost {
    /// `None` for a job that had not joined.
    pub(super) fn of(entry: &Entry, server: &str) -> Option<Self> {
        let spec = &entry.spec;
        let url = spec.url.clone().unwrap_or_else(|| server.to_owned());
        let (token, identity) = (spec.token.clone(), spec.accept.identity.clone());
        entry.sid.clone().map(|sid| Self { url, token, sid, identity })
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Left.
    SignedOff,
    /// It was not there any more.
    AlreadyGone,
    /// The server takes the job's token no more, or knows the room no more: HTTP status.
    Refused(u16),
    /// Not within 15 s.
    GivenUp,
}

/// Tries until the participant is gone, for 15 s at most.
pub(super) async fn sign_off(ghost: Ghost, tls: Tls, resolver: Resolver, seed: u64) -> Outcome {
    sign_off_within(GIVE_UP, ghost, tls, resolver, seed).await
}

async fn sign_off_within(limit: Duration, ghost: Ghost, tls: Tls, resolver: Resolver, seed: u64) -> Outcome {
    let machine = SignOff::new(ghost.url, ghost.token, ghost.sid, ghost.identity);
    let attempts = async {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            match timeout(ATTEMPT, attempt(&machine, &tls, &resolver)).await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) | Err(_) => sleep(backoff.fail(seed.rotate_left(backoff.failures()))).await,
            }
        }
    };
    timeout(limit, attempts).await.unwrap_or(Outcome::GivenUp)
}

/// One connection; `None` to try again.
async fn attempt(machine: &SignOff, tls: &Tls, resolver: &Resolver) -> Option<Outcome> {
    let (url, token) = machine.connect();
    let (host, port) = host_and_port(&url).ok()?;
    let addresses = resolver.resolve(&host, port).await.ok()?;
    let mut socket = match WebSocket::connect(&url, &token, &addresses, tls).await {
        Ok(socket) => socket,
        // Nothing that a second attempt with the same token could change.
        Err(ConnectError::Refused { status: status @ 400..500, .. }) => return Some(Outcome::Refused(status)),
        Err(_) => return None,
    };
    loop {
        match machine.message(&socket.receive().await?.ok()?) {
            Step::Leave(frame) => {
                socket.send(frame).await.ok()?;
                socket.close().await;
                return Some(Outcome::SignedOff);
            }
            Step::AlreadyGone => return Some(Outcome::AlreadyGone),
            Step::Retry => return None,
            Step::Wait => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_server_that_is_not_back_is_tried_again_and_given_up_when_the_time_is_over() {
        const LIMIT: Duration = Duration::from_millis(500);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let ghost = Ghost { url, token: Secret::new("t"), sid: "PA_x".into(), identity: "board".into() };
        let mut tried = 0;
        let busy = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tried += 1;
                // It may be cut off by the end.
                let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await;
            }
        };
        let began = tokio::time::Instant::now();
        let outcome = tokio::select! {
            outcome = sign_off_within(LIMIT, ghost, Tls::new("").unwrap(), Resolver::of_ours(), 1) => outcome,
            () = busy => unreachable!("it has no end of its own"),
        };
        assert_eq!(outcome, Outcome::GivenUp);
        assert!(began.elapsed() >= LIMIT && tried >= 2, "{tried} attempts in {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_server_that_is_back_but_refuses_the_token_ends_the_attempts() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let ghost = Ghost { url, token: Secret::new("t"), sid: "PA_x".into(), identity: "board".into() };
        let server = async {
            let mut paths = Vec::new();
            for response in ["HTTP/1.1 503 Busy\r\n\r\n", "HTTP/1.1 401 No\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 8192];
                let length = stream.read(&mut head).await.unwrap();
                paths.push(String::from_utf8_lossy(&head[..length.min(32)]).into_owned());
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            paths
        };
        let (outcome, paths) = tokio::join!(sign_off(ghost, Tls::new("").unwrap(), Resolver::of_ours(), 1), server);
        assert_eq!(outcome, Outcome::Refused(401));
        assert!(paths.iter().all(|path| path.starts_with("GET /rtc/v1?")), "{paths:?}");
    }
}
