//! Cameras that give compressed pictures, good and damaged, made of files by v4l2loopback: through the worker in the guest to
//! a subscriber on the host.

use super::board::{self, SLOW};
use firmware_worker::media::h264::{Encoder, Settings};
use firmware_worker::media::pattern::Pattern;
use std::fs;
use std::path::PathBuf;
use tests::guest::{Content, File, Guest};
use tests::worker::AGENT;
use tests::{Judge, Server, paths};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const FPS: u32 = 15;

/// Pictures from one keyframe to the next.
const GROUP: usize = 15;

/// Two groups of H.264.
fn units(width: u32, height: u32) -> Vec<Vec<u8>> {
    let settings = Settings { width, height, milli_fps: FPS * 1000, ceiling: 300_000, bitrate: 300_000 };
    let mut encoder = Encoder::new(settings).expect("an encoder");
    let mut pattern = Pattern::new(width, height);
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

/// A camera of these pictures, one file on the host for each; they are removed at the end.
pub struct Fed {
    folder: PathBuf,
    files: Vec<(String, PathBuf)>,
    feeder: PathBuf,
    format: &'static str,
    size: (u32, u32),
}

impl Fed {
    /// One that encodes what it sees itself, so that an emulated processor need not.
    pub fn h264(name: &str, width: u32, height: u32) -> Self {
        Self::new(name, "H264", (width, height), &units(width, height))
    }

    fn new(name: &str, format: &'static str, size: (u32, u32), pictures: &[Vec<u8>]) -> Self {
        let folder = std::env::temp_dir().join(format!("guest-{name}-pictures-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let file = |(number, picture): (usize, &Vec<u8>)| {
            let path = folder.join(format!("{number:02}"));
            fs::write(&path, picture).expect("the temporary directory has room");
            (format!("/pictures/{number:02}"), path)
        };
        let files = pictures.iter().enumerate().map(file).collect();
        Self { folder, files, feeder: paths::guest_loopback(), format, size }
    }

    /// Its table in the worker's configuration.
    pub fn table(&self) -> String {
        let (width, height) = self.size;
        format!(
            "[[camera]]\ndevice = \"/dev/video9\"\nwidth = {width}\nheight = {height}\nfps = {FPS}\nbitrate = 500000\n"
        )
    }

    /// What a board runs before its worker.
    pub fn script(&self) -> String {
        let ((width, height), format) = (self.size, self.format);
        format!(
            "modprobe v4l2loopback video_nr=9 card_label=Loopback exclusive_caps=1 max_buffers=16\n\
             /loopback /dev/video9 {format} {width} {height} {FPS} /pictures/* &\n"
        )
    }

    /// What a board needs for that.
    pub fn files(&self) -> Vec<File<'_>> {
        let pictures = self.files.iter().map(|(target, file)| (target.as_str(), 0o644, Content::File(file)));
        pictures.chain([("/loopback", 0o755, Content::File(&self.feeder))]).collect()
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Boots a board whose one camera gives these.
fn boot(name: &str, server: &Server, format: &'static str, pictures: &[Vec<u8>]) -> Guest {
    let fed = Fed::new(name, format, (WIDTH, HEIGHT), pictures);
    board::boot_with(name, server, &fed.table(), &fed.script(), &fed.files())
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
    let mut units = units(WIDTH, HEIGHT);
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
