//! How the Opus of a track is encoded, as offers say it (RFC 7587, section 6.1). str0m knows one description of Opus for all
//! sections; here each that sends gets its own.

use super::peer::{PT_OPUS, Section};

/// Bit/s that `maxaveragebitrate` may say.
const BITRATES: std::ops::RangeInclusive<u32> = 6_000..=510_000;

/// Opus, as far as it is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// Two channels.
    pub stereo: bool,
    /// Packets are left out while it is quiet.
    pub dtx: bool,
    /// Packets can carry the one before them.
    pub fec: bool,
    /// Length of each packet; `None` where it is for the writer to say.
    pub packet_ms: Option<u8>,
}

impl Sound {
    /// Format parameters, and the attribute that follows them.
    fn attributes(self, bitrate: u32) -> String {
        let mut line = format!("a=fmtp:{PT_OPUS} minptime=10");
        let flags = [(self.fec, ";useinbandfec=1"), (self.dtx, ";usedtx=1"), (self.stereo, ";stereo=1;sprop-stereo=1")];
        line.extend(flags.into_iter().filter(|(said, _)| *said).map(|(_, flag)| flag));
        line.push_str(&format!(";maxaveragebitrate={}\r\n", bitrate.clamp(*BITRATES.start(), *BITRATES.end())));
        if let Some(ms) = self.packet_ms {
            line.push_str(&format!("a=ptime:{ms}\r\n"));
        }
        line
    }
}

/// An offer in which the sections that send Opus say how: section, sound and bit/s.
pub(super) fn announce(offer: &str, sending: &[(Section, Sound, u32)]) -> String {
    let opus = format!("a=fmtp:{PT_OPUS} ");
    let mut here = None;
    let mut said = String::with_capacity(offer.len() + 64 * sending.len());
    for line in offer.split_inclusive('\n') {
        if line.starts_with("m=") {
            here = None;
        } else if let Some(mid) = line.strip_prefix("a=mid:") {
            let section = Section::named(mid.trim_end());
            here = sending.iter().find(|(sends, ..)| *sends == section);
        }
        match here {
            Some((_, sound, bitrate)) if line.starts_with(&opus) => said.push_str(&sound.attributes(*bitrate)),
            _ => said.push_str(line),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_section_that_sends_says_how_and_the_rest_stays_as_it_is() {
        let section = |mid: &str| {
            format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n")
        };
        let offer = format!("v=0\r\n{}{}", section("abc"), section("xyz"));
        let music = Sound { stereo: true, dtx: false, fec: false, packet_ms: Some(40) };
        let said = announce(&offer, &[(Section::named("xyz"), music, 96_000)]);
        let wanted = "a=fmtp:111 minptime=10;stereo=1;sprop-stereo=1;maxaveragebitrate=96000\r\na=ptime:40\r\n";
        assert_eq!(said, format!("v=0\r\n{}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:xyz\r\n{wanted}", section("abc")));
        assert_eq!(announce(&offer, &[]), offer);
    }

    #[test]
    fn what_a_writer_decides_by_itself_is_not_promised() {
        let unknown = Sound { dtx: true, fec: true, ..Sound::default() }.attributes(1_000_000);
        assert_eq!(unknown, "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1;maxaveragebitrate=510000\r\n");
    }
}
