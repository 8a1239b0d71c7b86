//! What an owner's publish costs: a unit of 100 kB into the ring and a byte to each of eight readers, which read all the
//! while. Prints one line: p50, p99 and largest in µs of the whole, p99 of the write into the ring alone, and how often the
//! publishing thread allocated.

use hal::allocations::{self, Counting};
use hal::doorbell::Doorbell;
use hal::process::monotonic_ns;
use hal::ring::{Layout, Meta, Next, Reader, Writer};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const UNIT: usize = 100_000;
const READERS: usize = 8;
const UNITS: usize = 3000;
/// Between units: faster than any camera, and long enough for the readers to be done.
const INTERVAL: Duration = Duration::from_millis(5);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut writer = Writer::create("publish", Layout { slots: 128, arena: 4 << 20 }).expect("a ring");
    let bells: Vec<_> = (0..READERS).map(|_| reader(&writer)).collect();
    let unit = vec![7; UNIT];
    let (mut times, mut writes) = (Vec::with_capacity(UNITS), Vec::with_capacity(UNITS));
    let before = allocations::so_far();
    for position in 0..UNITS as u64 {
        let start = monotonic_ns();
        writer.push(Meta { written_ns: start, position, ..Meta::default() }, &unit).expect("it fits");
        writes.push(monotonic_ns() - start);
        for bell in &bells {
            bell.ring();
        }
        times.push(monotonic_ns() - start);
        thread::sleep(INTERVAL);
    }
    let allocations = allocations::so_far() - before;
    let [whole, write] = [times, writes].map(|mut times| {
        times.sort_unstable();
        [50, 99, 100].map(|percent| times[(times.len() * percent).div_ceil(100) - 1] as f64 / 1000.0)
    });
    println!("{} {} {} {} {allocations}", whole[0], whole[1], whole[2], write[1]);
}

fn reader(writer: &Writer) -> Doorbell {
    let ring = writer.fd().try_clone_to_owned().expect("a descriptor");
    let mut reader = Reader::map(ring).expect("the ring");
    let (bell, listener) = Doorbell::new().expect("a doorbell");
    let mut listener = UnixStream::from(listener);
    listener.set_nonblocking(false).expect("a blocking socket");
    thread::spawn(move || {
        let mut unit = Vec::new();
        while listener.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {
            while reader.next(&mut unit) != Next::Empty {}
        }
    });
    bell
}
