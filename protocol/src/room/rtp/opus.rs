//! How long an Opus packet lasts, from its first bytes (RFC 6716, section 3).

/// Ticks a ms of RTP time.
const MS_TICKS: u64 = 48;
/// No packet lasts longer.
const MAX_TICKS: u64 = 120 * MS_TICKS;

/// RTP ticks, 48 kHz; nothing where no packet can begin so.
pub fn ticks(packet: &[u8]) -> Option<u64> {
    let first = *packet.first()?;
    let configuration = u64::from(first >> 3);
    let frame = match configuration {
        // SILK: 10, 20, 40, 60 ms.
        0..12 => [10, 20, 40, 60][configuration as usize % 4] * MS_TICKS,
        // SILK and CELT: 10, 20 ms.
        12..16 => [10, 20][configuration as usize % 2] * MS_TICKS,
        // CELT: 2.5, 5, 10, 20 ms.
        _ => (MS_TICKS * 5 / 2) << (configuration % 4),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|ticks| (1..=MAX_TICKS).contains(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_length() {
        // SILK wide band of 20 ms; CELT full band of 20, 10 and 2.5 ms; hybrid of 10.
        for (first, ms) in [(9 << 3, 20.0), (31 << 3, 20.0), (30 << 3, 10.0), (28 << 3, 2.5), (14 << 3, 10.0)] {
            assert_eq!(ticks(&[first]), Some((ms * 48.0) as u64));
            assert_eq!(ticks(&[first | 1, 0, 0]), Some((ms * 96.0) as u64));
            assert_eq!(ticks(&[first | 3, 3]), Some((ms * 144.0) as u64));
        }
        for nonsense in [&[][..], &[3], &[3, 0], &[(3 << 3) | 3, 3]] {
            assert_eq!(ticks(nonsense), None, "{nonsense:?}");
        }
    }
}
