//! What a node offers, and which of it to take.

use super::sys::{self, Fraction, FrameInterval, FrameSize, Queue, SizeSteps, fourcc};
use super::{Handle, Mode, PixelFormat};

/// What a camera is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Only this format; any for `None`.
    pub format: Option<PixelFormat>,
    /// Whether the camera may encode.
    pub encoded: Encoded,
}

/// Whether a camera's own H.264 is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoded {
    /// Pictures only.
    #[default]
    Never,
    /// H.264 where the camera gives it in the wanted size and at least at the wanted rate, else pictures.
    Preferred,
    /// H.264 only, in the nearest size.
    Only,
}

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

/// The nearest offer to what is wanted.
pub(super) fn choose(offers: &[Offer], wanted: &Wanted) -> Option<Offer> {
    let milli_fps = wanted.fps.saturating_mul(1000);
    let usable = |encoded: bool| {
        let nonempty = |offer: &&Offer| offer.mode.width > 0 && offer.mode.height > 0;
        let of_format = |offer: &&Offer| wanted.format.is_none_or(|format| offer.mode.format == format);
        offers
            .iter()
            .filter(nonempty)
            .filter(of_format)
            .filter(move |offer| (offer.mode.format == PixelFormat::H264) == encoded)
    };
    let nearest = |encoded: bool| {
        let far = |offer: &Offer| distance(offer.mode, wanted.width, wanted.height, milli_fps);
        usable(encoded).min_by(|a, b| far(a).total_cmp(&far(b))).copied()
    };
    let as_wanted = |offer: &Offer| {
        let mode = offer.mode;
        (mode.width, mode.height) == (wanted.width, wanted.height) && mode.milli_fps >= milli_fps
    };
    match wanted.encoded {
        Encoded::Never => nearest(false),
        Encoded::Preferred => nearest(true).filter(as_wanted).or_else(|| nearest(false)),
        Encoded::Only => nearest(true),
    }
}

/// Keeps what takes three quarters of `refused` at most on the bus: what takes nearly as much finds no room either, as a bus
/// gives it in steps.
pub(super) fn keep_lighter(offers: &mut Vec<Offer>, refused: Mode) {
    let most = load(refused) / 4 * 3;
    offers.retain(|offer| load(offer.mode) <= most);
}

/// Bit/s on the bus, about: a camera reserves what it might need, of compressed pictures several times what they are.
fn load(mode: Mode) -> u64 {
    let bits = match mode.format {
        PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Nv16 => 16,
        PixelFormat::Nv12 | PixelFormat::Yu12 => 12,
        PixelFormat::Mjpeg => 4,
        PixelFormat::H264 => 1,
    };
    (u64::from(mode.width) * u64::from(mode.height)).saturating_mul(u64::from(mode.milli_fps) * bits) / 1000
}

/// How far a mode is from the wanted one, in doublings. Too slow weighs more than too small, and too large more than too
/// small, as each pixel costs encoder time. Of equal modes the one that needs the least work to encode wins, so MJPEG is
/// taken only where raw is slower or smaller, which on USB 2 is above 640x480.
fn distance(mode: Mode, width: u32, height: u32, milli_fps: u32) -> f64 {
    const TOO_SLOW: f64 = 2.0;
    const TOO_FAST: f64 = 0.25;
    const TOO_SMALL: f64 = 1.0;
    const TOO_LARGE: f64 = 1.25;
    let doublings = |value: u32, wanted: u32, below: f64, above: f64| {
        let octaves = (f64::from(value.max(1)) / f64::from(wanted.max(1))).log2();
        if octaves < 0.0 { -octaves * below } else { octaves * above }
    };
    let work = match mode.format {
        PixelFormat::Nv12 | PixelFormat::Yu12 | PixelFormat::H264 => 0.0,
        PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Nv16 => 0.01,
        PixelFormat::Mjpeg => 0.02,
    };
    doublings(mode.width, width, TOO_SMALL, TOO_LARGE)
        + doublings(mode.height, height, TOO_SMALL, TOO_LARGE)
        + doublings(mode.milli_fps, milli_fps, TOO_SLOW, TOO_FAST)
        + work
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(modes: &[(PixelFormat, u32, u32, u32)]) -> Vec<Offer> {
        let mode = |(format, width, height, fps): &(_, _, _, u32)| Mode {
            format: *format,
            width: *width,
            height: *height,
            milli_fps: fps * 1000,
        };
        modes.iter().map(|m| Offer { mode: mode(m), fourcc: 0 }).collect()
    }

    fn chosen(
        modes: &[(PixelFormat, u32, u32, u32)],
        width: u32,
        height: u32,
        fps: u32,
    ) -> (PixelFormat, u32, u32, u32) {
        let Mode { format, width, height, milli_fps } =
            choose(&offers(modes), &pictures(width, height, fps)).unwrap().mode;
        (format, width, height, milli_fps / 1000)
    }

    use PixelFormat::{H264, Mjpeg, Nv12, Yuyv};

    fn pictures(width: u32, height: u32, fps: u32) -> Wanted {
        Wanted { width, height, fps, format: None, encoded: Encoded::Never }
    }

    const USB_2_CAMERA: [(PixelFormat, u32, u32, u32); 8] = [
        (Mjpeg, 1920, 1080, 30),
        (Mjpeg, 1280, 720, 30),
        (Mjpeg, 640, 480, 30),
        (Mjpeg, 640, 360, 30),
        (Yuyv, 1920, 1080, 5),
        (Yuyv, 1280, 720, 10),
        (Yuyv, 640, 480, 30),
        (Yuyv, 640, 360, 30),
    ];

    #[test]
    fn raw_is_taken_where_it_is_fast_enough_and_mjpeg_where_it_is_not() {
        assert_eq!(chosen(&USB_2_CAMERA, 640, 360, 30), (Yuyv, 640, 360, 30));
        assert_eq!(chosen(&USB_2_CAMERA, 1280, 720, 30), (Mjpeg, 1280, 720, 30));
        assert_eq!(chosen(&USB_2_CAMERA, 1280, 720, 10), (Yuyv, 1280, 720, 10));
    }

    #[test]
    fn a_format_that_is_asked_for_is_taken_or_none() {
        let camera = offers(&USB_2_CAMERA);
        let only = |format| Wanted { format: Some(format), ..pictures(1280, 720, 30) };
        let chosen = choose(&camera, &only(Yuyv)).unwrap().mode;
        assert_eq!((chosen.format, chosen.width), (Yuyv, 640));
        assert_eq!(choose(&camera, &only(Nv12)), None);
    }

    #[test]
    fn a_size_that_is_not_offered_gives_the_nearest_one() {
        assert_eq!(chosen(&USB_2_CAMERA, 848, 480, 30), (Yuyv, 640, 480, 30));
        assert_eq!(chosen(&USB_2_CAMERA, 1024, 576, 30), (Mjpeg, 1280, 720, 30));
        assert_eq!(chosen(&USB_2_CAMERA, 3840, 2160, 30), (Mjpeg, 1920, 1080, 30));
    }

    #[test]
    fn a_smaller_picture_is_better_than_a_slide_show() {
        let modes = [(Yuyv, 1280, 720, 5), (Yuyv, 640, 480, 30)];
        assert_eq!(chosen(&modes, 1280, 720, 30), (Yuyv, 640, 480, 30));
    }

    #[test]
    fn the_wanted_rate_is_better_than_a_faster_one() {
        let modes = [(Nv12, 1280, 720, 60), (Nv12, 1280, 720, 30), (Nv12, 1280, 720, 15)];
        assert_eq!(chosen(&modes, 1280, 720, 30), (Nv12, 1280, 720, 30));
        assert_eq!(chosen(&modes, 1280, 720, 20), (Nv12, 1280, 720, 30));
    }

    #[test]
    fn nothing_is_chosen_from_nothing_and_odd_wishes_do_no_harm() {
        assert_eq!(choose(&[], &pictures(640, 480, 30)), None);
        assert_eq!(choose(&offers(&[(Nv12, 0, 0, 30)]), &pictures(640, 480, 30)), None);
        assert!(choose(&offers(&USB_2_CAMERA), &pictures(0, 0, 0)).is_some());
        assert!(choose(&offers(&USB_2_CAMERA), &pictures(u32::MAX, u32::MAX, u32::MAX)).is_some());
    }

    #[test]
    fn a_cameras_own_encoder_is_used_where_it_is_wanted_and_gives_what_is_wanted() {
        let camera =
            offers(&[(H264, 1280, 720, 30), (H264, 640, 480, 15), (Yuyv, 640, 480, 30), (Mjpeg, 1280, 720, 30)]);
        let chosen = |width, height, fps, encoded| {
            let mode = choose(&camera, &Wanted { width, height, fps, format: None, encoded }).unwrap().mode;
            (mode.format, mode.width)
        };
        assert_eq!(chosen(1280, 720, 30, Encoded::Never), (Mjpeg, 1280));
        assert_eq!(chosen(1280, 720, 30, Encoded::Preferred), (H264, 1280));
        assert_eq!(chosen(1280, 720, 15, Encoded::Preferred), (H264, 1280), "a faster one is thinned");
        assert_eq!(chosen(640, 480, 30, Encoded::Preferred), (Yuyv, 640), "too slow");
        assert_eq!(chosen(640, 360, 30, Encoded::Preferred), (Yuyv, 640), "of another size");
        assert_eq!(chosen(1920, 1080, 30, Encoded::Only), (H264, 1280));
        let pictures = offers(&USB_2_CAMERA);
        assert_eq!(choose(&pictures, &Wanted { encoded: Encoded::Only, ..self::pictures(640, 360, 30) }), None);
    }

    #[test]
    fn what_the_bus_refused_gives_way_to_the_nearest_that_takes_clearly_less() {
        let rates = |width, height| [30, 25, 20, 15].map(|fps| (Mjpeg, width, height, fps));
        let all = [&rates(1280, 720)[..], &rates(640, 480), &[(Yuyv, 640, 480, 30)]].concat();
        let mut left = offers(&all);
        let wanted = pictures(1280, 720, 30);
        let mut tried = Vec::new();
        while let Some(offer) = choose(&left, &wanted) {
            tried.push((offer.mode.format, offer.mode.width, offer.mode.milli_fps / 1000));
            keep_lighter(&mut left, offer.mode);
        }
        let rates = [(1280, 30), (1280, 20), (640, 30), (640, 20), (640, 15)];
        assert_eq!(tried, rates.map(|(width, fps)| (Mjpeg, width, fps)));
        let odd = Mode { format: Yuyv, width: u32::MAX, height: u32::MAX, milli_fps: u32::MAX };
        keep_lighter(&mut left, odd);
    }

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
