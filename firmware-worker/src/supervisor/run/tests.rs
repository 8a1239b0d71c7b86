//! The loop in an order that a test chooses: the server is a WebSocket of the test's, the children are played by it.

mod broker;
mod child;
mod hostile;
mod opening;
mod reload;
mod rescan;
mod tokens;

use super::*;
use crate::config::{Defaults, Outline, Written, load, parse};
use crate::control::{self, DeviceFacts, DriverBuffers, FromJob, OwnerState, VERSION};
use futures_util::SinkExt;
use hal::process::read_sealed;
use hal::ring::Stamped;
use protocol::secret::Secret;
use protocol::worker::{JobSpec, RestartPolicy, Worker};
use std::future::poll_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes, far more than any has here.
const LONGEST_SPEC: usize = 1 << 20;

const MODE: Mode = Mode { drain: true, ask: false };

struct Rig {
    supervisor: Supervisor,
    queue: mpsc::Receiver<Event>,
    server: WebSocketStream<TcpStream>,
}

/// The job's end of its control socket.
struct Job {
    link: control::Link,
    /// What it was handed last.
    spec: Option<JobSpec>,
    _alive: Option<control::Link>,
}

impl Rig {
    /// A registered worker that runs `AJ_1`, which is in its room.
    async fn with_job() -> (Self, Job) {
        Self::with_job_that(RestartPolicy::Never).await
    }

    async fn with_job_that(restart: RestartPolicy) -> (Self, Job) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let mut config = config(&format!("ws://{}", listener.local_addr().expect("bound")));
        config.worker.restart = restart;
        let worker = Worker::new(super::super::options(&config, MODE), Instant::now(), 1);
        let (events, queue) = mpsc::channel(64);
        let mut supervisor =
            Supervisor::new(config, MODE, Brain::Worker(Box::new(worker)), None, events, 1).expect("a valid setup");
        supervisor.turn();
        let stream = listener.accept().await.expect("the worker connects").0;
        let server = accept_async(stream).await.expect("a WebSocket");
        let mut rig = Self { supervisor, queue, server };
        let up = rig.event().await;
        rig.give(up);
        rig.hear(server::registered()).await;
        rig.hear(server::offer("AJ_1")).await;
        rig.hear(server::assignment("AJ_1")).await;
        let job = rig.join().await;
        (rig, job)
    }

    async fn join(&mut self) -> Job {
        let process = self.supervisor.jobs.processes.values_mut().next().expect("the job has a process");
        let (socket, alive) = process.process.play();
        let mut job = Job { link: control::Link::new(socket).expect("a runtime"), spec: None, _alive: alive };
        let joined = FromJob::Joined { sid: "PA_1".into() };
        for message in [FromJob::Hello { version: VERSION }, FromJob::Prewarmed, FromJob::Ready, joined] {
            job.say(&message);
            self.listen().await;
        }
        assert!(matches!(job.told()[..], [ToJob::Spec]), "the job is handed over");
        job
    }

    /// What the link's task tells the loop next.
    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.queue.recv()).await.expect("in time").expect("the task lives")
    }

    /// The server says something, of which the loop has not heard yet.
    async fn arrived(&mut self, frame: Vec<u8>) -> Event {
        self.server.send(Message::Binary(frame.into())).await.expect("the worker reads");
        self.event().await
    }

    async fn hear(&mut self, frame: Vec<u8>) {
        let event = self.arrived(frame).await;
        self.give(event);
    }

    /// A turn of the loop for an event.
    fn give(&mut self, event: Event) {
        self.supervisor.take(Happening::Event(event));
        self.supervisor.turn();
    }

    /// A turn of the loop for what a child says next.
    async fn listen(&mut self) {
        let happening = timeout(PATIENCE, poll_fn(|cx| self.supervisor.poll_children(cx))).await.expect("in time");
        self.supervisor.take(happening);
        self.supervisor.turn();
    }
}

impl Job {
    fn say(&self, message: &FromJob) {
        self.link.send(message, &[]).expect("the supervisor reads");
    }

    /// What was said to it since the last look.
    fn told(&mut self) -> Vec<ToJob> {
        let received = std::iter::from_fn(|| self.link.try_receive().expect("the link stands"));
        let taken = received.map(|(message, mut bodies)| {
            if let (ToJob::Spec, Some(body)) = (&message, bodies.pop()) {
                let bytes = read_sealed(body, LONGEST_SPEC).expect("sealed");
                self.spec = Some(postcard::from_bytes(&bytes).expect("as jobs read it"));
            }
            message
        });
        taken.collect()
    }
}

fn config(url: &str) -> Config {
    configured(url, Written::default())
}

fn configured(url: &str, written: Written) -> Config {
    let environment = |name: &str| match name {
        "LIVEKIT_URL" => Some(url.to_owned()),
        "LIVEKIT_API_KEY" | "LIVEKIT_API_SECRET" => Some("key".to_owned()),
        _ => None,
    };
    let defaults = Defaults { memory: None, development: true, entrypoint: Outline::default() };
    load(written, &environment, None, defaults).expect("a valid configuration")
}

#[tokio::test]
async fn a_termination_ends_a_job_that_is_not_rejoining() {
    let (mut rig, mut job) = Rig::with_job().await;
    rig.hear(server::termination("AJ_1")).await;
    assert!(matches!(job.told()[..], [ToJob::Terminate { .. }]));
}

#[tokio::test]
async fn a_job_that_is_started_again_gets_the_same_spec_with_the_newest_token() {
    let (mut rig, job) = Rig::with_job_that(RestartPolicy::OnFailure).await;
    let first = job.spec.clone().expect("it was handed over");
    assert_eq!(first.token.expose(), "token");
    for token in ["token.2", "token.3"] {
        job.say(&FromJob::Token(Secret::new(token)));
        rig.listen().await;
    }
    let process = |rig: &Rig| rig.supervisor.jobs.processes.keys().next().copied();
    let before = process(&rig);
    rig.supervisor.jobs.processes.values().for_each(|job| job.process.kill());
    while process(&rig) == before {
        rig.listen().await;
    }
    // The end of a young job is acted on late.
    while process(&rig).is_none() {
        sleep_until(rig.supervisor.deadline().into()).await;
        rig.supervisor.take(Happening::Deadline);
        rig.supervisor.turn();
    }
    let again = rig.join().await;
    assert_eq!(again.spec, Some(JobSpec { token: Secret::new("token.3"), ..first }));
}

/// livekit#4887: the server terminates the job whose participant is replaced by the job's own second join.
#[tokio::test]
async fn a_termination_that_is_polled_before_the_job_that_rejoins_does_not_end_it() {
    let (mut rig, mut job) = Rig::with_job().await;
    let termination = rig.arrived(server::termination("AJ_1")).await;
    job.say(&FromJob::Rejoining);
    rig.give(termination);
    assert!(job.told().is_empty());
    job.say(&FromJob::Joined { sid: "PA_2".into() });
    job.say(&FromJob::Rejoined);
    rig.hear(server::termination("AJ_1")).await;
    assert!(job.told().is_empty(), "nor in the ten seconds after it");
}

#[tokio::test]
async fn a_termination_that_is_polled_after_a_whole_rejoin_does_not_end_its_job() {
    let (mut rig, mut job) = Rig::with_job().await;
    let termination = rig.arrived(server::termination("AJ_1")).await;
    job.say(&FromJob::Rejoining);
    rig.listen().await;
    rig.give(termination);
    assert!(job.told().is_empty());
    job.say(&FromJob::Joined { sid: "PA_2".into() });
    rig.listen().await;
    rig.hear(server::termination("AJ_1")).await;
    assert!(job.told().is_empty(), "nor in the ten seconds after it");
}

/// `ServerMessage`, by field numbers of livekit_agent.proto.
mod server {
    pub fn registered() -> Vec<u8> {
        field(1, &field(1, b"AW_1"))
    }

    pub fn offer(job: &str) -> Vec<u8> {
        let room = field(2, b"studio");
        field(2, &field(1, &[field(1, job.as_bytes()), field(3, &room)].concat()))
    }

    pub fn assignment(job: &str) -> Vec<u8> {
        field(3, &[field(1, &field(1, job.as_bytes())), field(3, b"token")].concat())
    }

    pub fn termination(job: &str) -> Vec<u8> {
        field(5, &field(1, job.as_bytes()))
    }

    /// A length-delimited field; numbers under 16 and lengths under 128 take a byte each.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        assert!(number < 16 && content.len() < 128);
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }
}

#[tokio::test]
async fn each_series_says_what_it_is_and_speaks_of_the_devices_that_have_it() {
    let (rig, _job) = Rig::with_job().await;
    let text = rig.supervisor.report().metrics;
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: Vec<_> = families.collect();
    assert!(families.len() > 40, "{families:?}");
    for name in families {
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.ends_with('.')), "{name}: {help:?}");
    }
    assert!(text.contains("firmware_worker_device_captured_total{device=\"microphone\"} 0\n"), "{text}");
    assert!(text.contains("firmware_worker_device_keyframes_total{device=\"camera\"} 0\n"), "{text}");
    assert!(!text.contains("firmware_worker_device_keyframes_total{device=\"microphone\"}"), "{text}");
    assert!(!text.contains("firmware_worker_speaker_buffer_seconds{"), "{text}");
}

#[tokio::test]
async fn what_an_owner_knows_of_its_device_is_shown_and_of_one_that_does_not_tell_nothing_is() {
    let (mut rig, _job) = Rig::with_job().await;
    let buffers = Some(DriverBuffers { camera: 4096, encoder: None });
    let stamped = Stamped::code(Some(Stamped::FrameEnd));
    let facts = DeviceFacts { stamps_behind: 7, stamps_ahead: 8, stamped, buffers };
    let running = || FromOwner::State(OwnerState::Running("/dev/video0 YUYV".into()));
    let of_version_1 = [FromOwner::Hello { version: 1 }, running()];
    let of_today = [FromOwner::Hello { version: VERSION }, running(), FromOwner::Facts(facts)];
    let shown = [
        "firmware_worker_device_stamps_behind_total{device=\"camera\"} 7\n",
        "firmware_worker_device_stamps_ahead_total{device=\"camera\"} 8\n",
        "firmware_worker_device_stamped{device=\"camera\",of=\"frame_end\"} 1\n",
        "\"stamped\":\"frame_end\",\"dropped\":0,\"stamps_behind\":7,\"stamps_ahead\":8",
        "\"driver_buffers\":{\"camera\":4096,\"encoder\":null}",
    ];
    for (said, tells) in [(of_version_1.into_iter().collect::<Vec<_>>(), false), (of_today.into_iter().collect(), true)]
    {
        for message in said {
            rig.supervisor.owner_happened("camera", Happened::Said(message), Instant::now());
        }
        let report = rig.supervisor.report();
        let text = report.metrics + &report.worker;
        shown.iter().for_each(|line| assert_eq!(text.contains(line), tells, "{line} {text}"));
    }
    let of_microphone = FromOwner::Facts(DeviceFacts::default());
    rig.supervisor.owner_happened("microphone", Happened::Said(of_microphone), Instant::now());
    let worker = rig.supervisor.report().worker;
    assert_eq!(worker.matches("\"stamps_behind\":null,\"stamps_ahead\":null").count(), 1, "sound has none: {worker}");
    rig.supervisor.owner_happened("camera", Happened::Said(FromOwner::State(OwnerState::Closed)), Instant::now());
    let text = rig.supervisor.report().metrics;
    assert!(text.contains(shown[0]) && !text.contains(shown[2]), "closed, it has no pictures: {text}");
}

#[tokio::test]
async fn jobs_get_the_memory_that_a_cameras_owner_does_not_need_by_its_own_word() {
    let (mut rig, _job) = Rig::with_job().await;
    let camera = |rig: &mut Rig, message| {
        rig.supervisor.owner_happened("camera", Happened::Said(message), Instant::now());
        // Far more than all devices of this worker can need.
        rig.supervisor.memory_plan().for_jobs(1 << 40)
    };
    let closed = || FromOwner::State(OwnerState::Closed);
    let told = |buffers| FromOwner::Facts(DeviceFacts { buffers, ..DeviceFacts::default() });
    let guessed = camera(&mut rig, FromOwner::Hello { version: VERSION });
    assert_eq!(camera(&mut rig, told(None)), guessed, "it was not opened yet");
    let less = camera(&mut rig, told(Some(DriverBuffers { camera: 1 << 20, encoder: Some(1 << 20) })));
    let heavier = DriverBuffers { camera: 1 << 28, encoder: Some(1 << 20) };
    let more = camera(&mut rig, told(Some(heavier)));
    assert_eq!(less - more, (1 << 28) - (1 << 20));
    let lighter = DriverBuffers { camera: 1 << 20, encoder: Some(1 << 10) };
    assert_eq!(camera(&mut rig, told(Some(lighter))), more, "the next opening may be the heavier one");
    assert!(rig.supervisor.report().worker.contains("{\"camera\":1048576,\"encoder\":1024}"), "it shows what was last");
    assert_eq!(camera(&mut rig, told(None)), more, "the next owner has not opened it, and is told of the one before");
    let runs = camera(&mut rig, FromOwner::State(OwnerState::Running("/dev/video0 YUYV".into())));
    assert!(runs > more, "what is available says it now");
    assert_eq!(camera(&mut rig, closed()), more);
}
