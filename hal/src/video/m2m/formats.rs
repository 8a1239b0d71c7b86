//! What goes in and what comes out: agreed with the driver before there are buffers.

use super::error::{Error, Place};
use super::session::Order;
use super::{Codec, Settings};
use crate::video::sys::{self, Format, Fraction, PlaneFormat, Queue, Selection, fourcc};
use crate::video::{Capture, Handle};

/// `V4L2_SEL_TGT_CROP`
const CROP: u32 = 0;

/// The driver's name of a coded format.
pub(super) fn code(codec: Codec) -> u32 {
    match codec {
        Codec::H264 => fourcc(b"H264"),
        Codec::Fwht => fourcc(b"FWHT"),
    }
}

/// Coded side first, as it decides what the other one may be.
pub(super) fn set_formats(
    handle: &Handle,
    place: Place<'_>,
    order: &Order,
    camera: Option<&Capture>,
) -> Result<Format, Error> {
    let (input, output) = order.queues;
    let Settings { width, height, milli_fps, .. } = order.settings;
    let failed = |call| move |source| place.failed(call, source);
    let mut coded = Format { width, height, pixelformat: code(order.codec), ..Format::of(output) };
    handle.ioctl(&sys::S_FMT, &mut coded).map_err(failed(sys::S_FMT.name))?;
    let mut set = Format { width, height, pixelformat: order.code, field: sys::FIELD_NONE, ..Format::of(input) };
    // Lines as long as the camera's, so that its buffers can be taken as they are.
    let strides = camera.into_iter().flat_map(Capture::strides);
    for (plane, stride) in set.planes.iter_mut().zip(strides) {
        *plane = PlaneFormat { stride, size: 0 };
    }
    handle.ioctl(&sys::S_FMT, &mut set).map_err(failed(sys::S_FMT.name))?;
    if coded.pixelformat != code(order.codec)
        || set.pixelformat != order.code
        || set.width < width
        || set.height < height
    {
        return Err(Error::Refused { path: place.path.to_owned(), format: order.input, width, height });
    }
    if (set.width, set.height) != (width, height) {
        // Whole macroblocks: what is beyond the picture is not to be shown.
        let mut crop = Selection { kind: Queue::Output.kind(), target: CROP, width, height, ..Default::default() };
        let _ = handle.ioctl(&sys::S_SELECTION, &mut crop);
    }
    let mut parameters = sys::StreamParameters::of(input);
    parameters.time_per_frame = Fraction { numerator: 1000, denominator: milli_fps.max(1) };
    // Without it, rates are those of the driver's own idea of time.
    let _ = handle.ioctl(&sys::S_PARM, &mut parameters);
    Ok(set)
}
