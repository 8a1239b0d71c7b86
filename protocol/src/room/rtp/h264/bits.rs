//! Bits of a NAL unit's payload: ITU-T H.264, 7.2, 7.3.1 and 9.1.

/// The payload without the bytes that keep start codes out of it.
pub(super) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

/// Appends `payload` with a 3 before each byte that would make a start code of two zero bytes, and one at the end where
/// it ends in a zero.
pub(super) fn escape(payload: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    if zeros > 0 {
        out.push(3);
    }
}

/// Reads bits of a payload; `None` behind its end.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    pub fn flag(&mut self) -> Option<bool> {
        Some(self.bit()? == 1)
    }

    /// u(n), up to 32 bits.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    pub fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count)?;
        (end <= self.bytes.len() * 8).then(|| self.at = end)
    }

    /// ue(v)
    pub fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        Some(((1u64 << zeros) - 1 + u64::from(rest)) as u32)
    }

    /// se(v)
    pub fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }

    /// Whether only the stop bit and its zeros are left: rbsp_trailing_bits.
    pub fn ends_here(mut self) -> bool {
        if self.bit() != Some(1) {
            return false;
        }
        while let Some(bit) = self.bit() {
            if bit != 0 {
                return false;
            }
        }
        true
    }
}

/// Writes bits one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u8,
}

impl Writer {
    pub fn bit(&mut self, bit: u32) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.bytes.last_mut() {
            *last |= (bit as u8 & 1) << self.free;
        }
    }

    /// u(n), up to 32 bits.
    pub fn put(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            self.bit(value >> shift & 1);
        }
    }

    /// ue(v)
    pub fn golomb(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let bits = 64 - code.leading_zeros();
        self.put(0, bits - 1);
        for shift in (0..bits).rev() {
            self.bit((code >> shift & 1) as u32);
        }
    }

    /// The first `bits` bits of `bytes`, which has as many.
    pub fn copy(&mut self, bytes: &[u8], from: usize, to: usize) {
        for at in from..to {
            self.bit(u32::from(bytes[at / 8] >> (7 - at % 8) & 1));
        }
    }

    /// The bytes, after the stop bit.
    pub fn finish(mut self) -> Vec<u8> {
        self.bit(1);
        self.bytes
    }
}
