//! Job processes without the process: a test plays the supervisor at the other end of the control socket.

mod before;
mod offers;
mod pictures;
mod tokens;

use super::*;
use crate::control::{Demand, Format, FromJob, FromReader, Granted, JobSetup, ToJob, ToReader};
use crate::media::I420;
use crate::media::h264::{Coded, Encoder, Settings};
use hal::doorbell::Doorbell;
use hal::process::monotonic_ns;
use hal::ring::{KEY, Layout, Meta, Stamped, Writer};
use protocol::secret::Secret;
use protocol::worker::{Accept, Answer, JobId, JobInfo, JobResult, JobSpec, JobType, RoomInfo};
use serde::Serialize;
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

const PICTURE: Format = Format::H264 { width: 320, height: 180, milli_fps: 30_000, bitrate: 500_000 };

struct Supervisor {
    link: Link,
    job: JoinHandle<anyhow::Result<ExitCode>>,
}

impl Supervisor {
    /// Starts a job and gives it its setup.
    async fn start(options: WorkerOptions) -> Self {
        let (ours, theirs) = Socket::pair().expect("socketpair");
        let job = std::thread::spawn(move || run(theirs, options));
        let mut supervisor = Self { link: Link::new(ours.with_foreign_peer()).expect("link"), job };
        assert!(matches!(supervisor.next().await, FromJob::Hello { version } if version == crate::control::VERSION));
        let sound = Format::Opus { channels: 1, frame_ms: 20, dtx: false, fec: true, bitrate: 48_000 };
        let setup = JobSetup {
            url: "ws://127.0.0.1:1".into(),
            sources: vec![
                Granted { name: "microphone".into(), format: sound },
                Granted { name: "door".into(), format: PICTURE },
            ],
            speakers: Vec::new(),
            shutdown_timeout_ms: 2000,
            ca_pem: String::new(),
            options: r#"{"answer": 42}"#.into(),
        };
        supervisor.send_body(&ToJob::Setup, &setup);
        supervisor
    }

    /// The same with the job assigned and its entrypoint started.
    async fn running(options: WorkerOptions) -> Self {
        let mut supervisor = Self::start(options).await;
        supervisor.send_body(&ToJob::Spec, &spec());
        assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
        assert!(matches!(supervisor.next().await, FromJob::Ready));
        supervisor
    }

    fn send(&self, message: &ToJob) {
        self.link.send(message, &[]).expect("the job reads");
    }

    fn send_body<T: Serialize>(&self, message: &ToJob, body: &T) {
        let bytes = postcard::to_stdvec(body).expect("encodes");
        let memfd = hal::process::sealed_memfd("body", &bytes).expect("memfd");
        self.link.send(message, &[memfd.as_fd()]).expect("the job reads");
    }

    async fn next(&mut self) -> FromJob {
        timeout(PATIENCE, self.link.receive()).await.expect("in time").expect("a message").0
    }

    async fn ending(&mut self) -> JobResult {
        match self.next().await {
            FromJob::Ending(result) => result,
            FromJob::Failing(error) => JobResult::Failed { error },
            other => panic!("{other:?} instead of Ending"),
        }
    }

    /// Acknowledges, and waits until the job is over.
    fn finish(self) -> ExitCode {
        self.send(&ToJob::Ack);
        self.job.join().expect("no panic").expect("a clean end")
    }
}

fn spec() -> JobSpec {
    JobSpec {
        job: job(),
        accept: Accept::default(),
        url: None,
        token: Secret::new("t"),
        worker_id: "AW_1".into(),
        limits: Default::default(),
    }
}

fn job() -> JobInfo {
    JobInfo {
        id: JobId("AJ_1".into()),
        kind: JobType::Room,
        room: RoomInfo { name: "r".into(), ..RoomInfo::default() },
        participant: None,
        metadata: "m".into(),
        attributes: Default::default(),
        agent_name: String::new(),
        dispatch_id: String::new(),
        deployment: String::new(),
    }
}

fn success(reason: &str) -> JobResult {
    JobResult::Success { reason: reason.into() }
}

fn failed(error: &str) -> JobResult {
    JobResult::Failed { error: error.into() }
}

#[tokio::test]
async fn an_error_of_the_entrypoint_ends_the_job_failed_with_its_text() {
    let mut supervisor = Supervisor::running(WorkerOptions::new(async |_| Err("no such luck".into()))).await;
    assert_eq!(supervisor.ending().await, failed("no such luck"));
    assert_eq!(supervisor.finish(), ExitCode::FAILURE);
}

#[tokio::test]
async fn an_entrypoint_that_returns_leaves_its_job_running_until_it_is_terminated() {
    let mut supervisor = Supervisor::running(WorkerOptions::new(async |_| Ok(()))).await;
    supervisor.send(&ToJob::Ping { id: 7 });
    assert!(matches!(supervisor.next().await, FromJob::Pong { id: 7, .. }));
    supervisor.send(&ToJob::Terminate { reason: "drained".into(), grace_ms: 5000 });
    assert_eq!(supervisor.ending().await, success("drained"));
    assert_eq!(supervisor.finish(), ExitCode::SUCCESS);
}

#[tokio::test]
async fn the_entrypoint_finds_its_job_its_options_and_what_prewarm_made() {
    let options = WorkerOptions::new(async |context: JobContext| {
        let table: serde_json::Value = context.options()?;
        let prewarmed: Option<&String> = context.prewarmed();
        context.shutdown(format!(
            "{} {} {} {} {:?} {}",
            context.room_name(),
            context.job().metadata,
            context.identity(),
            table["answer"],
            prewarmed,
            context.sources()[0].name,
        ));
        Ok(())
    });
    let options = options.prewarm(|| Ok("warm".to_string()));
    let mut supervisor = Supervisor::running(options).await;
    assert_eq!(supervisor.ending().await, success(r#"r m agent-AJ_1 42 Some("warm") microphone"#));
    supervisor.finish();
}

#[tokio::test]
async fn a_failing_prewarm_ends_the_process_with_its_text() {
    let options = WorkerOptions::new(async |_| Ok(())).prewarm(|| -> Result<(), _> { Err("no codec".into()) });
    let mut supervisor = Supervisor::start(options).await;
    assert_eq!(supervisor.ending().await, failed("prewarm: no codec"));
    assert_eq!(supervisor.finish(), ExitCode::FAILURE);
}

#[tokio::test]
async fn hooks_run_together_with_the_reason_before_the_end_is_told() {
    let started = Instant::now();
    let (sender, mut reasons) = mpsc::channel(4);
    let mut supervisor = Supervisor::running(WorkerOptions::new(async move |context: JobContext| {
        let together = Arc::new(tokio::sync::Barrier::new(2));
        for _ in 0..2 {
            let (together, sender) = (together.clone(), sender.clone());
            context.add_shutdown_hook(async move |reason| {
                together.wait().await;
                sender.send(reason).await.expect("the test listens");
            });
        }
        context.shutdown("done");
        Ok(())
    }))
    .await;
    assert_eq!(supervisor.ending().await, success("done"));
    assert_eq!([reasons.recv().await, reasons.recv().await], [Some("done".into()), Some("done".into())]);
    assert!(started.elapsed() < Duration::from_secs(2), "they waited for each other until the timeout");
    supervisor.finish();
}

#[tokio::test]
async fn an_entrypoint_that_blocks_its_thread_neither_stops_the_driver_nor_its_end() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let mut supervisor = Supervisor::running(WorkerOptions::new(async move |_| {
        let _ = blocked.recv();
        Ok(())
    }))
    .await;
    supervisor.send(&ToJob::Ping { id: 1 });
    assert!(matches!(supervisor.next().await, FromJob::Pong { id: 1, .. }));
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let silent = loop {
        pace.tick().await;
        supervisor.send(&ToJob::Ping { id: 2 });
        if let FromJob::Pong { user_ms, driver_ms: 0, .. } = supervisor.next().await
            && user_ms > 20
        {
            break user_ms;
        }
    };
    assert!(silent < 10_000);
    let asked = Instant::now();
    supervisor.send(&ToJob::Terminate { reason: "enough".into(), grace_ms: 1000 });
    assert_eq!(supervisor.ending().await, success("enough"));
    assert!(asked.elapsed() < Duration::from_millis(1000), "{:?}", asked.elapsed());
    supervisor.finish();
    drop(release);
}

#[tokio::test]
async fn the_job_ends_by_itself_within_250_ms_when_the_supervisor_is_gone() {
    let supervisor = Supervisor::running(WorkerOptions::new(async |context: JobContext| {
        context.closing().await;
        Ok(())
    }))
    .await;
    let gone = Instant::now();
    drop(supervisor.link);
    supervisor.job.join().expect("no panic").expect("a clean end");
    assert!(gone.elapsed() < Duration::from_millis(250), "{:?}", gone.elapsed());
}

#[tokio::test]
async fn a_job_that_ends_well_but_cannot_say_goodbye_to_its_room_says_so_by_its_exit_code() {
    let entrypoint = async |context: JobContext| Ok(context.connect().await?);
    let mut supervisor = Supervisor::start(WorkerOptions::new(entrypoint)).await;
    supervisor.send_body(&ToJob::Spec, &JobSpec { url: Some("ws://server.invalid".into()), ..spec() });
    assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
    assert!(matches!(supervisor.next().await, FromJob::Ready));
    // Nobody answers: its room has a signal connection never.
    assert!(matches!(supervisor.next().await, FromJob::Resolve { .. }));
    supervisor.send(&ToJob::Terminate { reason: "drained".into(), grace_ms: 5000 });
    assert_eq!(supervisor.ending().await, success("drained"));
    assert_eq!(supervisor.finish(), ExitCode::FAILURE);
}

#[tokio::test]
async fn a_missing_acknowledgement_does_not_keep_the_job() {
    let mut supervisor = Supervisor::running(WorkerOptions::new(async |_| Err("x".into()))).await;
    assert_eq!(supervisor.ending().await, failed("x"));
    let told = Instant::now();
    supervisor.job.join().expect("no panic").expect("a clean end");
    assert!(told.elapsed() < Duration::from_millis(1000), "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_source_that_is_not_configured_or_refused_is_an_error_that_names_it() {
    let mut supervisor = Supervisor::running(WorkerOptions::new(async |context: JobContext| {
        let unknown = context.publish("camera").await.expect_err("not configured");
        let refused = context.publish("microphone").await.expect_err("denied");
        context.shutdown(format!("{unknown}; {refused}"));
        Ok(())
    }))
    .await;
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { name } if name == "microphone"));
    supervisor.send(&ToJob::Denied { name: "microphone".into(), why: "busy".into() });
    let expected = r#"source "camera": no source of this name is configured; source "microphone": busy"#;
    assert_eq!(supervisor.ending().await, success(expected));
    supervisor.finish();
}

#[tokio::test]
async fn a_source_that_is_refused_after_it_was_published_is_told_once_and_asked_for_at_a_bounded_rate() {
    let (sender, mut told) = mpsc::channel(8);
    let mut supervisor = Supervisor::running(WorkerOptions::new(async move |context: JobContext| {
        let mut events = context.events();
        context.publish("microphone").await?;
        while let Some(event) = events.next().await {
            sender.send(event).await?;
        }
        Ok(())
    }))
    .await;
    // No answer to the first question: it is published muted, and asked for again.
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { .. }));
    let mut asked = Vec::new();
    for _ in 0..4 {
        assert!(matches!(supervisor.next().await, FromJob::OpenSource { name } if name == "microphone"));
        asked.push(Instant::now());
        supervisor.send(&ToJob::Denied { name: "microphone".into(), why: "no memory".into() });
    }
    // Waits of at least half of 100, 200 and 400 ms lie between them.
    assert!(asked[3] - asked[0] >= Duration::from_millis(350), "{asked:?}");
    let lost = Event::SourceLost { name: "microphone".into(), why: "no memory".into() };
    assert_eq!(timeout(PATIENCE, told.recv()).await.expect("in time"), Some(lost));
    supervisor.send(&ToJob::Terminate { reason: "enough".into(), grace_ms: 1000 });
    loop {
        match supervisor.next().await {
            FromJob::OpenSource { .. } => {}
            FromJob::Ending(result) => break assert_eq!(result, success("enough")),
            other => panic!("{other:?}"),
        }
    }
    assert!(told.try_recv().is_err(), "once");
    supervisor.finish();
}

#[tokio::test]
async fn a_source_whose_owner_is_dead_is_published_muted_and_holds_up_nothing() {
    let mut supervisor = Supervisor::running(WorkerOptions::new(async |context: JobContext| {
        let publication = context.publish("microphone").await?;
        context.shutdown(format!("muted: {}", publication.muted()));
        Ok(())
    }))
    .await;
    let asked = Instant::now();
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { .. }));
    // No answer: the supervisor waits to start the owner again. The job repeats its question and goes on.
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { name } if name == "microphone"));
    assert_eq!(supervisor.ending().await, success("muted: true"));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    supervisor.finish();
}

/// Has the supervisor grant the camera, and an owner give the ring; what the job asks of it comes next.
async fn attach(supervisor: &mut Supervisor) -> (Link, Writer, Doorbell) {
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { name } if name == "door"));
    let (ours, theirs) = Socket::pair().expect("socketpair");
    supervisor.link.send(&ToJob::SourceFd { name: "door".into() }, &[theirs.as_fd()]).expect("the job reads");
    let mut link = Link::new(ours).expect("link");
    assert!(matches!(said(&mut link).await, FromReader::Attach { .. }));
    let ring = Writer::create("door", Layout { slots: 8, arena: 1 << 17 }).expect("a ring");
    let (bell, listener) = Doorbell::new().expect("a doorbell");
    link.send(&ToReader::Attached { format: PICTURE }, &[ring.fd(), listener.as_fd()]).expect("the job reads");
    (link, ring, bell)
}

async fn said(link: &mut Link) -> FromReader {
    timeout(PATIENCE, link.receive()).await.expect("in time").expect("a message").0
}

async fn wanted(link: &mut Link, demand: Demand) {
    while !matches!(said(link).await, FromReader::Demand(wanted) if wanted == demand) {}
}

fn keyframe() -> Vec<u8> {
    let settings = Settings { width: 320, height: 180, milli_fps: 30_000, ceiling: 500_000, bitrate: 500_000 };
    let mut unit = Vec::new();
    let coded = Encoder::new(settings).expect("an encoder").encode(&I420::new(320, 180), 0, true, &mut unit);
    assert_eq!(coded.expect("a picture"), Coded::Key);
    unit
}

#[tokio::test]
async fn a_snapshot_is_the_next_keyframe_of_a_published_camera_which_rests_after_it() {
    let entrypoint = async |context: JobContext| {
        let publication = context.publish("door").await?;
        assert_eq!(publication.stamped(), None);
        assert_eq!(context.snapshot("microphone").await, Err(Error::NoCamera("microphone".into())));
        let picture = context.snapshot("door").await?;
        assert!(picture.data.starts_with(b"\xff\xd8"), "{picture:?}");
        // The picture is there a moment before what is known of it.
        while publication.stamped().is_none() {
            tokio::task::yield_now().await;
        }
        let stamped = publication.stamped().map_or("nowhere", Stamped::name);
        context.shutdown(format!("{}x{} {stamped}", picture.width, picture.height));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    let (mut owner, mut ring, bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Live).await;
    let (written_ns, stamped) = (monotonic_ns(), Some(Stamped::FrameEnd));
    ring.push(Meta { captured_ns: written_ns, written_ns, stamped, flags: KEY, ..Meta::default() }, &keyframe())
        .expect("it fits");
    bell.ring();
    assert_eq!(supervisor.ending().await, success("320x180 frame_end"));
    // Joining has not begun, so that nobody views it now.
    wanted(&mut owner, Demand::Armed).await;
    supervisor.finish();
}
