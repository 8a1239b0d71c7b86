//! What a codec offers only through raw pointers.

use openh264::encoder::Encoder;
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_BITRATE, ENCODER_OPTION_MAX_BITRATE, SBitrateInfo, SPATIAL_LAYER_0,
};
use std::os::raw::c_int;

/// Changes the rate of an encoder that has encoded at least one picture; openh264's code where it refuses.
/// Neither restarts the encoder nor makes a keyframe.
pub fn set_bitrate(encoder: &mut Encoder, bps: u32, ceiling: u32) -> Result<(), i32> {
    // The order matters: openh264 refuses a rate above the ceiling it knows. Both are set on the one layer there is,
    // because a ceiling for all layers is stored and never looked at.
    set(encoder, ENCODER_OPTION_MAX_BITRATE, ceiling)?;
    set(encoder, ENCODER_OPTION_BITRATE, bps)
}

fn set(encoder: &mut Encoder, option: ENCODER_OPTION, bps: u32) -> Result<(), i32> {
    let rate = c_int::try_from(bps).unwrap_or(c_int::MAX);
    let mut info = SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: rate };
    // SAFETY: both options read one SBitrateInfo during the call and keep no pointer to it; rates are none of the
    // parameters that the safe wrapper relies on. Needed because the wrapper has no call of its own for a running encoder.
    let code = unsafe { encoder.raw_api().set_option(option, (&raw mut info).cast()) };
    if code == 0 { Ok(()) } else { Err(code) }
}
