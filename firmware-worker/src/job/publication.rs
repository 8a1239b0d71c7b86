//! Handles of local tracks: configured sources and frames of the user's own.

use super::Error;
use super::request::{OwnFrame, Request, TrackWatch};
use hal::ring::Stamped;
use protocol::room::rtp::h264::{ParameterSets, Rate};
use protocol::room::{Kind, LocalTrack, Sound, Source, TrackId, TrackSid};
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Bytes of an Opus packet at most: RFC 6716's limit of a single frame.
const MAX_OPUS: usize = 1275;

/// What the driver tells about a local track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrackState {
    /// Known once the server has published it.
    pub sid: Option<TrackSid>,
    /// Muted, by whomever.
    pub muted: bool,
    /// Bit/s it should not exceed now.
    pub bitrate: u32,
    /// Anybody watches it, as far as the server has said.
    pub wanted: bool,
    /// What the capture times of a camera's pictures are of.
    pub stamped: Option<Stamped>,
    /// How often a receiver asked for a keyframe.
    pub keyframes: u64,
    /// Why the server ended it.
    pub ended: Option<String>,
}

/// A configured source in the room. It stays published when this handle is dropped.
#[derive(Debug)]
pub struct Publication {
    track: Track,
}

#[derive(Debug)]
struct Track {
    id: TrackId,
    state: watch::Receiver<TrackState>,
    requests: mpsc::Sender<Request>,
}

impl Track {
    fn new((id, state): TrackWatch, requests: mpsc::Sender<Request>) -> Self {
        Self { id, state, requests }
    }

    async fn published(&mut self) -> Result<TrackSid, Error> {
        let state = self.state.wait_for(|s| s.sid.is_some() || s.ended.is_some()).await.map_err(|_| Error::Ended)?;
        match (&state.sid, &state.ended) {
            (_, Some(why)) => Err(unpublished(&self.id, why)),
            (Some(sid), None) => Ok(sid.clone()),
            (None, None) => Err(Error::Ended),
        }
    }

    async fn write(&self, frame: OwnFrame) -> Result<(), Error> {
        if let Some(why) = &self.state.borrow().ended {
            return Err(unpublished(&self.id, why));
        }
        self.request(Request::Write(frame)).await
    }

    async fn request(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).await.map_err(|_| Error::Ended)
    }
}

fn unpublished(track: &TrackId, why: &str) -> Error {
    Error::Unpublished { track: track.0.clone(), why: why.to_owned() }
}

impl Publication {
    pub(super) fn new(track: TrackWatch, requests: mpsc::Sender<Request>) -> Self {
        Self { track: Track::new(track, requests) }
    }

    /// Waits until the server has published it.
    pub async fn published(&mut self) -> Result<TrackSid, Error> {
        self.track.published().await
    }

    /// Mutes it: the device is no longer wanted and may close. Unmuting also lifts a mute by the server.
    pub async fn set_muted(&self, muted: bool) -> Result<(), Error> {
        self.track.request(Request::Mute(self.track.id.clone(), muted)).await
    }

    /// Whether it is muted now: by us, by the server, or because its device is gone.
    pub fn muted(&self) -> bool {
        self.track.state.borrow().muted
    }

    /// What the capture times are of that its pictures have in the room: the start of exposure; the end of the frame, which is
    /// later by exposure, readout and transfer; or their arrival here, where a command writes them or a driver's stamps are of
    /// no use. They go out as they are: who compares them with other times, of sound for example, knows by this what lies
    /// between. `None` before the first picture, for sound, for the test pattern, for what user code writes, and where the
    /// camera's owner is of a program that did not tell it.
    pub fn stamped(&self) -> Option<Stamped> {
        self.track.state.borrow().stamped
    }

    /// Takes it out of the room and lets the device go.
    pub async fn unpublish(self) -> Result<(), Error> {
        self.track.request(Request::Unpublish(self.track.id.clone())).await
    }
}

/// A video track fed with the user's own H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoOptions {
    /// Name shown to others.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second at most.
    pub fps: u32,
    /// Bit/s at most.
    pub bitrate: u32,
    /// What it shows.
    pub source: Source,
}

impl VideoOptions {
    /// What the level of its stream follows from.
    pub(super) fn rate(&self) -> Rate {
        Rate { milli_fps: self.fps.saturating_mul(1000), bitrate: self.bitrate }
    }

    pub(super) fn into_track(self) -> LocalTrack {
        LocalTrack {
            id: TrackId(String::new()),
            name: self.name,
            kind: Kind::Video,
            source: self.source,
            width: self.width,
            height: self.height,
            sound: Sound::default(),
            bitrate: self.bitrate,
            muted: false,
            rests: false,
        }
    }
}

/// An audio track fed with the user's own Opus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioOptions {
    /// Name shown to others.
    pub name: String,
    /// Bit/s.
    pub bitrate: u32,
    /// What it is.
    pub source: Source,
    /// Its Opus is of two channels: receivers play one otherwise.
    pub stereo: bool,
}

impl AudioOptions {
    pub(super) fn into_track(self) -> LocalTrack {
        LocalTrack {
            id: TrackId(String::new()),
            name: self.name,
            kind: Kind::Audio,
            source: self.source,
            width: 0,
            height: 0,
            // What its writer may do.
            sound: Sound { stereo: self.stereo, dtx: true, fec: true, packet_ms: None },
            bitrate: self.bitrate,
            muted: false,
            rests: false,
        }
    }
}

/// Writes access units; dropping it unpublishes the track.
#[derive(Debug)]
pub struct VideoWriter {
    track: Track,
    sets: ParameterSets,
    /// Requests that [`VideoWriter::keyframe_wanted`] has reported.
    keyframes: u64,
}

impl VideoWriter {
    pub(super) fn new(track: TrackWatch, rate: Rate, requests: mpsc::Sender<Request>) -> Self {
        Self { track: Track::new(track, requests), sets: ParameterSets::new(rate), keyframes: 0 }
    }

    /// Sends one access unit (constrained baseline, Annex B, SPS and PPS at the start at least). As those of cameras, its
    /// parameter sets are repeated before each IDR picture, and say that no picture is held back and the level that the
    /// options need. Frames are dropped while the track is muted or the room is not connected. Waits when the driver is
    /// behind. Fails once the server has ended the track.
    pub async fn write(&mut self, access_unit: Vec<u8>, captured: Instant) -> Result<(), Error> {
        let track = self.track.id.clone();
        let finished = self.sets.finish(&access_unit).data;
        // Most hold no parameter sets, and are not copied.
        let data = if std::ptr::eq(finished, &*access_unit) { access_unit } else { finished.to_vec() };
        self.track.write(OwnFrame { track, data, captured, samples: 0, level: 0 }).await
    }

    /// Whether a receiver asked for a keyframe since the last call: make the next access unit one.
    pub fn keyframe_wanted(&mut self) -> bool {
        let asked = self.track.state.borrow().keyframes;
        std::mem::replace(&mut self.keyframes, asked) != asked
    }

    /// Whether anybody watches; true until the server has said otherwise. What is written is sent all the same: whoever
    /// pays for pictures may stop to make them, and goes on with a keyframe.
    pub fn wanted(&self) -> bool {
        self.track.state.borrow().wanted
    }

    /// Bit/s that the network carries now; encode to no more.
    pub fn bitrate(&self) -> u32 {
        self.track.state.borrow().bitrate
    }

    /// Waits until the server has published it.
    pub async fn published(&mut self) -> Result<TrackSid, Error> {
        self.track.published().await
    }

    /// Mutes or unmutes it.
    pub async fn set_muted(&self, muted: bool) -> Result<(), Error> {
        self.track.request(Request::Mute(self.track.id.clone(), muted)).await
    }
}

/// Writes Opus packets; dropping it unpublishes the track.
#[derive(Debug)]
pub struct AudioWriter {
    track: Track,
}

impl AudioWriter {
    pub(super) fn new(track: TrackWatch, requests: mpsc::Sender<Request>) -> Self {
        Self { track: Track::new(track, requests) }
    }

    /// Sends one Opus packet. `samples` is its position at 48 kHz on the writer's own count; `level` its loudness in
    /// -dBov (0 loudest, 127 silence). Packets are dropped while the track is muted or the room is not connected. Waits when the driver is behind. Fails once the server has ended the track.
    pub async fn write(&self, packet: Vec<u8>, captured: Instant, samples: u64, level: u8) -> Result<(), Error> {
        if packet.len() > MAX_OPUS {
            return Err(Error::TooLarge { size: packet.len(), limit: MAX_OPUS });
        }
        let track = self.track.id.clone();
        self.track.write(OwnFrame { track, data: packet, captured, samples, level }).await
    }

    /// Waits until the server has published it.
    pub async fn published(&mut self) -> Result<TrackSid, Error> {
        self.track.published().await
    }

    /// Mutes or unmutes it.
    pub async fn set_muted(&self, muted: bool) -> Result<(), Error> {
        self.track.request(Request::Mute(self.track.id.clone(), muted)).await
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        unpublish(&self.track);
    }
}

impl Drop for AudioWriter {
    fn drop(&mut self) {
        unpublish(&self.track);
    }
}

/// When the queue is full the driver finds out by itself: at each ping it unpublishes tracks whose writer is gone.
fn unpublish(track: &Track) {
    let _ = track.requests.try_send(Request::Unpublish(track.id.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::room::rtp::h264::nals;

    /// Constrained baseline, 1280x720, which says nothing of the order of pictures; and as it must go out.
    const SPS: [u8; 11] = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdc, 0x80];
    const FIT: [u8; 15] = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x00, 0xda, 0x08, 0x04, 0x2a];
    const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

    #[tokio::test]
    async fn what_a_user_writes_goes_out_with_parameter_sets_for_real_time_before_each_keyframe() {
        let (_state, watched) = watch::channel(TrackState::default());
        let (requests, mut asked) = mpsc::channel(4);
        let rate = Rate { milli_fps: 30_000, bitrate: 2_000_000 };
        let mut writer = VideoWriter::new((TrackId("drawing-0".into()), watched), rate, requests);
        let (slice, idr) = (&[0x41, 1, 2, 3][..], &[0x65, 4, 5, 6][..]);
        let written: [&[&[u8]]; 3] = [&[&SPS, &PPS, idr], &[slice], &[idr]];
        let sent: [&[&[u8]]; 3] = [&[&FIT, &PPS, idr], &[slice], &[&FIT, &PPS, idr]];
        for (written, sent) in written.into_iter().zip(sent) {
            let unit = written.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
            writer.write(unit, Instant::now()).await.expect("published");
            let Ok(Request::Write(frame)) = asked.try_recv() else { panic!("nothing was sent") };
            assert_eq!(nals(&frame.data).map(|nal| nal.0).collect::<Vec<_>>(), sent);
        }
    }

    #[tokio::test]
    async fn a_writer_learns_that_the_server_ended_its_track_and_what_no_packet_can_hold() {
        let (sender, state) = watch::channel(TrackState::default());
        let (requests, mut asked) = mpsc::channel(4);
        let writer = AudioWriter::new((TrackId("hum-0".into()), state), requests);
        let write = |size| writer.write(vec![0; size], Instant::now(), 0, 127);
        assert_eq!(write(3).await, Ok(()));
        assert!(matches!(asked.try_recv(), Ok(Request::Write(_))));
        assert_eq!(write(1276).await, Err(Error::TooLarge { size: 1276, limit: 1275 }));
        sender.send_modify(|state| state.ended = Some("not allowed".into()));
        drop(sender);
        let error = write(3).await.expect_err("ended");
        assert_eq!(error.to_string(), r#"track "hum-0": not allowed"#);
        assert!(asked.try_recv().is_err());
    }

    #[test]
    fn own_sound_is_announced_with_the_channels_that_it_has() {
        for stereo in [false, true] {
            let options = AudioOptions { name: "hum".into(), bitrate: 64_000, source: Source::Microphone, stereo };
            assert_eq!(options.into_track().sound.stereo, stereo);
        }
    }
}
