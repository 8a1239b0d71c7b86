//! One uncompressed picture, as the encoder takes it.

use openh264::formats::YUVSource;

/// A picture in 4:2:0: three planes without padding, limited range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I420 {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// Luma of black in limited range.
const BLACK: u8 = 16;
/// Chroma of any grey.
const NEUTRAL: u8 = 128;

impl I420 {
    /// A black picture. Odd sizes lose their last column or line: 4:2:0 has none.
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize & !1, height as usize & !1);
        Self {
            width,
            height,
            y: vec![BLACK; width * height],
            u: vec![NEUTRAL; width * height / 4],
            v: vec![NEUTRAL; width * height / 4],
        }
    }

    /// Pixels of a line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The planes Y, U and V.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        (&self.y, &self.u, &self.v)
    }

    /// The planes Y, U and V, to write.
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        (&mut self.y, &mut self.u, &mut self.v)
    }

    /// Mirrors it: left and right exchanged, top and bottom, or both, which is half a turn.
    pub fn flip(&mut self, horizontally: bool, vertically: bool) {
        let planes = [(&mut self.y, self.width), (&mut self.u, self.width / 2), (&mut self.v, self.width / 2)];
        for (plane, width) in planes {
            if width == 0 {
                continue;
            }
            if vertically {
                let half = plane.len() / width / 2 * width;
                let (upper, lower) = plane.split_at_mut(half);
                for (above, below) in upper.chunks_exact_mut(width).zip(lower.rchunks_exact_mut(width)) {
                    above.swap_with_slice(below);
                }
            }
            if horizontally {
                plane.chunks_exact_mut(width).for_each(<[u8]>::reverse);
            }
        }
    }

    /// Fills a rectangle with one colour; what lies outside is cut off. Edges are rounded down to whole chroma samples.
    pub fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: [u8; 3]) {
        let (right, bottom) = ((left + width).min(self.width), (top + height).min(self.height));
        let left = left.min(right);
        for line in top.min(bottom)..bottom {
            self.y[line * self.width..][left..right].fill(colour[0]);
        }
        let half = self.width / 2;
        for line in top.min(bottom) / 2..bottom / 2 {
            self.u[line * half..][left / 2..right / 2].fill(colour[1]);
            self.v[line * half..][left / 2..right / 2].fill(colour[2]);
        }
    }
}

impl YUVSource for I420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }
    fn y(&self) -> &[u8] {
        &self.y
    }
    fn u(&self) -> &[u8] {
        &self.u
    }
    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flip_mirrors_every_plane_and_both_are_half_a_turn() {
        let marked = |left: usize, top: usize| {
            let mut picture = I420::new(8, 6);
            picture.fill(left, top, 2, 2, [200, 90, 91]);
            picture
        };
        for (horizontally, vertically, place) in
            [(false, false, (2, 0)), (true, false, (4, 0)), (false, true, (2, 4)), (true, true, (4, 4))]
        {
            let mut picture = marked(2, 0);
            picture.flip(horizontally, vertically);
            assert_eq!(picture, marked(place.0, place.1), "{horizontally} {vertically}");
        }
    }

    #[test]
    fn a_rectangle_beyond_the_edge_is_cut_off_and_touches_nothing_else() {
        let mut picture = I420::new(8, 4);
        picture.fill(6, 2, 100, 100, [200, 90, 91]);
        let (y, u, v) = picture.planes();
        assert_eq!(y.iter().filter(|&&s| s == 200).count(), 4);
        assert_eq!((y[2 * 8 + 6], y[3 * 8 + 7], y[2 * 8 + 5]), (200, 200, BLACK));
        assert_eq!((u[7], v[7], u[6]), (90, 91, NEUTRAL));
        picture.fill(50, 50, 4, 4, [1, 1, 1]);
        assert!(!picture.planes().0.contains(&1));
    }
}
