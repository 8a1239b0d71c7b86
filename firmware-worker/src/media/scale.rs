//! Smaller pictures for an encoder that has no time for large ones: two thirds or half of each side, by the average of the
//! area that a pixel covers.

use super::I420;

/// How much smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Three pixels become two.
    TwoThirds,
    /// Two pixels become one.
    Half,
}

impl Scale {
    /// The size that a picture of this size gets; its planes have even sides, too. What is left over is cut off.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        let side = |length: u32| match self {
            Self::TwoThirds => length / 6 * 4,
            Self::Half => length / 4 * 2,
        };
        (side(width), side(height))
    }
}

/// Fills `to`, which has the scaled size of `from`.
pub fn scale(scale: Scale, from: &I420, to: &mut I420) {
    let (widths, planes) = ((from.width(), to.width()), from.planes());
    let (y, u, v) = to.planes_mut();
    for (from, to, part) in [(planes.0, y, 1), (planes.1, u, 2), (planes.2, v, 2)] {
        let (from_width, to_width) = (widths.0 / part, widths.1 / part);
        match scale {
            Scale::TwoThirds => two_thirds(from, from_width, to, to_width),
            Scale::Half => half(from, from_width, to, to_width),
        }
    }
}

fn half(from: &[u8], from_width: usize, to: &mut [u8], to_width: usize) {
    for (pair, line) in from.chunks_exact(2 * from_width).zip(to.chunks_exact_mut(to_width)) {
        let (upper, lower) = pair.split_at(from_width);
        for ((pixel, a), b) in line.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            *pixel = ((sum + 2) / 4) as u8;
        }
    }
}

/// Of three lines, the upper one of two covers the first and half of the second; the same across.
fn two_thirds(from: &[u8], from_width: usize, to: &mut [u8], to_width: usize) {
    for (triple, pair) in from.chunks_exact(3 * from_width).zip(to.chunks_exact_mut(2 * to_width)) {
        let (first, rest) = triple.split_at(from_width);
        let (second, third) = rest.split_at(from_width);
        let (upper, lower) = pair.split_at_mut(to_width);
        two_thirds_line(first, second, upper);
        two_thirds_line(third, second, lower);
    }
}

fn two_thirds_line(whole: &[u8], shared: &[u8], line: &mut [u8]) {
    let pixels = whole.chunks_exact(3).zip(shared.chunks_exact(3));
    for (pair, (whole, shared)) in line.chunks_exact_mut(2).zip(pixels) {
        let down = |x: usize| 2 * u16::from(whole[x]) + u16::from(shared[x]);
        pair[0] = ((2 * down(0) + down(1) + 4) / 9) as u8;
        pair[1] = ((2 * down(2) + down(1) + 4) / 9) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(by: Scale, from: &I420) -> I420 {
        let (width, height) = by.size(from.width() as u32, from.height() as u32);
        let mut to = I420::new(width, height);
        scale(by, from, &mut to);
        to
    }

    #[test]
    fn sizes_are_even_down_to_the_chroma() {
        assert_eq!(Scale::TwoThirds.size(1280, 720), (852, 480));
        assert_eq!(Scale::Half.size(1280, 720), (640, 360));
        assert_eq!(Scale::TwoThirds.size(1920, 1080), (1280, 720));
        assert_eq!(Scale::Half.size(854, 480), (426, 240));
    }

    #[test]
    fn one_colour_stays_itself() {
        for by in [Scale::TwoThirds, Scale::Half] {
            for size in [(32, 32), (36, 24), (50, 46), (1280, 720)] {
                let mut from = I420::new(size.0, size.1);
                from.fill(0, 0, size.0 as usize, size.1 as usize, [201, 90, 255]);
                let to = scaled(by, &from);
                let (y, u, v) = to.planes();
                assert!(y.iter().all(|s| *s == 201) && u.iter().all(|s| *s == 90) && v.iter().all(|s| *s == 255));
            }
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        for by in [Scale::TwoThirds, Scale::Half] {
            let mut from = I420::new(96, 48);
            for (i, sample) in from.planes_mut().0.iter_mut().enumerate() {
                *sample = (2 * (i % 96) + i / 96) as u8;
            }
            let to = scaled(by, &from);
            let factor = 96.0 / to.width() as f64;
            for (i, sample) in to.planes().0.iter().enumerate() {
                // The centre of a pixel of the small picture, in the large one.
                let centre = |at: usize| (at as f64 + 0.5) * factor - 0.5;
                let expected = 2.0 * centre(i % to.width()) + centre(i / to.width());
                assert!((f64::from(*sample) - expected).abs() <= 1.0, "{by:?} {i}: {sample} for {expected}");
            }
        }
    }
}
