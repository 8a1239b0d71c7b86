//! The WebSocket to `/agent`: one task per connection, which tells the loop what happened and writes what it is given.

use super::credentials::{wall_clock, worker_token};
use super::resolver::Resolver;
use super::{Event, Events};
use crate::config::Server;
use crate::net::{ConnectError, Tls, WebSocket, host_and_port};
use protocol::worker::{JobId, LinkError};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Frames that may wait for the socket. A server that lets this many pile up is not reading: the link counts as lost. More
/// than what one registration sends at once: 128 ends that are kept, and a status and a word of moving for each of up to 256 jobs.
const QUEUE: usize = 1024;

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Uplinks {
    server: Arc<Server>,
    tls: Tls,
    resolver: Resolver,
    events: Events,
    generation: u32,
}

/// One connection, from the attempt to the end.
#[derive(Debug)]
pub(super) struct Uplink {
    /// Events of earlier connections are stale; this tells them apart.
    pub generation: u32,
    /// Open, as far as the loop has heard.
    pub up: bool,
    queue: mpsc::Sender<Item>,
    task: JoinHandle<()>,
}

/// What waits for the socket.
#[derive(Debug)]
enum Item {
    Frame(Vec<u8>),
    /// Everything before it has been written: say so.
    Mark(JobId),
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Link {
    /// Everything that was queued before [`Uplink::mark`] has been written.
    Written(JobId),
    /// Open.
    Up,
    /// A binary frame.
    Frame(Vec<u8>),
    /// Could not be opened, or is gone; the last event of its generation.
    Down(LinkError),
}

impl Uplinks {
    pub(super) fn new(server: Server, tls: Tls, resolver: Resolver, events: Events) -> Self {
        Self { server: Arc::new(server), tls, resolver, events, generation: 0 }
    }

    /// Starts to connect.
    pub(super) fn connect(&mut self) -> Uplink {
        self.generation += 1;
        let (sender, queue) = mpsc::channel(QUEUE);
        let (server, tls) = (self.server.clone(), self.tls.clone());
        let (resolver, events, generation) = (self.resolver.clone(), self.events.clone(), self.generation);
        let task = tokio::spawn(async move {
            let why = match open(&server, &tls, &resolver).await {
                Ok(socket) => run(socket, queue, &events, generation).await,
                Err(why) => Some(why),
            };
            if let Some(why) = why {
                // The loop is gone when the worker ends; then nobody needs to know.
                let _ = events.send(Event::Link { generation, link: Link::Down(why) }).await;
            }
        });
        Uplink { generation, up: false, queue: sender, task }
    }
}

impl Uplink {
    /// Queues a frame; false when the queue is full.
    pub(super) fn send(&self, frame: Vec<u8>) -> bool {
        self.queue.try_send(Item::Frame(frame)).is_ok()
    }

    /// Asks for [`Link::Written`] when all that is queued now has been written; false when the queue is full.
    pub(super) fn mark(&self, job: JobId) -> bool {
        self.up && self.queue.try_send(Item::Mark(job)).is_ok()
    }

    /// Closes after what is queued, or stops connecting. The handle ends when the socket is closed.
    pub(super) fn close(self) -> JoinHandle<()> {
        if !self.up {
            self.task.abort();
        }
        self.task
    }
}

/// Connects once and closes; the server hears of no worker.
pub(super) async fn try_once(server: &Server, tls: &Tls) -> Result<(), LinkError> {
    open(server, tls, &Resolver::of_ours()).await?.close().await;
    Ok(())
}

async fn open(server: &Server, tls: &Tls, resolver: &Resolver) -> Result<WebSocket, LinkError> {
    let token = worker_token(&server.credentials, wall_clock())?;
    let (host, port) = host_and_port(&server.url).map_err(LinkError::Broken)?;
    let addresses = resolver.resolve(&host, port).await.map_err(LinkError::Broken)?;
    WebSocket::connect(&agent_url(&server.url), &token, &addresses, tls).await.map_err(|error| match error {
        ConnectError::Refused { status, retry_after, clocks, .. } => LinkError::Refused { status, retry_after, clocks },
        ConnectError::Tls { .. } => LinkError::Tls(error.to_string()),
        ConnectError::Broken { .. } => LinkError::Broken(error.to_string()),
    })
}

/// Why the connection ended; `None` if we closed it.
async fn run(
    mut socket: WebSocket,
    mut queue: mpsc::Receiver<Item>,
    events: &Events,
    generation: u32,
) -> Option<LinkError> {
    events.send(Event::Link { generation, link: Link::Up }).await.ok()?;
    loop {
        tokio::select! {
            item = queue.recv() => match item {
                Some(Item::Frame(frame)) => if let Err(why) = socket.send(frame).await {
                    return Some(LinkError::Broken(why));
                },
                Some(Item::Mark(job)) => events.send(Event::Link { generation, link: Link::Written(job) }).await.ok()?,
                None => {
                    socket.close().await;
                    return None;
                }
            },
            received = socket.receive() => match received {
                // A loop that is busy makes the server wait: TCP is the queue.
                Some(Ok(frame)) => events.send(Event::Link { generation, link: Link::Frame(frame) }).await.ok()?,
                Some(Err(why)) => return Some(LinkError::Broken(why)),
                None => return Some(LinkError::Broken("closed by the server".into())),
            },
        }
    }
}

/// The base path may or may not end in a slash; the server knows `/agent` only without one at its end.
fn agent_url(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}/agent{separator}{query}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Credentials;
    use futures_util::StreamExt;
    use protocol::secret::Secret;
    use protocol::token::{self, Grant};
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    #[test]
    fn the_agent_path_is_joined_to_any_base() {
        assert_eq!(agent_url("ws://h:7880"), "ws://h:7880/agent");
        assert_eq!(agent_url("ws://h:7880/"), "ws://h:7880/agent");
        assert_eq!(agent_url("wss://h/base"), "wss://h/base/agent");
        assert_eq!(agent_url("wss://h/base/?a=b"), "wss://h/base/agent?a=b");
    }

    fn server(url: String) -> Server {
        let token = token::mint("key", &Secret::new("s"), &Grant::Worker, wall_clock(), Duration::from_secs(60));
        Server { url, credentials: Credentials::Token(token), ca_file: None }
    }

    #[tokio::test]
    async fn a_mark_is_told_after_everything_before_it_and_a_close_flushes_what_is_queued() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (events, mut happened) = mpsc::channel(8);
        let mut uplinks = Uplinks::new(server(url), Tls::new("").unwrap(), Resolver::of_ours(), events);
        let mut uplink = uplinks.connect();
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        assert!(matches!(happened.recv().await, Some(Event::Link { generation: 1, link: Link::Up })));
        assert!(!uplink.mark(JobId("early".into())), "the loop has not heard that it is up");
        uplink.up = true;
        assert!(uplink.send(vec![1]) && uplink.mark(JobId("AJ_1".into())) && uplink.send(vec![2]));
        let told = happened.recv().await;
        assert!(matches!(&told, Some(Event::Link { link: Link::Written(job), .. }) if job.0 == "AJ_1"), "{told:?}");
        assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), [1]);
        let closing = uplink.close();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), [2]);
        assert!(socket.next().await.unwrap().unwrap().is_close());
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_fills_the_queue_and_never_stops_the_loop() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (events, _happened) = mpsc::channel(8);
        let uplink = Uplinks::new(server(url), Tls::new("").unwrap(), Resolver::of_ours(), events).connect();
        let refused = (0..=QUEUE).position(|_| !uplink.send(vec![0; 10]));
        assert_eq!(refused, Some(QUEUE));
    }
}
