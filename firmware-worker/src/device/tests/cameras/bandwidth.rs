//! Modes that the bus has no room for.

use super::*;

fn of((width, height, fps): (u32, u32, u32)) -> Mode {
    Mode { format: PixelFormat::Mjpeg, width, height, milli_fps: fps * 1000 }
}

fn modes() -> Vec<Mode> {
    let sizes = [(64, 48), (32, 24), (16, 12)];
    sizes.iter().flat_map(|(w, h)| [30, 25, 20, 10].map(|fps| of((*w, *h, fps)))).collect()
}

/// A camera with twelve modes of which it refuses some.
fn camera(refused: impl Fn(&Mode) -> bool) -> Device {
    let no_room = modes().into_iter().filter(refused).collect();
    fake::Camera::device(Script { modes: modes(), no_room, ..jpeg() })
}

/// The same with a driver that calls it an I/O error.
fn vague_camera(refused: impl Fn(&Mode) -> bool) -> Device {
    let too_fast = modes().into_iter().filter(refused).collect();
    fake::Camera::device(Script { modes: modes(), too_fast, ..jpeg() })
}

fn jpeg() -> Script {
    Script { frames: Box::new(|_| Frame::of(BARS.to_vec())), ..Script::default() }
}

fn wanted() -> Camera {
    Camera { width: 64, height: 48, fps: 30, ..config() }
}

#[tokio::test]
async fn a_mode_that_the_bus_refuses_gives_way_to_the_nearest_that_it_carries() {
    let started = async |refused: fn(&Mode) -> bool| {
        let device = camera(refused);
        let (mut pipeline, ..) = start(&device, &wanted());
        let description = running(&mut pipeline).await;
        drop(pipeline);
        assert_eq!(device.in_use(), (0, 0));
        (description, device.counts()["VIDIOC_STREAMON"])
    };
    let gives = |mode: &str| format!("(the USB bus has no room for MJPEG 64x48@30, the camera gives MJPEG {mode})");
    let (description, tries) = started(|_| false).await;
    assert!(description.starts_with("/dev/video7 MJPEG 64x48@30 ") && tries == 1, "{description}");
    let (description, tries) = started(|mode| mode.milli_fps > 20_000).await;
    assert!(description.contains(&gives("64x48@20")) && tries == 2, "{description}");
    let (description, tries) = started(|mode| mode.width > 32).await;
    assert!(description.contains(&gives("32x24@30")) && tries == 3, "{description}");
}

#[tokio::test]
async fn a_bus_that_has_room_for_nothing_is_told_with_what_to_do() {
    let device = camera(|_| true);
    let (mut pipeline, ..) = start(&device, &wanted());
    let lost = timeout(PATIENCE, pipeline.event()).await.unwrap();
    let Some(Event::Lost(Failure::Lost(why))) = lost else { panic!("{lost:?}") };
    assert!(why.contains("no USB bandwidth left for MJPEG 64x48@30; lower"), "{why}");
    drop(pipeline);
    assert_eq!((device.in_use(), device.counts()["VIDIOC_STREAMON"]), ((0, 0), 4));
}

#[tokio::test]
async fn a_mode_that_twice_was_not_started_gives_way_with_what_to_lower_and_once_is_bad_luck() {
    let device = vague_camera(|mode| mode.width > 32);
    let (mut pipeline, ..) = start(&device, &wanted());
    let description = running(&mut pipeline).await;
    let hint =
        "(MJPEG 64x48@30 was not started, perhaps for lack of USB bandwidth: lower width, height or fps of this camera";
    assert!(description.contains(hint) && description.contains("; the camera gives MJPEG 32x24@30)"), "{description}");
    drop(pipeline);
    assert_eq!(device.counts()["VIDIOC_STREAMON"], 5, "two modes twice");
    let device = vague_camera(|_| false);
    device.fail(fake::Fault { call: "VIDIOC_STREAMON", nth: 1, errno: libc::EIO });
    let (mut pipeline, ..) = start(&device, &wanted());
    let description = running(&mut pipeline).await;
    assert!(description.starts_with("/dev/video7 MJPEG 64x48@30 "), "{description}");
    drop(pipeline);
    assert_eq!((device.in_use(), device.counts()["VIDIOC_STREAMON"]), ((0, 0), 2));
}

#[tokio::test]
async fn a_camera_that_starts_in_no_mode_is_lost_with_what_to_lower() {
    let device = vague_camera(|_| true);
    let (mut pipeline, ..) = start(&device, &wanted());
    let lost = timeout(PATIENCE, pipeline.event()).await.unwrap();
    let Some(Event::Lost(Failure::Lost(why))) = lost else { panic!("{lost:?}") };
    assert!(why.starts_with("/dev/video7: MJPEG 64x48@30 was not started (Input/output error"), "{why}");
    assert!(why.contains("USB bandwidth; lower width"), "{why}");
    drop(pipeline);
    assert_eq!((device.in_use(), device.counts()["VIDIOC_STREAMON"]), ((0, 0), 8));
}
