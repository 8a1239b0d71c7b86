//! A camera made of files: writes one after the other, for ever, into a node of v4l2loopback, each as a picture. For tests
//! on 64-bit boards.
//!
//! `loopback NODE FORMAT WIDTH HEIGHT FPS FILE...`, with FORMAT as four letters: `H264`, `MJPG`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// `struct v4l2_format` of a single-planar queue.
#[repr(C)]
struct Format {
    kind: u64,
    width: u32,
    height: u32,
    pixelformat: u32,
    field: u32,
    rest: [u64; 23],
}
const _: () = assert!(size_of::<Format>() == 208);

/// `VIDIOC_S_FMT`
const S_FMT: u32 = 0xc0d0_5605;
/// `V4L2_BUF_TYPE_VIDEO_OUTPUT`
const OUTPUT: u64 = 2;
/// `V4L2_FIELD_NONE`
const PROGRESSIVE: u32 = 1;

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: loopback NODE FORMAT WIDTH HEIGHT FPS FILE...");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, format, width, height, fps, files @ ..] = &arguments[..] else { return Err(usage()) };
    let number = |text: &str| text.parse::<u32>().map_err(|_| usage());
    let letters = <[u8; 4]>::try_from(format.as_bytes()).map_err(|_| usage())?;
    let pictures = files.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    let interval = Duration::from_secs(1) / number(fps)?.max(1);
    let mut file = OpenOptions::new().read(true).write(true).open(node)?;
    set_format(file.as_fd(), u32::from_le_bytes(letters), number(width)?, number(height)?)?;
    println!("{node}: {} pictures of {format}", pictures.len());
    let start = Instant::now();
    for (number, picture) in (0u32..).zip(pictures.iter().cycle()) {
        std::thread::sleep((interval * number).saturating_sub(start.elapsed()));
        file.write_all(picture)?;
    }
    Ok(())
}

fn set_format(node: BorrowedFd<'_>, pixelformat: u32, width: u32, height: u32) -> io::Result<()> {
    let mut format = Format { kind: OUTPUT, width, height, pixelformat, field: PROGRESSIVE, rest: [0; 23] };
    // SAFETY: the structure of this call, of the size that its number tells; the kernel reads and writes it.
    match unsafe { libc::ioctl(node.as_raw_fd(), S_FMT as _, &raw mut format) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
