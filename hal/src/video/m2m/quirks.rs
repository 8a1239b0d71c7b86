//! What drivers do besides the interface, by their names. Read in the drivers' source where nothing else is said.

/// One thing that a driver does its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    /// Macroblocks a second at most: it takes more, and falls behind.
    AtMost(u32),
    /// Its rate is set as variable, whatever it is by default.
    VariableRate,
    /// Parameter sets are repeated only when they are joined with the picture, which has to be set.
    JoinHeaders,
    /// Its first coded buffer holds the parameter sets alone, with the stamp of the first picture.
    HeadersApart,
    /// Coded buffers at least, as it does not say how many it needs.
    CodedBuffers(u32),
    /// EINVAL from REQBUFS means that this is too small.
    Refusal(&'static str),
    /// What it means when it gives no units.
    Stall(&'static str),
    /// Nothing; it is known to do as the interface says.
    None,
}

/// A driver's quirk and how it is known.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As QUERYCAP names it.
    driver: &'static str,
    quirk: Quirk,
    /// Reason or source, for `devices` and who reads this table.
    why: &'static str,
}

const fn entry(driver: &'static str, quirk: Quirk, why: &'static str) -> Entry {
    Entry { driver, quirk, why }
}

/// Raspberry Pi up to 4, in its own kernel.
const PI: &str = "bcm2835-codec";

const TABLE: [Entry; 13] = [
    entry(PI, Quirk::AtMost(245_760), "the firmware's real-time specification is level 4.0: 1080p30"),
    entry(PI, Quirk::VariableRate, "a constant rate makes it lower the frame rate (raspberrypi/rpicam-apps#509)"),
    entry(PI, Quirk::CodedBuffers(4), "has no V4L2_CID_MIN_BUFFERS_FOR_CAPTURE (raspberrypi/linux#7313)"),
    entry(
        PI,
        Quirk::Refusal("the firmware's memory is too small (raise `gpu_mem=` in config.txt)"),
        "REQBUFS makes the firmware's encoder and answers EINVAL where that fails",
    ),
    entry(
        PI,
        Quirk::Stall("; this encoder stops without a word when the level is too low or the rate is far too low"),
        "raspberrypi/linux#4906 and #3974; bluenviron/mediamtx#5381",
    ),
    entry("qcom-venus", Quirk::JoinHeaders, "repeats SPS and PPS at each keyframe unless the header mode is separate"),
    entry("mtk-vcodec-enc", Quirk::HeadersApart, "encodes the sequence header into a buffer of its own first"),
    entry("mtk-vcodec-enc", Quirk::VariableRate, "knows no other mode"),
    entry("amphion-vpu", Quirk::VariableRate, "a constant rate is held by skipping pictures"),
    entry("amphion-vpu", Quirk::JoinHeaders, "knows no other mode"),
    entry("wave5-enc", Quirk::None, "no report known"),
    entry("coda", Quirk::CodedBuffers(4), "its minimum of two leaves none while one is read"),
    entry("vicodec", Quirk::None, "the kernel's model of the interface, made of software; codes FWHT alone"),
];

/// The quirks of a driver.
pub(super) fn of(driver: &str) -> impl Iterator<Item = Quirk> {
    TABLE.iter().filter(move |entry| entry.driver == driver).map(|entry| entry.quirk)
}

/// What is known of a driver, in plain words; nothing of one that is not known.
pub fn known(driver: &str) -> Vec<&'static str> {
    TABLE.iter().filter(|entry| entry.driver == driver).map(|entry| entry.why).collect()
}

/// Macroblocks a second at most.
pub(super) fn at_most(driver: &str) -> Option<u32> {
    of(driver).find_map(|quirk| if let Quirk::AtMost(most) = quirk { Some(most) } else { None })
}

/// Coded buffers at least.
pub(super) fn coded_buffers(driver: &str) -> u32 {
    of(driver).find_map(|quirk| if let Quirk::CodedBuffers(count) = quirk { Some(count) } else { None }).unwrap_or(0)
}

/// What EINVAL from REQBUFS means.
pub(super) fn refusal(driver: &str) -> Option<&'static str> {
    of(driver).find_map(|quirk| if let Quirk::Refusal(what) = quirk { Some(what) } else { None })
}

/// What silence means, as the end of a sentence.
pub(super) fn stall(driver: &str) -> &'static str {
    of(driver).find_map(|quirk| if let Quirk::Stall(hint) = quirk { Some(hint) } else { None }).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_is_in_the_table_with_a_reason_for_each_quirk() {
        for driver in [PI, "qcom-venus", "mtk-vcodec-enc", "amphion-vpu", "wave5-enc", "coda", "vicodec"] {
            assert!(!known(driver).is_empty(), "{driver}");
        }
        assert!(known("uvcvideo").is_empty());
        assert!(TABLE.iter().all(|entry| entry.why.len() > 10));
        assert_eq!((at_most(PI), coded_buffers(PI), coded_buffers("vicodec")), (Some(245_760), 4, 0));
    }
}
