//! What devices and the kernel hand over: JPEG pictures and uevents. Besides damage at random, each input of the corpus
//! is tried as it is.

use crate::mutate::damage;
use crate::{count, random};
use firmware_worker::media::{I420, jpeg};
use hal::hotplug;
use std::fs;
use tests::paths;

/// Pixels a side that are decoded: the header check alone is for larger ones.
const LARGEST: usize = 128;

/// The files of one folder of the corpus, in order.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = paths::root().join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("the corpus is committed").flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{}: only {} inputs", folder.display(), files.len());
    files.iter().map(|file| fs::read(file).expect("the corpus is readable")).collect()
}

/// Tries every input of the corpus, then `count` of them with damage.
pub fn each(name: &str, mut attempt: impl FnMut(&[u8])) {
    let (corpus, mut random) = (corpus(name), random(name));
    for input in &corpus {
        attempt(input);
    }
    for _ in 0..count() {
        let mut input = random.pick(&corpus).clone();
        damage(&mut input, &mut random);
        attempt(&input);
    }
}

#[test]
fn no_picture_of_a_camera_crashes_the_header_check_or_gets_past_it_in_another_size() {
    let mut decoder = jpeg::Decoder::default();
    let mut taken = 0;
    each("jpeg", |data| {
        let Ok(jpeg::Header { width, height, .. }) = jpeg::header(data) else {
            let refused = decoder.decode(data, &mut I420::new(32, 16));
            return assert!(refused.is_err(), "a picture without a header was decoded");
        };
        let fits = |side: usize| (2..=LARGEST).contains(&side);
        if fits(width) && fits(height) {
            taken += u32::from(decoder.decode(data, &mut I420::new(width as u32, height as u32)).is_ok());
            let other = decoder.decode(data, &mut I420::new(width as u32 + 2, height as u32));
            assert!(matches!(other, Err(jpeg::Error::Size { .. })), "{other:?}");
        }
    });
    assert!(taken > 0, "no picture was decoded at all");
}

#[test]
fn no_uevent_crashes_the_parser_and_each_that_is_one_names_its_subsystem() {
    let mut understood = 0;
    each("uevent", |datagram| {
        if let Some(event) = hotplug::parse(datagram) {
            assert!(!event.subsystem.is_empty());
            understood += 1;
        }
    });
    assert!(understood > 0, "no uevent was understood at all");
}
