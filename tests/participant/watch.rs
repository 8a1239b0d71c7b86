//! Watches and listens to another board: when, by the sender's clock, did its test pattern flash and its tone beep?

use firmware_worker::{
    BoxError, Event, JobContext, Kind, PcmChannels, PcmStream, RemoteTrack, VideoFrame, VideoStream,
};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use std::time::{Duration, Instant, SystemTime};

/// The upper right corner is a blue bar otherwise.
const FLASH_LUMA: u64 = 140;
/// Samples between the rising edges of the beep are 36, of the tone 109.
const BEEP_SAMPLES: u64 = 70;
/// Samples a second.
const RATE: f64 = 48_000.0;

/// Watches for as long as the test says, then tells how many ms after each flash came its beep.
pub async fn run(context: &JobContext) -> Result<(), BoxError> {
    let mut events = context.events();
    context.connect().await?;
    let (mut sound, mut picture) = (None, None);
    while let Some(event) = events.next().await {
        let Event::TrackPublished { track: RemoteTrack { sid, kind, .. }, .. } = event else { continue };
        match kind {
            Kind::Audio => sound = Some(context.subscribe_audio(&sid).await?.into_pcm(PcmChannels::Mono)?),
            Kind::Video => picture = Some(context.subscribe_video(&sid).await?),
        }
        if sound.is_some() && picture.is_some() {
            break;
        }
    }
    let (Some(sound), Some(picture)) = (sound, picture) else { return Err("no tracks to watch".into()) };
    let end = Instant::now() + super::seconds(context);
    let (flashes, beeps) = tokio::try_join!(flashes(picture, end), beeps(sound, end))?;
    super::say(context, "together", &serde_json::to_string(&pairs(&flashes, &beeps))?).await
}

/// ms from each flash to its beep; they are less than half a second apart.
fn pairs(flashes: &[SystemTime], beeps: &[SystemTime]) -> Vec<f64> {
    let ms = |from: SystemTime, to: SystemTime| match to.duration_since(from) {
        Ok(later) => later.as_secs_f64() * 1000.0,
        Err(earlier) => earlier.duration().as_secs_f64() * -1000.0,
    };
    let near = |flash: &SystemTime| beeps.iter().map(|beep| ms(*flash, *beep)).find(|offset| offset.abs() < 500.0);
    flashes.iter().filter_map(near).collect()
}

/// Capture times of the first picture of each flash.
async fn flashes(mut stream: VideoStream, end: Instant) -> Result<Vec<SystemTime>, BoxError> {
    let (mut decoder, mut lit, mut flashes) = (Decoder::new()?, true, Vec::new());
    while let Some(frame) = before(end, stream.next()).await {
        let was = lit;
        lit = corner_is_lit(&mut decoder, &frame)?.unwrap_or(was);
        flashes.extend(frame.captured.filter(|_| lit && !was));
    }
    Ok(flashes)
}

fn corner_is_lit(decoder: &mut Decoder, frame: &VideoFrame) -> Result<Option<bool>, BoxError> {
    let Some(picture) = decoder.decode(&frame.data)? else { return Ok(None) };
    let ((width, height), stride) = (picture.dimensions(), picture.strides().0);
    let side = height / 10;
    let corner = picture.y().chunks(stride).take(side).flat_map(|line| &line[width - side..width]);
    Ok(Some(corner.map(|&luma| u64::from(luma)).sum::<u64>() / (side * side) as u64 > FLASH_LUMA))
}

/// Capture times of the first sample of each beep, by the distance of rising edges.
async fn beeps(mut stream: PcmStream, end: Instant) -> Result<Vec<SystemTime>, BoxError> {
    let (mut beeping, mut edge, mut edge_captured, mut last, mut beeps) = (true, 0, None, 0.0, Vec::new());
    while let Some(pcm) = before(end, stream.next()).await {
        for (n, &sample) in pcm.samples.iter().enumerate() {
            if last < 0.0 && sample >= 0.0 {
                let here = pcm.timestamp + n as u64;
                let high = here - edge < BEEP_SAMPLES;
                if high && !beeping {
                    beeps.extend(edge_captured);
                }
                (beeping, edge) = (high, here);
                edge_captured = pcm.captured.map(|start| start + Duration::from_secs_f64(n as f64 / RATE));
            }
            last = sample;
        }
    }
    Ok(beeps)
}

async fn before<T>(end: Instant, next: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout_at(end.into(), next).await.ok().flatten()
}
