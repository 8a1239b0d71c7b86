//! An encoder's controls, each where the driver has it.

use super::quirks::{self, Quirk};
use crate::video::Handle;
use crate::video::sys::{self, Control, ControlDescription, Controls, MenuItem};
use std::io;

/// `V4L2_CID_CODEC_BASE`
const CODEC: u32 = 0x0099_0900;
const B_FRAMES: u32 = CODEC + 202;
const GOP_SIZE: u32 = CODEC + 203;
const BITRATE_MODE: u32 = CODEC + 206;
const BITRATE: u32 = CODEC + 207;
const FRAME_RC_ENABLE: u32 = CODEC + 215;
const HEADER_MODE: u32 = CODEC + 216;
const REPEAT_SEQ_HEADER: u32 = CODEC + 226;
const FORCE_KEY_FRAME: u32 = CODEC + 229;
const H264_I_PERIOD: u32 = CODEC + 358;
const H264_LEVEL: u32 = CODEC + 359;
const H264_PROFILE: u32 = CODEC + 363;
const PREPEND_SPSPPS_TO_IDR: u32 = CODEC + 644;
const MIN_BUFFERS_FOR_CAPTURE: u32 = 0x0098_0927;
const MIN_BUFFERS_FOR_OUTPUT: u32 = 0x0098_0928;

/// `V4L2_MPEG_VIDEO_BITRATE_MODE_VBR`
const VARIABLE: i64 = 0;
/// `V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME`
const JOINED: i64 = 1;
/// Constrained baseline, baseline, main: what every receiver decodes comes first. None has pictures that are out of order.
const PROFILES: [i64; 3] = [1, 0, 2];
/// Pictures from one keyframe to the next that nobody asked for: 20 minutes at 30 a second. Each costs as much as twenty
/// others.
const LONG_GOP: i64 = 36_000;

/// `level_idc` in the order of the menu; its level 1b is left to 1.1.
const LEVELS: [(i64, u8); 19] = [
    (0, 10),
    (2, 11),
    (3, 12),
    (4, 13),
    (5, 20),
    (6, 21),
    (7, 22),
    (8, 30),
    (9, 31),
    (10, 32),
    (11, 40),
    (12, 41),
    (13, 42),
    (14, 50),
    (15, 51),
    (16, 52),
    (17, 60),
    (18, 61),
    (19, 62),
];

/// Sets what a live stream needs and no receiver is hurt by. What the driver lacks or refuses stays as it is.
pub(super) fn prepare(handle: &Handle, driver: &str) {
    set(handle, FRAME_RC_ENABLE, 1);
    set(handle, B_FRAMES, 0);
    set(handle, H264_I_PERIOD, LONG_GOP);
    set(handle, GOP_SIZE, LONG_GOP);
    set(handle, REPEAT_SEQ_HEADER, 1);
    set(handle, PREPEND_SPSPPS_TO_IDR, 1);
    for quirk in quirks::of(driver) {
        match quirk {
            Quirk::VariableRate => drop(set(handle, BITRATE_MODE, VARIABLE)),
            Quirk::JoinHeaders => drop(set(handle, HEADER_MODE, JOINED)),
            Quirk::AtMost(_) | Quirk::HeadersApart | Quirk::CodedBuffers(_) => {}
            Quirk::Refusal(_) | Quirk::Stall(_) | Quirk::None => {}
        }
    }
    if let Some(profile) = PROFILES.into_iter().find(|profile| offers(handle, H264_PROFILE, *profile)) {
        set(handle, H264_PROFILE, profile);
    }
}

/// Sets the smallest level that the driver has from `level_idc` on; the highest that it has where that is too low.
pub(super) fn set_level(handle: &Handle, level_idc: u8) -> Result<(), u8> {
    if describe(handle, H264_LEVEL).is_none() {
        return Ok(());
    }
    let offered: Vec<_> = LEVELS.into_iter().filter(|(item, _)| offers(handle, H264_LEVEL, *item)).collect();
    match offered.iter().find(|(_, idc)| *idc >= level_idc) {
        Some((item, _)) => {
            set(handle, H264_LEVEL, *item);
            Ok(())
        }
        None => offered.last().map_or(Ok(()), |(_, idc)| Err(*idc)),
    }
}

/// Asks for a rate; what it comes to in the driver's steps, or nothing where it has no rate.
pub(in crate::video) fn set_bitrate(handle: &Handle, bps: u32) -> io::Result<()> {
    match describe(handle, BITRATE) {
        Some(about) => put(handle, BITRATE, nearest(&about, bps.into())),
        None => Ok(()),
    }
}

/// Whether two rates are one in the driver's steps.
pub(super) fn same_bitrate(handle: &Handle, one: u32, other: u32) -> bool {
    let about = describe(handle, BITRATE);
    about.is_none_or(|about| nearest(&about, one.into()) == nearest(&about, other.into()))
}

/// Whether keyframes can be forced.
pub(super) fn forces_keys(handle: &Handle) -> bool {
    describe(handle, FORCE_KEY_FRAME).is_some()
}

/// Makes the next picture a keyframe.
pub(super) fn force_key(handle: &Handle) -> io::Result<()> {
    put(handle, FORCE_KEY_FRAME, 1)
}

/// Buffers that the driver needs: coded ones, pictures.
pub(super) fn least_buffers(handle: &Handle) -> (u32, u32) {
    let get = |id| {
        let mut controls = Controls { list: vec![Control::new(id, 0)], failed: 0 };
        handle.ioctl(&sys::G_EXT_CTRLS, &mut controls).ok()?;
        u32::try_from(controls.list.first()?.value).ok()
    };
    (get(MIN_BUFFERS_FOR_CAPTURE).unwrap_or(0), get(MIN_BUFFERS_FOR_OUTPUT).unwrap_or(0))
}

/// The nearest value that the driver takes; nothing where it has no such control or refuses.
fn set(handle: &Handle, id: u32, value: i64) -> Option<()> {
    let about = describe(handle, id)?;
    put(handle, id, nearest(&about, value)).ok()
}

fn nearest(about: &ControlDescription, value: i64) -> i64 {
    let step = i64::try_from(about.step).unwrap_or(1).max(1);
    let within = value.clamp(about.minimum, about.maximum.max(about.minimum));
    within - (within - about.minimum) % step
}

fn put(handle: &Handle, id: u32, value: i64) -> io::Result<()> {
    let mut controls = Controls { list: vec![Control { id, value, wide: false }], failed: 0 };
    handle.ioctl(&sys::S_EXT_CTRLS, &mut controls)
}

fn describe(handle: &Handle, id: u32) -> Option<ControlDescription> {
    let mut about = ControlDescription { id, ..Default::default() };
    handle.ioctl(&sys::QUERY_EXT_CTRL, &mut about).ok()?;
    (about.flags & (sys::CTRL_FLAG_DISABLED | sys::CTRL_FLAG_READ_ONLY) == 0).then_some(about)
}

fn offers(handle: &Handle, id: u32, item: i64) -> bool {
    let Ok(index) = u32::try_from(item) else { return false };
    handle.ioctl(&sys::QUERYMENU, &mut MenuItem { id, index, ..Default::default() }).is_ok()
}
