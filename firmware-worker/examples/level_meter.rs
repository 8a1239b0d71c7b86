//! A participant that listens: twice a second it tells everybody how loud each other participant is.
//!
//! ```text
//! cargo run --example level_meter -- dev
//! ```
//!
//! Each measurement is a lossy data packet with topic `level` and a JSON body such as
//! `{"identity":"anna","track":"TR_AM4kz","dbfs":-20.1}`.

use firmware_worker::{
    BoxError, Data, Event, JobContext, Kind, PcmChannels, PcmStream, RemoteTrack, WorkerOptions, run,
};
use std::process::ExitCode;

/// Samples of one measurement: half a second at 48 kHz.
const WINDOW: usize = 24_000;

/// What silence is told as; the logarithm of zero is no number in JSON.
const SILENCE_DBFS: f64 = -127.0;

fn main() -> ExitCode {
    run(WorkerOptions::new(level_meter))
}

async fn level_meter(context: JobContext) -> Result<(), BoxError> {
    // Before the join, so that the tracks of those who are there already are not missed.
    let mut events = context.events();
    context.connect().await?;
    while let Some(event) = events.next().await {
        if let Event::TrackPublished { identity, track } = event
            && track.kind == Kind::Audio
        {
            tokio::spawn(watch(context.clone(), identity, track));
        }
    }
    Ok(())
}

async fn watch(context: JobContext, identity: String, track: RemoteTrack) {
    if let Err(error) = measure(&context, &identity, &track).await {
        tracing::warn!(identity, track = track.sid.0, "{error}");
    }
}

/// Until the track ends.
async fn measure(context: &JobContext, identity: &str, track: &RemoteTrack) -> Result<(), BoxError> {
    let mut pcm = context.subscribe_audio(&track.sid).await?.into_pcm(PcmChannels::Mono)?;
    while let Some(dbfs) = level(&mut pcm).await {
        let body = serde_json::json!({ "identity": identity, "track": track.sid.0, "dbfs": dbfs });
        let payload = body.to_string().into_bytes();
        let data = Data { payload, topic: "level".into(), reliable: false, to: Vec::new(), from: String::new() };
        context.send(data).await?;
    }
    Ok(())
}

/// Root mean square over the next window, in dB of full scale.
async fn level(pcm: &mut PcmStream) -> Option<f64> {
    let (mut power, mut count) = (0.0, 0);
    while count < WINDOW {
        let samples = pcm.next().await?.samples;
        power += samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        count += samples.len();
    }
    let dbfs = 10.0 * (power / count as f64).log10();
    Some((dbfs.max(SILENCE_DBFS) * 10.0).round() / 10.0)
}
