//! H.264 in software by openh264: constrained baseline, one slice, keyframes only on request.

use super::I420;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Level, Profile, RateControlMode,
    SpsPpsStrategy, UsageType,
};
use openh264::{Timestamp, encoder};
use protocol::room::rtp::h264::{Load, smallest_level};

/// Bits of the worst access unit that the encoder may make, per pixel: a keyframe of noise at its finest quantiser.
/// Sizes the ring; typical keyframes are a tenth of it.
const WORST_KEYFRAME_BITS_PER_PIXEL: usize = 3;

/// `profile_idc` of constrained baseline.
const BASELINE: u8 = 66;

/// What to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Frames a second times 1000.
    pub milli_fps: u32,
    /// The most that [`Encoder::set_bitrate`] may ever ask for, bit/s.
    pub ceiling: u32,
    /// To start with, bit/s.
    pub bitrate: u32,
}

impl Settings {
    /// Bytes of the largest access unit that is to be expected.
    pub fn largest_unit(&self) -> usize {
        self.width as usize * self.height as usize * WORST_KEYFRAME_BITS_PER_PIXEL / 8
    }
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// Starts anew: SPS, PPS, IDR.
    Key,
    /// Needs what came before.
    Delta,
    /// Left out by the rate control.
    Skipped,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// openh264 refused the settings.
    #[error("openh264: {width}x{height}: {source}")]
    Create {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Why.
        source: openh264::Error,
    },
    /// openh264 failed on a picture.
    #[error("openh264: encode: {0}")]
    Encode(openh264::Error),
    /// openh264 refused a bitrate.
    #[error("openh264: bitrate {bps}: code {code}")]
    Bitrate {
        /// bit/s
        bps: u32,
        /// openh264's result.
        code: i32,
    },
}

/// An encoder of one size; the first unit is a keyframe.
pub struct Encoder {
    inner: encoder::Encoder,
    settings: Settings,
    /// openh264 exists only after its first picture; before, neither keys nor rates can be asked for.
    started: bool,
    applied: u32,
    first_ns: Option<u64>,
}

impl Encoder {
    /// Makes the encoder; openh264's own memory comes with the first picture.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(settings.bitrate))
            .max_frame_rate(FrameRate::from_hz(settings.milli_fps as f32 / 1000.0))
            .usage_type(UsageType::CameraVideoRealTime)
            .rate_control_mode(RateControlMode::Bitrate)
            // Without it, openh264 exceeds its rate whenever the coarsest quantiser is not coarse enough.
            .skip_frames(true)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .profile(Profile::Baseline)
            .level(level(&settings))
            .complexity(Complexity::Low)
            // Keyframes only when a reader needs one: each costs as much as twenty other frames.
            .intra_frame_period(IntraFramePeriod::auto())
            .scene_change_detect(false)
            .background_detection(false)
            .adaptive_quantization(false)
            // One slice, so that more threads would find nothing to do.
            .num_threads(1);
        let inner = encoder::Encoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|source| Error::Create { width: settings.width, height: settings.height, source })?;
        Ok(Self { inner, settings, started: false, applied: settings.bitrate, first_ns: None })
    }

    /// Bit/s from the next picture on. No keyframe, no restart.
    pub fn set_bitrate(&mut self, bps: u32) -> Result<(), Error> {
        self.settings.bitrate = bps.clamp(1, self.settings.ceiling);
        if self.started && self.applied != self.settings.bitrate {
            self.apply()?;
        }
        Ok(())
    }

    /// Encodes into `unit` (cleared first): Annex B, 4-byte start codes. `key` forces a keyframe.
    pub fn encode(&mut self, picture: &I420, captured_ns: u64, key: bool, unit: &mut Vec<u8>) -> Result<Coded, Error> {
        unit.clear();
        if key && self.started {
            self.inner.force_intra_frame();
        }
        let first_ns = *self.first_ns.get_or_insert(captured_ns);
        let at = Timestamp::from_millis(captured_ns.saturating_sub(first_ns) / 1_000_000);
        let stream = self.inner.encode_at(picture, at).map_err(Error::Encode)?;
        stream.write_vec(unit);
        let coded = match stream.frame_type() {
            FrameType::IDR => Coded::Key,
            _ if unit.is_empty() => Coded::Skipped,
            _ => Coded::Delta,
        };
        if !self.started {
            self.started = true;
            self.apply()?;
        }
        Ok(coded)
    }

    fn apply(&mut self) -> Result<(), Error> {
        let bps = self.settings.bitrate;
        hal::codec::set_bitrate(&mut self.inner, bps, self.settings.ceiling)
            .map_err(|code| Error::Bitrate { bps, code })?;
        self.applied = bps;
        Ok(())
    }
}

/// The smallest level that covers size, rate and bits.
fn level(settings: &Settings) -> Level {
    let load = Load::of(settings.width, settings.height, settings.milli_fps, settings.ceiling);
    match smallest_level(BASELINE, load, 0) {
        10 => Level::Level_1_0,
        11 => Level::Level_1_1,
        12 => Level::Level_1_2,
        13 => Level::Level_1_3,
        20 => Level::Level_2_0,
        21 => Level::Level_2_1,
        22 => Level::Level_2_2,
        30 => Level::Level_3_0,
        31 => Level::Level_3_1,
        32 => Level::Level_3_2,
        40 => Level::Level_4_0,
        41 => Level::Level_4_1,
        42 => Level::Level_4_2,
        50 => Level::Level_5_0,
        51 => Level::Level_5_1,
        // openh264 knows none above.
        _ => Level::Level_5_2,
    }
}

#[cfg(test)]
mod tests;
