//! The signal WebSocket, run by a task so that neither a slow server nor a slow resolver holds up the media.

use crate::net::{ConnectError, Tls, WebSocket};
use protocol::room::SignalError;
use protocol::secret::Secret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Frames waiting for the server to read: a room that is back gives all that has waited, 256 requests at most, before the
/// socket's task gets its turn, and some of its own. With more, the server reads no longer.
const OUTGOING: usize = 512;

/// Frames waiting for the driver; when it is full the socket is not read.
const INCOMING: usize = 64;

/// Until the supervisor must have resolved the server's name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is.
#[derive(Debug)]
pub enum Where {
    /// Its URL holds an address.
    Known(SocketAddr),
    /// The supervisor was asked.
    Asked(oneshot::Receiver<Result<Vec<SocketAddr>, String>>),
}

/// What the socket tells.
#[derive(Debug)]
pub enum SignalEvent {
    /// The upgrade is through.
    Open,
    /// A binary frame.
    Frame(Vec<u8>),
    /// It could not be opened, or is gone.
    Closed(SignalError),
}

/// At most one socket at a time.
#[derive(Debug)]
pub struct Signal {
    tls: Arc<Tls>,
    report: mpsc::Sender<(u64, SignalEvent)>,
    events: mpsc::Receiver<(u64, SignalEvent)>,
    /// Events of earlier sockets carry earlier numbers and are dropped.
    generation: u64,
    outgoing: Option<mpsc::Sender<Vec<u8>>>,
    task: Option<JoinHandle<()>>,
    /// Given up, which [`Signal::next`] has to tell yet.
    stalled: bool,
}

impl Signal {
    /// No socket yet.
    pub fn new(tls: Tls) -> Self {
        let (report, events) = mpsc::channel(INCOMING);
        Self { tls: Arc::new(tls), report, events, generation: 0, outgoing: None, task: None, stalled: false }
    }

    /// Opens a socket after the old one, if any, is closed.
    pub fn open(&mut self, url: String, token: Secret, place: Where) {
        self.generation += 1;
        self.stalled = false;
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        self.outgoing = Some(outgoing);
        let previous = self.task.take();
        let socket = Socket { generation: self.generation, report: self.report.clone(), frames };
        let tls = Arc::clone(&self.tls);
        self.task = Some(tokio::spawn(async move {
            if let Some(previous) = previous {
                // A panic aborts the process, so whatever comes, it has ended.
                let _ = previous.await;
            }
            socket.run(&url, &token, place, &tls).await;
        }));
    }

    /// Queues a frame. Without a socket it is dropped; the room repeats what matters when it resumes. So it does when the
    /// server takes none, as the socket is given up then.
    pub fn send(&mut self, frame: Vec<u8>) {
        match self.outgoing.as_ref().map(|outgoing| outgoing.try_send(frame)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => {
                self.outgoing = None;
                self.stalled = true;
                if let Some(task) = &self.task {
                    // It would wait for the server to take what it has.
                    task.abort();
                }
            }
            Some(Err(TrySendError::Closed(_))) | None => tracing::debug!("signal frame dropped"),
        }
    }

    /// Closes after what was sent.
    pub fn close(&mut self) {
        self.outgoing = None;
    }

    /// Waits until a closed socket has said its goodbye.
    pub async fn closed(&mut self) {
        if let Some(task) = self.task.as_mut() {
            // A panic aborts the process, so whatever comes, it has ended.
            let _ = task.await;
            self.task = None;
        }
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> SignalEvent {
        if std::mem::take(&mut self.stalled) {
            return SignalEvent::Closed(SignalError::Broken("the server does not read what it is sent".into()));
        }
        loop {
            let (generation, event) = self.events.recv().await.expect("a sender is kept beside the receiver");
            if generation == self.generation {
                return event;
            }
        }
    }
}

/// One socket's life.
struct Socket {
    generation: u64,
    report: mpsc::Sender<(u64, SignalEvent)>,
    frames: mpsc::Receiver<Vec<u8>>,
}

impl Socket {
    async fn run(mut self, url: &str, token: &Secret, place: Where, tls: &Tls) {
        let end = match connect(url, token, place, tls).await {
            Ok(socket) => {
                self.tell(SignalEvent::Open).await;
                self.exchange(socket).await
            }
            Err(error) => Some(error),
        };
        if let Some(error) = end {
            self.tell(SignalEvent::Closed(error)).await;
        }
    }

    /// Until either side closes; `None` when it was ours.
    async fn exchange(&mut self, mut socket: WebSocket) -> Option<SignalError> {
        loop {
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(frame) => {
                        if let Err(why) = socket.send(frame).await {
                            return Some(SignalError::Broken(why));
                        }
                    }
                    None => {
                        socket.close().await;
                        return None;
                    }
                },
                frame = socket.receive() => match frame {
                    Some(Ok(frame)) => self.tell(SignalEvent::Frame(frame)).await,
                    Some(Err(why)) => return Some(SignalError::Broken(why)),
                    None => return Some(SignalError::Closed),
                },
            }
        }
    }

    async fn tell(&self, event: SignalEvent) {
        // Nobody listens only when the driver is gone.
        let _ = self.report.send((self.generation, event)).await;
    }
}

async fn connect(url: &str, token: &Secret, place: Where, tls: &Tls) -> Result<WebSocket, SignalError> {
    let addresses = match place {
        Where::Known(address) => vec![address],
        Where::Asked(answer) => match timeout(RESOLVE_TIMEOUT, answer).await {
            Ok(Ok(Ok(addresses))) => addresses,
            Ok(Ok(Err(why))) => return Err(SignalError::Broken(why)),
            Ok(Err(_)) | Err(_) => return Err(SignalError::Broken("no answer to the name lookup".into())),
        },
    };
    WebSocket::connect(url, token, &addresses, tls).await.map_err(|error| match error {
        ConnectError::Refused { status, clocks, .. } => SignalError::Refused { status, clocks },
        ConnectError::Tls { .. } => SignalError::Tls(error.to_string()),
        ConnectError::Broken { .. } => SignalError::Broken(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    async fn listen() -> (TcpListener, Signal) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let mut signal = Signal::new(Tls::new("").expect("no certificates"));
        signal.open(format!("ws://{address}"), Secret::new("t"), Where::Known(address));
        (listener, signal)
    }

    #[tokio::test]
    async fn all_that_waited_for_a_resume_goes_out_at_once() {
        let (listener, mut signal) = listen().await;
        let server = async {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            let mut frames = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    frames.push(message.into_data().to_vec());
                }
            }
            frames
        };
        let room = async {
            assert!(matches!(signal.next().await, SignalEvent::Open));
            (0..300u16).for_each(|n| signal.send(n.to_be_bytes().into()));
            signal.close();
            signal.closed().await;
        };
        let (frames, ()) = tokio::join!(server, room);
        assert_eq!(frames, (0..300u16).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_is_given_up_and_can_be_asked_again() {
        let (listener, mut signal) = listen().await;
        let (_socket, open) =
            tokio::join!(async { accept_async(listener.accept().await.unwrap().0).await }, signal.next());
        assert!(matches!(open, SignalEvent::Open));
        // Its socket takes some megabytes before it is full.
        let stalled = async {
            loop {
                signal.send(vec![0; 1 << 16]);
                tokio::task::yield_now().await;
                if let Some(event) = signal.next().now_or_never() {
                    break event;
                }
            }
        };
        let stalled = timeout(Duration::from_secs(10), stalled).await.expect("it is found out");
        let SignalEvent::Closed(SignalError::Broken(why)) = stalled else { panic!("it is open") };
        assert_eq!(why, "the server does not read what it is sent");
        let again = listener.local_addr().expect("it is bound");
        signal.open(format!("ws://{again}"), Secret::new("t"), Where::Known(again));
        let (_socket, open) =
            tokio::join!(async { accept_async(listener.accept().await.unwrap().0).await }, signal.next());
        assert!(matches!(open, SignalEvent::Open), "{open:?}");
    }
}
