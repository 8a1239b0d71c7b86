//! Access units to RTP payloads: small NAL units share a STAP-A, large ones are cut into even FU-A fragments.

use super::{Nal, header, kind, nals};

/// One RTP payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Without RTP header.
    pub payload: Vec<u8>,
    /// The last of its access unit.
    pub marker: bool,
}

/// Limits outside of these are moved to them: no link needs less, and a STAP-A counts lengths in 16 bits.
const PAYLOAD_LIMITS: std::ops::RangeInclusive<usize> = 64..=0xffff;

/// FU indicator and FU header.
const FU_HEADER: usize = 2;
/// The byte that starts a STAP-A.
const STAP_HEADER: usize = 1;
/// The length before each unit in a STAP-A.
const STAP_LENGTH: usize = 2;

/// Appends the payloads of one access unit (Annex B) to `out`, each of at most `max_payload` bytes, the last one with
/// the marker. Delimiters and filler are left out: they carry nothing for a receiver. Each byte is copied once.
pub fn packetize(access_unit: &[u8], max_payload: usize, out: &mut Vec<Packet>) {
    let first = out.len();
    let max = max_payload.clamp(*PAYLOAD_LIMITS.start(), *PAYLOAD_LIMITS.end());
    let mut packer = Packer { max, small: Vec::new(), small_size: STAP_HEADER, out };
    for nal in nals(access_unit) {
        match nal.kind() {
            kind::DELIMITER | kind::FILLER => {}
            _ if nal.0.len() > packer.max => {
                packer.flush();
                packer.fragment(nal.0);
            }
            _ => packer.gather(nal),
        }
    }
    packer.flush();
    if let Some(last) = out[first..].last_mut() {
        last.marker = true;
    }
}

struct Packer<'a, 'o> {
    max: usize,
    /// Units that wait to share a packet.
    small: Vec<Nal<'a>>,
    /// Bytes of the STAP-A that they would make.
    small_size: usize,
    out: &'o mut Vec<Packet>,
}

impl<'a> Packer<'a, '_> {
    fn gather(&mut self, nal: Nal<'a>) {
        let size = STAP_LENGTH + nal.0.len();
        if self.small_size + size > self.max {
            self.flush();
        }
        self.small.push(nal);
        self.small_size += size;
    }

    fn flush(&mut self) {
        match self.small[..] {
            [] => {}
            [alone] => self.push(alone.0.to_vec()),
            _ => {
                let payload = self.aggregate();
                self.push(payload);
            }
        }
        self.small.clear();
        self.small_size = STAP_HEADER;
    }

    /// A STAP-A of the waiting units: its reference bits are the highest of them, its forbidden bit is any of them.
    fn aggregate(&self) -> Vec<u8> {
        let forbidden = self.small.iter().fold(0, |bit, nal| bit | nal.0[0] & header::FORBIDDEN);
        let reference = self.small.iter().map(|nal| nal.0[0] & header::REFERENCE).max().unwrap_or(0);
        let mut payload = Vec::with_capacity(self.small_size);
        payload.push(forbidden | reference | kind::STAP_A);
        for nal in &self.small {
            let length = u16::try_from(nal.0.len()).expect("a unit that fits an RTP payload fits 16 bits");
            payload.extend_from_slice(&length.to_be_bytes());
            payload.extend_from_slice(nal.0);
        }
        payload
    }

    /// Cuts a unit into the least number of fragments, all of the same length give or take a byte: a runt at the end
    /// would cost the same packet overhead and be as likely to be lost.
    fn fragment(&mut self, nal: &[u8]) {
        let (first, mut body) = (nal[0], &nal[1..]);
        let count = body.len().div_ceil(self.max - FU_HEADER);
        let indicator = first & (header::FORBIDDEN | header::REFERENCE) | kind::FU_A;
        for index in 0..count {
            let part;
            (part, body) = body.split_at(body.len() / (count - index));
            let start = u8::from(index == 0) << 7;
            let end = u8::from(index == count - 1) << 6;
            let mut payload = Vec::with_capacity(FU_HEADER + part.len());
            payload.extend_from_slice(&[indicator, start | end | first & header::TYPE]);
            payload.extend_from_slice(part);
            self.push(payload);
        }
    }

    fn push(&mut self, payload: Vec<u8>) {
        self.out.push(Packet { payload, marker: false });
    }
}
