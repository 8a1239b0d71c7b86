//! Plays the sound of others: a task for each track decodes, one mixes and writes at the pace of our clock.

use super::mix::{BLOCK, Mix};
use crate::job::{BoxError, Error, Frame, JobContext, PcmChannels};
use protocol::room::{RemoteTrack, TrackSid};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Packets that may wait for the mix. While the card is away they do, and decoders wait with them; streams then lose their
/// oldest packets.
const QUEUE: usize = 32;

/// Of [`BLOCK`].
const PACE: Duration = Duration::from_millis(10);

/// A mix that is so much behind starts anew instead of catching up: the card was away.
const STALL: Duration = Duration::from_millis(200);

/// With so much waiting for the card, which was slow to open or away, nothing is caught up with: it would keep the ring full
/// for ever, as a ring that is full hides from the owner that it has a backlog.
const CROWDED: Duration = Duration::from_millis(100);

/// From a track's task.
enum Heard {
    Frames(TrackSid, Vec<Frame>),
    Ended(TrackSid),
}

/// The tasks.
pub(super) struct Player {
    context: JobContext,
    heard: mpsc::Sender<Heard>,
}

impl Player {
    /// Plays on the speaker of this name until the job ends. A dead owner of it does not hold up the join.
    pub(super) fn start(context: JobContext, speaker: String) -> Self {
        let (heard, inbox) = mpsc::channel(QUEUE);
        let job = context.clone();
        tokio::spawn(async move {
            match play(&job, &speaker, inbox).await {
                Ok(()) | Err(Error::Ended) => {}
                Err(error) => job.fail(error),
            }
        });
        Self { context, heard }
    }

    /// Subscribes to a track of sound.
    pub(super) fn hear(&self, track: RemoteTrack) {
        let (context, heard) = (self.context.clone(), self.heard.clone());
        tokio::spawn(async move {
            if let Err(error) = decode(&context, &track.sid, &heard).await {
                tracing::warn!(track = track.sid.0, error, "not played");
            }
            // A mix that is over needs to know nothing.
            let _ = heard.send(Heard::Ended(track.sid)).await;
        });
    }
}

async fn decode(context: &JobContext, sid: &TrackSid, heard: &mpsc::Sender<Heard>) -> Result<(), BoxError> {
    let mut stream = context.subscribe_audio(sid).await?.into_pcm(PcmChannels::Stereo)?;
    while let Some(pcm) = stream.next().await {
        // Saturates.
        let sample = |value: f32| (value * f32::from(i16::MAX)) as i16;
        let frames = pcm.samples.as_chunks().0.iter().map(|frame: &[f32; 2]| frame.map(sample)).collect();
        if heard.send(Heard::Frames(sid.clone(), frames)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn play(context: &JobContext, speaker: &str, mut inbox: mpsc::Receiver<Heard>) -> Result<(), Error> {
    let mut speaker = context.speaker(speaker).await?;
    let mut mix = Mix::default();
    let mut block = [[0; 2]; BLOCK];
    let mut due = Instant::now();
    loop {
        if mix.is_idle() {
            speaker.drain().await?;
            match inbox.recv().await {
                Some(heard) => mix.take(heard),
                None => return Ok(()),
            }
            due = Instant::now();
        }
        tokio::select! {
            heard = inbox.recv() => match heard {
                Some(heard) => mix.take(heard),
                None => return Ok(()),
            },
            () = sleep_until(due) => {
                mix.next(&mut block);
                speaker.write(&block).await?;
                due += PACE;
                if speaker.waiting() > CROWDED || due.elapsed() > STALL {
                    due = Instant::now() + PACE;
                }
            }
        }
    }
}

impl Mix {
    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Frames(track, frames) => self.push(track, &frames),
            Heard::Ended(track) => self.remove(&track),
        }
    }
}
