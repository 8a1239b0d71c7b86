//! Cameras that give compressed pictures, good and damaged, made of files by v4l2loopback: through the worker in the guest to
//! a subscriber on the host.

use super::board::{self, SLOW};
use firmware_worker::media::h264::{Encoder, Settings};
use firmware_worker::media::pattern::Pattern;
use std::fs;
use std::path::PathBuf;
use tests::guest::{Content, Guest};
use tests::worker::AGENT;
use tests::{Judge, Server, paths};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const FPS: u32 = 15;

/// Pictures from one keyframe to the next.
const GROUP: usize = 15;

/// Two groups of H.264.
fn units() -> Vec<Vec<u8>> {
    let settings = Settings { width: WIDTH, height: HEIGHT, milli_fps: FPS * 1000, ceiling: 300_000, bitrate: 300_000 };
    let mut encoder = Encoder::new(settings).expect("an encoder");
    let mut pattern = Pattern::new(WIDTH, HEIGHT);
    let unit = |number: usize| {
        let mut unit = Vec::new();
        let picture = pattern.draw(number as u64, number as u64 * 66);
        encoder.encode(picture, number as u64 * 66_000_000, number.is_multiple_of(GROUP), &mut unit).expect("a unit");
        unit
    };
    (0..2 * GROUP).map(unit).collect()
}

/// As many pictures of grey that grows lighter, as JPEG.
fn jpegs() -> Vec<Vec<u8>> {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let jpeg = |number: usize| {
        let pixels = vec![(number * 8) as u8; width * height * 3];
        let format = turbojpeg::PixelFormat::RGB;
        let image = turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format };
        turbojpeg::compress(image, 80, turbojpeg::Subsamp::Sub2x1).expect("a picture").to_vec()
    };
    (0..2 * GROUP).map(jpeg).collect()
}

/// Files on the host, removed at the end.
struct Pictures(PathBuf, Vec<PathBuf>);

impl Pictures {
    fn new(name: &str, pictures: &[Vec<u8>]) -> Self {
        let folder = std::env::temp_dir().join(format!("guest-{name}-pictures-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let file = |(number, picture): (usize, &Vec<u8>)| {
            let path = folder.join(format!("{number:02}"));
            fs::write(&path, picture).expect("the temporary directory has room");
            path
        };
        let files = pictures.iter().enumerate().map(file).collect();
        Self(folder, files)
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Boots a board whose one camera gives these.
fn boot(name: &str, server: &Server, format: &str, pictures: &[Vec<u8>]) -> Guest {
    let pictures = Pictures::new(name, pictures);
    let feeder = paths::guest_loopback();
    let targets: Vec<String> = (0..pictures.1.len()).map(|number| format!("/pictures/{number:02}")).collect();
    let mut files = vec![("/loopback", 0o755, Content::File(&feeder))];
    files.extend(targets.iter().zip(&pictures.1).map(|(target, file)| (target.as_str(), 0o644, Content::File(file))));
    let camera = format!(
        "[[camera]]\ndevice = \"/dev/video9\"\nwidth = {WIDTH}\nheight = {HEIGHT}\nfps = {FPS}\nbitrate = 500000\n"
    );
    let feeds = format!(
        "modprobe v4l2loopback video_nr=9 card_label=Loopback exclusive_caps=1\n\
         /loopback /dev/video9 {format} {WIDTH} {HEIGHT} {FPS} /pictures/* &\n"
    );
    board::boot_with(name, server, &camera, &feeds, &files)
}

/// Watches the camera: `fps` of its pictures arrive, and others are counted as dropped.
fn watch(guest: &mut Guest, server: &Server, room: &str, fps: f64) {
    let judge = Judge::join(server, room, "judge");
    server.api().dispatch(room, AGENT, "");
    let second = judge.wait("a steady second", SLOW, |e| e.name() == "second" && e.number("video", "fps") >= fps);
    let size = (second.number("video", "width"), second.number("video", "height"));
    assert_eq!(size, (WIDTH.into(), HEIGHT.into()));
    // An owner tells what it counts every few seconds.
    guest.type_line(
        "until wget -q -O - http://127.0.0.1:8081/metrics | grep device_dropped_total.*camera | grep -v ' 0$'; \
         do sleep 0.2; done",
    );
    guest.wait_console("device_dropped_total{", SLOW);
}

#[test]
fn h264_of_a_camera_is_passed_through_and_damage_costs_one_group_of_pictures() {
    let server = Server::start_for_guest();
    let mut units = units();
    units[GROUP + 7].truncate(4);
    let mut guest = boot("h264", &server, "H264", &units);
    watch(&mut guest, &server, "guest-h264", 8.0);
    guest.wait_console("passthrough (the camera gives H.264 as wanted)", SLOW);
}

#[test]
fn jpegs_of_a_camera_are_shown_and_cut_off_and_corrupt_ones_are_left_out() {
    let server = Server::start_for_guest();
    let mut jpegs = jpegs();
    for jpeg in jpegs.iter_mut().step_by(5) {
        jpeg.truncate(300);
    }
    for jpeg in jpegs.iter_mut().skip(2).step_by(5) {
        // Where its tables are.
        jpeg[2..200].fill(0x55);
    }
    let mut guest = boot("mjpeg", &server, "MJPG", &jpegs);
    watch(&mut guest, &server, "guest-mjpeg", 7.0);
    guest.wait_console("MJPEG 320x240", SLOW);
}
