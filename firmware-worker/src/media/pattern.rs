//! A test picture: colour bars, a block that moves, a wall clock, the frame's number and some snow.
//!
//! Only what changes is drawn again, so that a frame costs microseconds. A person reads delay and smoothness from it, a
//! test the number.

use super::I420;

/// 75 % bars as everyone knows them: white, yellow, cyan, green, magenta, red, blue; Y, U, V of BT.601.
const BARS: [[u8; 3]; 7] =
    [[180, 128, 128], [162, 44, 142], [131, 156, 44], [112, 72, 58], [84, 184, 198], [65, 100, 212], [35, 212, 114]];
const BLACK: [u8; 3] = [16, 128, 128];
const WHITE: [u8; 3] = [235, 128, 128];

/// Spreads frame numbers over all seeds (the golden ratio in 64 bits).
const SNOW_SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Luma of the darkest snow.
const SNOW_DARKEST: u8 = 80;
/// Snow spans 256 values divided by this: enough to cost bits, little enough to vanish first when they are few.
const SNOW_CONTRAST: u8 = 4;

/// Cells of a character, and with the gap to the next one.
const GLYPH_WIDTH: usize = 5;
const GLYPH_HEIGHT: usize = 7;
const ADVANCE: usize = GLYPH_WIDTH + 1;
/// Characters of `HH:MM:SS.mmm`, the longer of the two lines.
const CLOCK_LENGTH: usize = 12;
/// Digits of the frame's number; it wraps after 38 days at 30 frames a second.
const NUMBER_LENGTH: usize = 8;

/// Digits, colon and point, a byte a line, the left cell in bit 4.
const FONT: [[u8; GLYPH_HEIGHT]; 12] = [
    [0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E],
    [0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E],
    [0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F],
    [0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E],
    [0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02],
    [0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E],
    [0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E],
    [0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E],
    [0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C],
    [0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00],
    [0x00, 0x00, 0x00, 0x00, 0x00, 0x0C, 0x0C],
];
const COLON: usize = 10;
const POINT: usize = 11;

/// The picture and what is on it.
#[derive(Clone, Debug)]
pub struct Pattern {
    picture: I420,
    /// Pixels of one cell of a character, even.
    cell: usize,
    text_top: usize,
    lane_top: usize,
    block: usize,
    block_left: usize,
    shown: [[Option<usize>; CLOCK_LENGTH]; 2],
}

impl Pattern {
    /// The picture with its bars.
    pub fn new(width: u32, height: u32) -> Self {
        let mut picture = I420::new(width, height);
        let (width, height) = (picture.width(), picture.height());
        for (i, colour) in BARS.into_iter().enumerate() {
            let left = (width * i / BARS.len()) & !1;
            picture.fill(left, 0, width - left, height, colour);
        }
        // Both lines of text take three quarters of the width, whatever the size.
        let cell = (width * 3 / 4 / (CLOCK_LENGTH * ADVANCE)).max(2) & !1;
        let text_top = (height / 3) & !1;
        let margin = 2 * cell;
        let text_width = CLOCK_LENGTH * ADVANCE * cell + margin;
        picture.fill(
            0,
            text_top - margin.min(text_top),
            text_width + margin,
            2 * Self::line_height(cell) + margin,
            BLACK,
        );
        let block = (height / 12).max(2) & !1;
        let lane_top = height - (2 * block).min(height);
        picture.fill(0, lane_top, width, block, BLACK);
        Self { picture, cell, text_top, lane_top, block, block_left: 0, shown: [[None; CLOCK_LENGTH]; 2] }
    }

    /// The picture of frame `number` at `unix_ms` (UTC).
    pub fn draw(&mut self, number: u64, unix_ms: u64) -> &I420 {
        self.move_block(number);
        self.snow(number);
        for (place, glyph) in clock(unix_ms).into_iter().enumerate() {
            self.put(0, place, glyph);
        }
        for (place, glyph) in digits::<NUMBER_LENGTH>(number).into_iter().enumerate() {
            self.put(1, place, glyph);
        }
        &self.picture
    }

    /// Lights the upper right corner, or gives it back to its bar.
    pub fn flash(&mut self, on: bool) {
        let (width, height) = (self.picture.width(), self.picture.height());
        let side = (height / 8) & !1;
        let colour = if on { WHITE } else { BARS[BARS.len() - 1] };
        self.picture.fill(width - side.min(width), 0, side, side, colour);
    }

    fn line_height(cell: usize) -> usize {
        (GLYPH_HEIGHT + 2) * cell
    }

    /// From left to right once in two seconds at 30 frames a second, so that a stutter is seen.
    fn move_block(&mut self, number: u64) {
        const FRAMES_ACROSS: u64 = 60;
        let span = (self.picture.width() - self.block.min(self.picture.width())) as u64;
        let left = (span * (number % FRAMES_ACROSS) / FRAMES_ACROSS) as usize & !1;
        self.picture.fill(self.block_left, self.lane_top, self.block, self.block, BLACK);
        self.picture.fill(left, self.lane_top, self.block, self.block, WHITE);
        self.block_left = left;
    }

    /// Grey noise beside the text, anew with each frame: it takes bits as a camera's sensor does, so that rate control and
    /// bandwidth estimation have something to work on.
    fn snow(&mut self, number: u64) {
        let (width, height) = (self.picture.width(), self.picture.height());
        let (left, top) = (width * 7 / 8, self.text_top);
        let mut random = number.wrapping_mul(SNOW_SEED) | 1;
        let luma = self.picture.planes_mut().0;
        for line in luma[top * width..].chunks_exact_mut(width).take(height / 6) {
            for pixels in line[left..].chunks_mut(8) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                for (pixel, byte) in pixels.iter_mut().zip(random.to_le_bytes()) {
                    *pixel = SNOW_DARKEST + byte / SNOW_CONTRAST;
                }
            }
        }
    }

    fn put(&mut self, line: usize, place: usize, glyph: usize) {
        if self.shown[line][place].replace(glyph) == Some(glyph) {
            return;
        }
        let left = (2 + place * ADVANCE) * self.cell;
        let top = self.text_top + line * Self::line_height(self.cell);
        for (row, bits) in FONT[glyph].into_iter().enumerate() {
            for column in 0..GLYPH_WIDTH {
                let lit = bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1;
                let (x, y) = (left + column * self.cell, top + row * self.cell);
                self.picture.fill(x, y, self.cell, self.cell, if lit { WHITE } else { BLACK });
            }
        }
    }
}

/// The last `N` decimal digits, leading zeros kept.
fn digits<const N: usize>(mut number: u64) -> [usize; N] {
    let mut out = [0; N];
    for digit in out.iter_mut().rev() {
        *digit = (number % 10) as usize;
        number /= 10;
    }
    out
}

/// `HH:MM:SS.mmm` as places in [`FONT`].
fn clock(unix_ms: u64) -> [usize; CLOCK_LENGTH] {
    let seconds = unix_ms / 1000;
    let [h1, h2] = digits(seconds / 3600 % 24);
    let [m1, m2] = digits(seconds / 60 % 60);
    let [s1, s2] = digits(seconds % 60);
    let [a, b, c] = digits(unix_ms % 1000);
    [h1, h2, COLON, m1, m2, COLON, s1, s2, POINT, a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a line of text back from the luma, as a person would.
    fn read(pattern: &Pattern, line: usize, length: usize) -> String {
        let picture = &pattern.picture;
        let top = pattern.text_top + line * Pattern::line_height(pattern.cell);
        let lit = |x: usize, y: usize| picture.planes().0[y * picture.width() + x] > 128;
        (0..length)
            .map(|place| {
                let left = (2 + place * ADVANCE) * pattern.cell;
                let centre = pattern.cell / 2;
                let rows: Vec<u8> = (0..GLYPH_HEIGHT)
                    .map(|row| {
                        (0..GLYPH_WIDTH).fold(0, |bits, column| {
                            let (x, y) = (left + column * pattern.cell + centre, top + row * pattern.cell + centre);
                            bits << 1 | u8::from(lit(x, y))
                        })
                    })
                    .collect();
                let glyph = FONT.iter().position(|g| g[..] == rows).expect("a character of the font");
                b"0123456789:."[glyph] as char
            })
            .collect()
    }

    #[test]
    fn clock_and_number_can_be_read_at_every_size() {
        for (width, height) in [(320, 180), (640, 360), (640, 480), (1280, 720), (1920, 1080)] {
            let mut pattern = Pattern::new(width, height);
            let unix_ms = 1_700_000_000_000 + 98_765;
            for (number, expected) in [(0, "00000000"), (7, "00000007"), (12_345_678, "12345678")] {
                pattern.draw(number, unix_ms + number);
                assert_eq!(read(&pattern, 1, NUMBER_LENGTH), expected, "{width}x{height}");
            }
            pattern.draw(1, unix_ms);
            assert_eq!(read(&pattern, 0, CLOCK_LENGTH), "22:14:58.765", "{width}x{height}");
        }
    }

    #[test]
    fn drawing_over_an_old_frame_equals_drawing_it_fresh() {
        let mut reused = Pattern::new(640, 360);
        for number in 0..200 {
            let mut fresh = Pattern::new(640, 360);
            let at = number * 33;
            assert!(reused.draw(number, at) == fresh.draw(number, at), "frame {number}");
        }
    }

    #[test]
    fn a_flash_lights_the_corner_and_leaves_nothing_behind() {
        let mut pattern = Pattern::new(640, 360);
        let before = pattern.picture.clone();
        pattern.flash(true);
        assert_eq!(pattern.picture.planes().0[639], WHITE[0]);
        pattern.flash(false);
        assert!(pattern.picture == before);
    }

    #[test]
    fn every_bar_is_there_and_tiny_pictures_do_not_panic() {
        let pattern = Pattern::new(640, 360);
        let bar = |i: usize| pattern.picture.planes().0[640 * i / 7 + 20];
        assert_eq!((0..7).map(bar).collect::<Vec<_>>(), BARS.map(|c| c[0]));
        for size in [2, 16, 34] {
            Pattern::new(size, size).draw(u64::MAX, u64::MAX);
        }
    }
}
