//! Small changes that a parser trips over.

/// SplitMix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Any seed is good.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Under `limit`, 0 for 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Values at the edges of what fields hold.
const EDGES: [u8; 6] = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff];

/// Makes one to four changes: bits, edge values, cuts, insertions, copies from elsewhere in it.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = *random.pick(&EDGES),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.next() as u8),
            4 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + random.below(64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
}

/// The same on text, between lines and words as well: SDP and candidates are lines.
pub fn damage_text(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let at = random.below(lines.len());
        match random.below(5) {
            _ if lines.is_empty() => break,
            0 => drop(lines.remove(at)),
            1 => lines.insert(random.below(lines.len()), lines[at].clone()),
            2 => lines.swap(at, 0),
            3 => lines[at] = lines[at].replace(|c: char| c.is_ascii_digit(), "9"),
            _ => {
                let mut bytes = std::mem::take(&mut lines[at]).into_bytes();
                damage(&mut bytes, random);
                lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }
    lines.concat()
}
