//! An agents server that does what a test tells it, and knows nothing of rooms: their sockets stay open and silent.

use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use lk::worker_message::Message as FromWorker;
use prost::Message as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr};

/// A debug build on a busy machine needs a multiple of what the worker promises.
pub const SOON: Duration = Duration::from_secs(15);

/// What a job joins its room with; nobody looks into it.
pub const JOB_TOKEN: &str = "passport-of-a-job";

/// A server's `/agent`.
pub struct Agents {
    port: u16,
    connections: mpsc::Receiver<Connection>,
}

/// One worker's connection.
pub struct Connection {
    /// `Authorization` of its upgrade.
    pub authorization: String,
    socket: WebSocket<TcpStream>,
}

impl Agents {
    /// Listens on a free port, until the test's process ends.
    pub fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (sender, connections) = mpsc::channel();
        std::thread::spawn(move || accept(&listener, &sender));
        Self { port, connections }
    }

    /// Where workers find it.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The next worker that connects.
    #[track_caller]
    pub fn connection(&self) -> Connection {
        self.connections.recv_timeout(SOON).expect("a worker connects")
    }

    /// The next worker that connects, registered as `AW_test`.
    #[track_caller]
    pub fn registered(&self) -> (Connection, lk::RegisterWorkerRequest) {
        let mut connection = self.connection();
        let request = connection.wait("a registration", |message| match message {
            FromWorker::Register(request) => Some(request),
            _ => None,
        });
        let response = lk::RegisterWorkerResponse { worker_id: "AW_test".into(), ..Default::default() };
        connection.send(ToWorker::Register(response));
        (connection, request)
    }
}

fn accept(listener: &TcpListener, agents: &mpsc::Sender<Connection>) {
    let mut rooms = Vec::new();
    for stream in listener.incoming().flatten() {
        let (mut path, mut authorization) = (String::new(), String::new());
        #[allow(clippy::result_large_err, reason = "the callback's type is given")]
        let look = |request: &Request, response: Response| {
            path = request.uri().path().to_owned();
            let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            authorization = header.unwrap_or_default().to_owned();
            Ok(response)
        };
        let Ok(socket) = accept_hdr(stream, look) else { continue };
        if path != "/agent" {
            rooms.push(socket);
        } else if agents.send(Connection { authorization, socket }).is_err() {
            return;
        }
    }
}

/// The URL of a server that answers each request with 401 and these header lines.
pub fn refuse(headers: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let url = format!("ws://{}", listener.local_addr().expect("a bound socket has an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A worker that is gone already needs no answer.
            let _ = stream.read(&mut [0; 8192]);
            let _ = write!(stream, "HTTP/1.1 401 Unauthorized\r\n{headers}Content-Length: 0\r\n\r\n");
        }
    });
    url
}

impl Connection {
    /// Sends a message.
    #[track_caller]
    pub fn send(&mut self, message: ToWorker) {
        self.send_bytes(lk::ServerMessage { message: Some(message) }.encode_to_vec());
    }

    /// Sends what may be no message.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).expect("the worker reads");
    }

    /// The first message that `pick` takes; others are skipped.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(FromWorker) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            match self.next() {
                Some(Ok(message)) => {
                    if let Some(found) = pick(message) {
                        return found;
                    }
                }
                Some(Err(end)) => panic!("the worker's socket ended ({end}) instead of {what}"),
                None => {}
            }
        }
        panic!("not within {SOON:?}: {what}");
    }

    /// Offers and assigns a job in `room`; returns when the worker says that it runs.
    #[track_caller]
    pub fn run_job(&mut self, id: &str, room: &str) {
        self.run_job_with(id, room, "");
    }

    /// The same with metadata for the entrypoint.
    #[track_caller]
    pub fn run_job_with(&mut self, id: &str, room: &str, metadata: &str) {
        assert!(self.offer_with(id, room, metadata).available, "job {id} is declined");
        self.assign(id, room);
        let status = self.status(id);
        assert_eq!(status.status(), lk::JobStatus::JsRunning, "{status:?}");
    }

    /// Offers a job.
    #[track_caller]
    pub fn propose(&mut self, id: &str, room: &str) {
        self.propose_with(job(id, room));
    }

    #[track_caller]
    fn propose_with(&mut self, job: lk::Job) {
        let request = lk::AvailabilityRequest { job: Some(job), ..Default::default() };
        self.send(ToWorker::Availability(request));
    }

    /// Offers a job and waits for the answer.
    #[track_caller]
    pub fn offer(&mut self, id: &str, room: &str) -> lk::AvailabilityResponse {
        self.offer_with(id, room, "")
    }

    fn offer_with(&mut self, id: &str, room: &str, metadata: &str) -> lk::AvailabilityResponse {
        let job = lk::Job { metadata: metadata.into(), ..job(id, room) };
        self.propose_with(job);
        self.wait("an answer to the offer", |message| match message {
            FromWorker::Availability(answer) if answer.job_id == id => Some(answer),
            _ => None,
        })
    }

    /// Assigns a job that was accepted.
    #[track_caller]
    pub fn assign(&mut self, id: &str, room: &str) {
        let assignment = lk::JobAssignment { job: Some(job(id, room)), token: JOB_TOKEN.into(), ..Default::default() };
        self.send(ToWorker::Assignment(assignment));
    }

    /// The next status of a job.
    #[track_caller]
    pub fn status(&mut self, id: &str) -> lk::UpdateJobStatus {
        self.wait("a job status", |message| match message {
            FromWorker::UpdateJob(status) if status.job_id == id => Some(status),
            _ => None,
        })
    }

    /// Waits for the worker's Close and gives its code.
    #[track_caller]
    pub fn closed(&mut self) -> Option<u16> {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Err(Error::Io(e)) if waits(&e) => {}
                Err(_) => return None,
                Ok(_) => {}
            }
        }
        panic!("the worker does not close its socket");
    }

    /// None if nothing came for a moment.
    pub fn next(&mut self) -> Option<Result<FromWorker, Error>> {
        let moment = Some(Duration::from_millis(50));
        self.socket.get_ref().set_read_timeout(moment).expect("a timeout over zero is valid");
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => {
                let message = lk::WorkerMessage::decode(bytes).expect("the worker sends WorkerMessage");
                Some(Ok(message.message.expect("no empty message may be sent: the server closes for it")))
            }
            Ok(Message::Close(_)) => Some(Err(Error::ConnectionClosed)),
            Ok(_) => None,
            Err(Error::Io(e)) if waits(&e) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn job(id: &str, room: &str) -> lk::Job {
    lk::Job {
        id: id.into(),
        room: Some(lk::Room { name: room.into(), sid: format!("RM_{room}"), ..Default::default() }),
        agent_name: tests::worker::AGENT.into(),
        ..Default::default()
    }
}
