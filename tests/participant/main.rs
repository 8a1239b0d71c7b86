//! A custom participant for tests: it publishes what is configured, then does what the first word of the dispatch's
//! metadata says, so that one binary plays well-behaved and ill-behaved user code.

mod fault;
mod offender;
mod puppet;
mod trespass;
mod watch;

use firmware_worker::media::h264::{self, Coded, Settings};
use firmware_worker::media::opus::{self, PACKET_SAMPLES};
use firmware_worker::media::{pattern::Pattern, tone::Tone};
use firmware_worker::{
    Accept, Answer, AudioOptions, BoxError, Data, Error, JobContext, JobInfo, Source, VideoOptions, WorkerOptions,
};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    fault::prepare();
    let options = WorkerOptions::new(entrypoint).prewarm(|| Ok(String::from("warm"))).on_request(on_request);
    firmware_worker::run(options.check(fault::check))
}

async fn on_request(job: JobInfo) -> Answer {
    match act(&job) {
        "decline" => Answer::Reject { terminate: false },
        "forbid" => Answer::Reject { terminate: true },
        "ponder" => std::future::pending().await,
        "stumble" => panic!("the lens is stuck"),
        "named" => Answer::Accept(Accept {
            name: "Front door".into(),
            identity: "front-door".into(),
            metadata: "porch".into(),
            attributes: [("floor".into(), "0".into())].into(),
        }),
        _ => Answer::Accept(Accept::default()),
    }
}

async fn entrypoint(context: JobContext) -> Result<(), BoxError> {
    match act(context.job()) {
        "draw" => return draw(&context).await,
        "chime" => return chime(&context).await,
        "puppet" => return puppet::run(context).await,
        "trespass" => return trespass::run(&context).await,
        "granted" => return trespass::granted(&context),
        "watch" => return watch::run(&context).await,
        "look-up" => return look_up(&context).await,
        "complain" => offender::complain(),
        "babble" => offender::babble(),
        "defy" => return offender::defy(&context),
        "daemon" => offender::daemon()?,
        _ => {}
    }
    for source in context.sources().to_vec() {
        context.publish(&source.name).await?;
    }
    context.connect().await?;
    match act(context.job()) {
        "block" => std::thread::sleep(seconds(&context)),
        "fail" => return Err("the lens cap is on".into()),
        "panic" => drop(tokio::spawn(async { panic!("the shutter broke") })),
        "finish" => context.shutdown("enough pictures"),
        "tell" => tell(&context).await?,
        "eat" => return offender::eat().await,
        "fork" => return offender::fork().await,
        "spin" => offender::spin(),
        "farewell" => {
            let in_hook = context.clone();
            context.add_shutdown_hook(move |reason| async move {
                // The room may be gone already, which the test would see.
                let _ = say(&in_hook, "farewell", &reason).await;
            });
        }
        _ => {}
    }
    Ok(())
}

/// Publishes pictures and sound of its own for some seconds, in a track each, and takes them back by dropping the writers.
async fn draw(context: &JobContext) -> Result<(), BoxError> {
    let settings = Settings { width: 320, height: 180, milli_fps: 15_000, ceiling: 400_000, bitrate: 400_000 };
    let Settings { width, height, ceiling: bitrate, .. } = settings;
    let drawing = VideoOptions { name: "drawing".into(), width, height, fps: 15, bitrate, source: Source::ScreenShare };
    let mut drawing = context.publish_video(drawing).await?;
    context.connect().await?;
    // One before the join and one after it.
    let hum = AudioOptions { name: "hum".into(), bitrate: 32_000, source: Source::Microphone, stereo: false };
    let mut hum = context.publish_audio(hum).await?;
    drawing.published().await?;
    hum.published().await?;

    let (mut pattern, mut pictures) = (Pattern::new(width, height), h264::Encoder::new(settings)?);
    let (mut tone, mut sound) =
        (Tone::default(), opus::Encoder::new(&opus::Settings { bitrate: 32_000, ..Default::default() })?);
    let (mut pcm, mut unit) = ([0; PACKET_SAMPLES], Vec::new());
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(opus::PACKET_MS.into()));
    for n in 0..seconds(context).as_millis() as u64 / u64::from(opus::PACKET_MS) {
        pace.tick().await;
        tone.fill(&mut pcm, 1);
        sound.encode(&pcm, &mut unit)?;
        hum.write(unit.clone(), Instant::now(), n * PACKET_SAMPLES as u64, opus::level(&pcm)).await?;
        if n.is_multiple_of(3) {
            let captured = start.elapsed().as_nanos() as u64;
            pictures.set_bitrate(drawing.bitrate())?;
            if pictures.encode(pattern.draw(n / 3, 0), captured, drawing.keyframe_wanted(), &mut unit)?
                != Coded::Skipped
            {
                drawing.write(unit.clone(), Instant::now()).await?;
            }
        }
    }
    Ok(())
}

/// Plays two seconds of tone on the speaker as fast as it takes them, and says how long that took.
async fn chime(context: &JobContext) -> Result<(), BoxError> {
    context.connect().await?;
    let mut speaker = context.speaker("speaker").await?;
    if !matches!(context.speaker("speaker").await, Err(Error::InUse(_))) {
        return Err("a second handle of one speaker".into());
    }
    let (mut tone, mut pcm) = (Tone::default(), [0; 2 * PACKET_SAMPLES]);
    let start = Instant::now();
    for _ in 0..2000 / u32::from(opus::PACKET_MS) {
        tone.fill(&mut pcm, 2);
        speaker.write(pcm.as_chunks().0).await?;
    }
    speaker.drain().await?;
    let took = start.elapsed().as_secs_f64();
    context.wait_for_participant(None).await?;
    say(context, "chime", &took.to_string()).await
}

/// Sends what a job knows of itself to whoever is there.
async fn tell(context: &JobContext) -> Result<(), BoxError> {
    let listener = context.wait_for_participant(None).await?;
    let job = context.job();
    let facts = serde_json::json!({
        "metadata": job.metadata,
        "attributes": job.attributes,
        "agent_name": job.agent_name,
        "room": context.room_name(),
        "listener": listener.identity,
        "prewarmed": context.prewarmed::<String>(),
    });
    say(context, "facts", &facts.to_string()).await
}

/// Tells the address of a host, and each that it has after that.
async fn look_up(context: &JobContext) -> Result<(), BoxError> {
    let host = context.job().metadata.split(' ').nth(1).ok_or("the test gives a host")?.to_owned();
    let mut told = String::new();
    loop {
        // By the C library, as most programs do; it blocks this thread, on which nothing else waits.
        let address = (host.as_str(), 0).to_socket_addrs().map(|mut all| all.next().map(|one| one.ip()));
        let now = format!("{host}: {address:?}");
        if now != told {
            println!("{now}");
            told = now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn say(context: &JobContext, topic: &str, text: &str) -> Result<(), BoxError> {
    let data = Data { payload: text.into(), topic: topic.into(), reliable: true, to: Vec::new(), from: String::new() };
    Ok(context.send(data).await?)
}

fn act(job: &JobInfo) -> &str {
    job.metadata.split(' ').next().unwrap_or_default()
}

/// The second word of the metadata.
fn seconds(context: &JobContext) -> Duration {
    let number = context.job().metadata.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_secs(number.expect("the test gives a number of seconds"))
}
