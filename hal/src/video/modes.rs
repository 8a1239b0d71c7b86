//! What a node offers.

use super::sys::{self, Fraction, FrameInterval, FrameSize, Queue, SizeSteps, fourcc};
use super::{Handle, Mode, PixelFormat};

/// [`PixelFormat`]s, for messages.
pub(super) const TAKEN: &str = "YUYV, UYVY, NV12, NV16, YU12, MJPEG, H264";

/// Bounds each enumeration against drivers that never say "no more"; real cameras offer fewer.
const MAX_ENTRIES: u32 = 128;

/// Bounds the product of enumerations: each entry is a system call, and on UVC may be a USB transfer.
const MAX_MODES: usize = 2048;

/// Sizes tried where a driver takes any.
const COMMON_SIZES: [(u32, u32); 6] = [(320, 240), (640, 360), (640, 480), (1280, 720), (1280, 960), (1920, 1080)];

/// Rate assumed where a driver has no way to tell.
const ASSUMED_MILLI_FPS: u32 = 30_000;

/// A mode and the driver's own name for its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub mode: Mode,
    pub fourcc: u32,
}

/// Formats that we can take, as the driver names them. `NM12`, `NM16` and `YM12` are the forms whose planes each have
/// memory of their own.
pub(super) fn format_of(code: u32) -> Option<PixelFormat> {
    const NAMES: [(u32, PixelFormat); 11] = [
        (fourcc(b"YUYV"), PixelFormat::Yuyv),
        (fourcc(b"UYVY"), PixelFormat::Uyvy),
        (fourcc(b"NV12"), PixelFormat::Nv12),
        (fourcc(b"NM12"), PixelFormat::Nv12),
        (fourcc(b"NV16"), PixelFormat::Nv16),
        (fourcc(b"NM16"), PixelFormat::Nv16),
        (fourcc(b"YU12"), PixelFormat::Yu12),
        (fourcc(b"YM12"), PixelFormat::Yu12),
        (fourcc(b"MJPG"), PixelFormat::Mjpeg),
        (fourcc(b"JPEG"), PixelFormat::Mjpeg),
        (fourcc(b"H264"), PixelFormat::H264),
    ];
    NAMES.iter().find(|(name, _)| *name == code).map(|(_, format)| *format)
}

/// Asks for everything that a node offers; `wanted` is tried too where the driver takes any size.
pub(super) fn offers(handle: &Handle, queue: Queue, wanted: Option<(u32, u32)>) -> Vec<Offer> {
    let mut offers = Vec::new();
    for index in 0..MAX_ENTRIES {
        let mut entry = sys::FormatDescription { index, kind: queue.kind(), ..Default::default() };
        if handle.ioctl(&sys::ENUM_FMT, &mut entry).is_err() {
            break;
        }
        let Some(format) = format_of(entry.pixelformat) else { continue };
        for (width, height) in sizes(handle, entry.pixelformat, wanted) {
            for milli_fps in rates(handle, queue, entry.pixelformat, width, height) {
                if offers.len() == MAX_MODES {
                    return offers;
                }
                offers.push(Offer { mode: Mode { format, width, height, milli_fps }, fourcc: entry.pixelformat });
            }
        }
    }
    offers
}

fn sizes(handle: &Handle, pixelformat: u32, wanted: Option<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut sizes = Vec::new();
    for index in 0..MAX_ENTRIES {
        let mut entry = FrameSize { index, pixelformat, ..Default::default() };
        if handle.ioctl(&sys::ENUM_FRAMESIZES, &mut entry).is_err() {
            break;
        }
        match entry.kind {
            sys::FRAME_DISCRETE => sizes.push((entry.stepwise.min_width, entry.stepwise.max_width)),
            _ => return within(&entry.stepwise, wanted),
        }
    }
    sizes
}

/// Common and wanted sizes that a range holds, and its largest.
fn within(steps: &SizeSteps, wanted: Option<(u32, u32)>) -> Vec<(u32, u32)> {
    let fits = |value: u32, min: u32, max: u32, step: u32| {
        (min..=max).contains(&value) && (value - min).is_multiple_of(step.max(1))
    };
    let mut sizes: Vec<_> = COMMON_SIZES
        .into_iter()
        .chain(wanted)
        .filter(|(width, height)| {
            fits(*width, steps.min_width, steps.max_width, steps.step_width)
                && fits(*height, steps.min_height, steps.max_height, steps.step_height)
        })
        .chain([(steps.max_width, steps.max_height)])
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn rates(handle: &Handle, queue: Queue, pixelformat: u32, width: u32, height: u32) -> Vec<u32> {
    let mut rates = Vec::new();
    for index in 0..MAX_ENTRIES {
        let mut entry = FrameInterval { index, pixelformat, width, height, ..Default::default() };
        if handle.ioctl(&sys::ENUM_FRAMEINTERVALS, &mut entry).is_err() {
            break;
        }
        rates.extend(milli_fps(entry.min));
        if entry.kind != sys::FRAME_DISCRETE {
            // A range: its fastest is `min`; the usual one beside it is enough.
            let usual = ASSUMED_MILLI_FPS;
            let slowest = milli_fps(entry.max).unwrap_or(0);
            rates.extend((slowest < usual && rates.iter().all(|fastest| usual < *fastest)).then_some(usual));
            return rates;
        }
    }
    if rates.is_empty() {
        rates.push(current_rate(handle, queue).unwrap_or(ASSUMED_MILLI_FPS));
    }
    rates
}

fn current_rate(handle: &Handle, queue: Queue) -> Option<u32> {
    let mut parameters = sys::StreamParameters::of(queue);
    handle.ioctl(&sys::G_PARM, &mut parameters).ok()?;
    milli_fps(parameters.time_per_frame)
}

/// The rate of an interval, if it is one.
pub(super) fn milli_fps(interval: Fraction) -> Option<u32> {
    let rate = (u64::from(interval.denominator) * 1000).checked_div(u64::from(interval.numerator))?;
    u32::try_from(rate).ok().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_sizes_gives_what_fits_its_steps_and_its_largest() {
        let steps = SizeSteps {
            min_width: 320,
            max_width: 1000,
            step_width: 16,
            min_height: 240,
            max_height: 700,
            step_height: 8,
        };
        assert_eq!(within(&steps, Some((400, 304))), [(320, 240), (400, 304), (640, 360), (640, 480), (1000, 700)]);
        assert_eq!(within(&steps, Some((401, 304))), [(320, 240), (640, 360), (640, 480), (1000, 700)]);
        let any = SizeSteps { max_width: 200, max_height: 200, ..Default::default() };
        assert_eq!(within(&any, None), [(200, 200)]);
    }

    #[test]
    fn intervals_become_rates_and_nonsense_none() {
        let rate = |numerator, denominator| milli_fps(Fraction { numerator, denominator });
        assert_eq!(rate(1, 30), Some(30_000));
        assert_eq!(rate(1001, 30_000), Some(29_970));
        assert_eq!(rate(0, 30), None);
        assert_eq!(rate(1, 0), None);
        assert_eq!(rate(1, u32::MAX), None);
    }
}
