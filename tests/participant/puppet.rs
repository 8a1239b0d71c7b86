//! User code on strings: it publishes nothing by itself and does what data of topic `do` says, one command after the other.

use firmware_worker::{
    AudioOptions, BoxError, Data, Event, JobContext, Kind, Publication, RemoteTrack, Source, VideoOptions,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// The size of the picture that judges publish.
const PICTURE: (u32, u32) = (320, 240);

/// What it has got.
#[derive(Default)]
struct Puppet {
    published: BTreeMap<String, Publication>,
    mirrors: bool,
    reliable: Tally,
    lossy: Tally,
}

/// Data of topic `burst`.
#[derive(Default)]
struct Tally {
    count: u64,
    bytes: usize,
    /// Each was numbered one higher than the one before.
    gapless: bool,
}

pub async fn run(context: JobContext) -> Result<(), BoxError> {
    let mut events = context.events();
    context.connect().await?;
    super::say(&context, "ready", "").await?;
    let mut puppet = Puppet::default();
    while let Some(event) = events.next().await {
        match event {
            Event::Data(data) if data.topic == "do" => {
                let command = String::from_utf8_lossy(&data.payload).into_owned();
                puppet.obey(&context, &command).await?;
                super::say(&context, "did", &command).await?;
            }
            Event::Data(data) if data.topic == "burst" => puppet.count(&data),
            Event::Data(data) if data.topic == "echo" => context.send(data).await?,
            Event::TrackPublished { track, .. } if puppet.mirrors => {
                let context = context.clone();
                tokio::spawn(async move {
                    if let Err(error) = mirror(&context, &track).await {
                        context.fail(format!("mirror of {}: {error}", track.sid.0));
                    }
                });
            }
            _ => {}
        }
    }
    Ok(())
}

impl Puppet {
    async fn obey(&mut self, context: &JobContext, command: &str) -> Result<(), BoxError> {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["publish", name] => drop(self.published.insert(name.into(), context.publish(name).await?)),
            ["unpublish", name] => self.published.remove(name).ok_or("not published")?.unpublish().await?,
            ["mute", name] => self.published[name].set_muted(true).await?,
            ["unmute", name] => self.published[name].set_muted(false).await?,
            ["mirror"] => self.mirrors = true,
            ["name", text] => context.set_name(text).await?,
            ["metadata", text] => context.set_metadata(text).await?,
            ["attribute", key, value] => context.set_attributes([(key.into(), value.into())].into()).await?,
            ["burst", count, bytes, way] => burst(context, count.parse()?, bytes.parse()?, way == "reliable").await?,
            ["tally"] => self.tell(context).await?,
            ["bequeath"] => bequeath(context),
            _ => return Err(format!("the test gives an unknown command: {command}").into()),
        }
        Ok(())
    }

    fn count(&mut self, data: &Data) {
        let tally = if data.reliable { &mut self.reliable } else { &mut self.lossy };
        let text = String::from_utf8_lossy(&data.payload);
        let number = text.split(' ').next().and_then(|word| word.parse().ok());
        tally.gapless = number == Some(tally.count) && (tally.gapless || tally.count == 0);
        tally.count += 1;
        tally.bytes += data.payload.len();
    }

    async fn tell(&self, context: &JobContext) -> Result<(), BoxError> {
        let [reliable, lossy] = [&self.reliable, &self.lossy]
            .map(|tally| json!({"count": tally.count, "bytes": tally.bytes, "gapless": tally.gapless}));
        super::say(context, "tally", &json!({"reliable": reliable, "lossy": lossy}).to_string()).await
    }
}

/// Sends numbered data as fast as the library takes it.
async fn burst(context: &JobContext, count: usize, bytes: usize, reliable: bool) -> Result<(), BoxError> {
    for number in 0..count {
        let mut payload = format!("{number} ").into_bytes();
        payload.resize(bytes, b'x');
        let data = Data { payload, topic: "burst".into(), reliable, to: Vec::new(), from: String::new() };
        context.send(data).await?;
    }
    Ok(())
}

/// Ends the job, whose last act it is to send almost as much as the library queues.
fn bequeath(context: &JobContext) {
    let in_hook = context.clone();
    // The test counts what arrives.
    context.add_shutdown_hook(move |_| async move { drop(burst(&in_hook, 16, 15_000, true).await) });
    context.shutdown("nothing is left but words");
}

/// Publishes what a remote track sends as a track of our own, until it ends.
async fn mirror(context: &JobContext, track: &RemoteTrack) -> Result<(), BoxError> {
    let name = format!("mirror of {}", track.sid.0);
    match track.kind {
        Kind::Audio => {
            let mut packets = context.subscribe_audio(&track.sid).await?;
            let writer = context
                .publish_audio(AudioOptions { name, bitrate: 64_000, source: Source::Unknown, stereo: false })
                .await?;
            while let Some(packet) = packets.next().await {
                writer.write(packet.payload, packet.arrived, packet.timestamp, 20).await?;
            }
        }
        Kind::Video => {
            let (width, height) = PICTURE;
            let options = VideoOptions { name, width, height, fps: 15, bitrate: 400_000, source: Source::Camera };
            let mut frames = context.subscribe_video(&track.sid).await?;
            let mut writer = context.publish_video(options).await?;
            let mut count = 0;
            while let Some(frame) = frames.next().await {
                if count == 0 && !(frame.keyframe && has_unit(&frame.data, 7) && has_unit(&frame.data, 5)) {
                    return Err("the first frame is no keyframe with its parameters".into());
                }
                count += 1;
                if writer.keyframe_wanted() {
                    frames.request_keyframe();
                }
                writer.write(frame.data, Instant::now()).await?;
            }
        }
    }
    Ok(())
}

/// Whether an Annex B access unit has a NAL unit of this type.
fn has_unit(data: &[u8], kind: u8) -> bool {
    data.windows(4).any(|window| window[..3] == [0, 0, 1] && window[3] & 0x1f == kind)
}
