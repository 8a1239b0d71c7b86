//! A camera that is faster than any software encodes.

use super::*;
use crate::config::EncoderWish;
use hal::ring::{KEY, Meta};

/// A tenth of a millisecond from one picture to the next: copying one takes longer, whatever the machine.
const FPS: u32 = 10_000;

/// Ten times what a slow board takes for the pictures of all steps.
const LONG: Duration = Duration::from_secs(60);

/// Units up to the `count`th of the last size of all, each with the one before it where no other was between.
async fn pairs(reader: &mut Reader, last: u16, count: usize) -> Vec<(Option<Meta>, Meta)> {
    let (mut pairs, mut before, mut payload) = (Vec::new(), None, Vec::new());
    let mut small = 0;
    while small < count {
        match reader.next(&mut payload) {
            Next::Unit(meta) => {
                small += usize::from(meta.width == last);
                pairs.push((before.replace(meta), meta));
            }
            // This thread had no processor.
            Next::Lapped(_) => before = None,
            Next::Empty => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    pairs
}

#[tokio::test]
async fn a_camera_that_software_cannot_keep_up_with_gives_smaller_pictures_in_a_stream_that_goes_on() {
    let mode = Mode { format: PixelFormat::Yu12, width: 1280, height: 720, milli_fps: FPS * 1000 };
    let device = fake::Camera::device(Script { modes: vec![mode], paced: true, ..Script::default() });
    let config = Camera { width: 1280, height: 720, fps: FPS, encoder: EncoderWish::Software, ..config() };
    let (mut pipeline, outlet, mut reader) = start(&device, &config);
    running(&mut pipeline).await;
    let pairs = timeout(LONG, pairs(&mut reader, 640, 5)).await.expect("it saves time");
    drop(pipeline);
    assert_eq!(outlet.counters.saving.load(Relaxed) as usize, protocol::device::STEPS.len() - 1);
    assert_eq!((pairs[0].1.width, pairs[0].1.height), (1280, 720), "it begins with what was asked for");
    let mut sizes = vec![(1280, 720)];
    for (before, meta) in pairs.into_iter().filter_map(|(before, meta)| Some((before?, meta))) {
        let size = (meta.width, meta.height);
        assert!(meta.captured_ns > before.captured_ns && meta.position > before.position, "{before:?} {meta:?}");
        assert!(size == (before.width, before.height) || meta.flags & KEY != 0, "{before:?} {meta:?}");
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    assert!(sizes.len() >= 2 && sizes.is_sorted_by(|a, b| a.0 > b.0 && a.1 > b.1), "{sizes:?}");
}
