//! ICE-TCP: streams to passive candidates, packets framed by RFC 4571.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Streams at a time: a server offers two to four passive candidates.
const MAX_STREAMS: usize = 8;

/// Packets waiting for a slow stream: half a second of 2 Mbit/s. When it is full packets are dropped, as UDP would.
const OUTGOING: usize = 128;

/// Packets waiting for the driver from all streams; when it is full the streams are not read.
const INCOMING: usize = 128;

/// Until a candidate is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest packet that a peer may frame.
const MAX_PACKET: usize = 2048;

/// What a stream tells.
#[derive(Debug)]
pub enum TcpEvent {
    /// Connected.
    Open {
        /// Ours.
        local: SocketAddr,
        /// The candidate.
        remote: SocketAddr,
    },
    /// A packet, without its length.
    Packet {
        /// Ours.
        local: SocketAddr,
        /// The candidate.
        remote: SocketAddr,
        /// Bytes.
        payload: Vec<u8>,
    },
    /// Failed or ended.
    Closed {
        /// The candidate.
        remote: SocketAddr,
    },
}

/// All streams of a session, each with a task of its own.
#[derive(Debug)]
pub struct Tcp {
    streams: BTreeMap<SocketAddr, Stream>,
    /// Events of a stream that was closed carry another number than its successor and are dropped.
    count: u64,
    report: mpsc::Sender<Numbered>,
    events: mpsc::Receiver<Numbered>,
}

/// An event and the stream it is of.
type Numbered = (u64, TcpEvent);

#[derive(Debug)]
struct Stream {
    number: u64,
    outgoing: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

impl Tcp {
    /// No stream yet.
    pub fn new() -> Self {
        let (report, events) = mpsc::channel(INCOMING);
        Self { streams: BTreeMap::new(), count: 0, report, events }
    }

    /// Starts to connect; [`TcpEvent::Open`] or [`TcpEvent::Closed`] follows. An older stream to the same candidate
    /// is dropped. `false` when there are too many.
    pub fn open(&mut self, remote: SocketAddr) -> bool {
        self.close(remote);
        if self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let (outgoing, packets) = mpsc::channel(OUTGOING);
        self.count += 1;
        let report = Report { number: self.count, events: self.report.clone() };
        let task = tokio::spawn(async move {
            if let Err(error) = run(remote, packets, &report).await {
                tracing::debug!(%remote, %error, "ICE-TCP stream");
            }
            // The driver is gone if nobody listens.
            let _ = report.send(TcpEvent::Closed { remote }).await;
        });
        self.streams.insert(remote, Stream { number: self.count, outgoing, task: task.abort_handle() });
        true
    }

    /// Drops a stream.
    pub fn close(&mut self, remote: SocketAddr) {
        if let Some(stream) = self.streams.remove(&remote) {
            stream.task.abort();
        }
    }

    /// Sends, or drops the packet when the stream is too slow.
    pub fn send(&self, remote: SocketAddr, payload: Vec<u8>) {
        let sent = self.streams.get(&remote).map(|stream| stream.outgoing.try_send(payload));
        if !matches!(sent, Some(Ok(()))) {
            tracing::trace!(%remote, "packet dropped");
        }
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> TcpEvent {
        loop {
            let (number, event) = self.events.recv().await.expect("a sender is kept beside the receiver");
            if self.is_of(number, &event) {
                return event;
            }
        }
    }

    /// The next event, if it is here already.
    pub fn waiting(&mut self) -> Option<TcpEvent> {
        loop {
            let (number, event) = self.events.try_recv().ok()?;
            if self.is_of(number, &event) {
                return Some(event);
            }
        }
    }

    /// Whether it is of a stream that is still wanted.
    fn is_of(&self, number: u64, event: &TcpEvent) -> bool {
        self.streams.get(&event.remote()).is_some_and(|stream| stream.number == number)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        for stream in self.streams.values() {
            stream.task.abort();
        }
    }
}

impl TcpEvent {
    fn remote(&self) -> SocketAddr {
        match self {
            Self::Open { remote, .. } | Self::Packet { remote, .. } | Self::Closed { remote } => *remote,
        }
    }
}

/// Where a stream's task tells what happens.
struct Report {
    number: u64,
    events: mpsc::Sender<Numbered>,
}

impl Report {
    async fn send(&self, event: TcpEvent) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.events.send((self.number, event)).await.map_err(gone)
    }
}

async fn run(remote: SocketAddr, packets: mpsc::Receiver<Vec<u8>>, report: &Report) -> io::Result<()> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(remote)).await??;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    report.send(TcpEvent::Open { local, remote }).await?;
    let (incoming, outgoing) = stream.into_split();
    tokio::select! {
        result = read(incoming, local, remote, report) => result,
        result = write(outgoing, packets) => result,
    }
}

async fn read(stream: OwnedReadHalf, local: SocketAddr, remote: SocketAddr, report: &Report) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(MAX_PACKET, stream);
    loop {
        let length = usize::from(stream.read_u16().await?);
        if length > MAX_PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        report.send(TcpEvent::Packet { local, remote, payload }).await?;
    }
}

async fn write(mut stream: OwnedWriteHalf, mut packets: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut frame = Vec::with_capacity(MAX_PACKET);
    while let Some(packet) = packets.recv().await {
        let Ok(length) = u16::try_from(packet.len()) else { continue };
        frame.clear();
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&packet);
        stream.write_all(&frame).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn packets_keep_their_borders_both_ways_and_the_end_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let remote = listener.local_addr().expect("bound");
        let mut tcp = Tcp::new();
        assert!(tcp.open(remote));
        let (mut peer, _) = listener.accept().await.expect("accepts");
        assert!(matches!(tcp.next().await, TcpEvent::Open { remote: r, .. } if r == remote));

        tcp.send(remote, vec![1, 2, 3]);
        tcp.send(remote, vec![4]);
        let mut framed = [0; 8];
        peer.read_exact(&mut framed).await.expect("both frames");
        assert_eq!(framed, [0, 3, 1, 2, 3, 0, 1, 4]);

        peer.write_all(&[0, 2, 9, 8, 0, 1, 7]).await.expect("written");
        let mut got = Vec::new();
        for _ in 0..2 {
            if let TcpEvent::Packet { payload, .. } = tcp.next().await {
                got.push(payload);
            }
        }
        assert_eq!(got, [vec![9, 8], vec![7]]);
        drop(peer);
        assert!(matches!(tcp.next().await, TcpEvent::Closed { .. }));
    }

    #[tokio::test]
    async fn the_end_of_an_earlier_stream_is_not_taken_for_that_of_its_successor() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let remote = listener.local_addr().expect("bound");
        let mut tcp = Tcp::new();
        tcp.open(remote);
        drop(listener.accept().await.expect("accepts"));
        assert!(matches!(tcp.next().await, TcpEvent::Open { .. }));
        // The end is in the queue when the room asks for the same candidate again.
        while tcp.events.is_empty() {
            tokio::task::yield_now().await;
        }
        tcp.open(remote);
        let (_peer, _) = listener.accept().await.expect("accepts again");
        assert!(matches!(tcp.next().await, TcpEvent::Open { .. }));
    }

    #[tokio::test]
    async fn a_refused_candidate_is_told_as_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let remote = listener.local_addr().expect("bound");
        drop(listener);
        let mut tcp = Tcp::new();
        tcp.open(remote);
        assert!(matches!(tcp.next().await, TcpEvent::Closed { remote: r } if r == remote));
    }
}
