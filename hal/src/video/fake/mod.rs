//! Drivers of our own behind [`Handle`]: for what no virtual device of the kernel does, and for a failure at any call.
//!
//! A [`Device`] stands for the hardware and stays with the test; each [`Device::open`] gives a [`Handle`] as the
//! supervisor's open node would be. Calls are counted by name; a [`Fault`] makes one of them fail, [`Device::hang`] lets one
//! not return. One that is plugged in
//! has a node, too, which goes through processes as any descriptor does.

mod camera;
mod coding;
mod encoder;
mod knobs;
mod script;

pub use camera::Camera;
pub use coding::{Coded, Coding, Pictured, coded, pi_knobs};
pub use encoder::Encoder;
pub use knobs::Knob;
pub use script::{Frame, Script, Stamp};

use super::Handle;
use super::handle::{Access, Mapped};
use super::sys;
use crate::process::create_memfd;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Devices that are plugged in, by the paths of their nodes.
static NODES: Mutex<BTreeMap<String, Device>> = Mutex::new(BTreeMap::new());

/// Nodes whose drivers hang.
static HANGING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Nodes whose drivers take their time.
static SLOW: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());

/// Names the memfd that stands for an opened node, before its path.
const NODE: &str = "video-fake:";

/// What a driver does with calls. Failures are errno values.
pub(in crate::video) trait Driver: Send {
    /// Carries out a call; `argument` is what the request of that name takes.
    fn ioctl(&mut self, name: &'static str, argument: &mut dyn Any) -> Result<(), i32>;

    /// Poll events that are there now; else when to look again without a call, if at all.
    fn poll(&mut self, now: Instant) -> Ready;

    /// The memory that a buffer's plane is: what was told as its place.
    fn memory(&mut self, place: u32) -> Option<std::fs::File>;

    /// Controls in the order in which they were set.
    fn knobs(&self) -> Vec<(String, i64)>;

    /// A USB camera's descriptors; its nodes are of interface 0.
    fn usb_descriptors(&self) -> Option<Vec<u8>>;

    /// A file was closed.
    fn close(&mut self);
}

/// What a driver says to poll.
#[derive(Clone, Copy, Debug)]
pub(in crate::video) enum Ready {
    /// These events.
    Now(libc::c_short),
    /// None; perhaps at this time.
    At(Instant),
    /// None before the next call.
    Never,
}

/// One call that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `VIDIOC_QBUF`, …, or `poll`, `mmap`, `fcntl`.
    pub call: &'static str,
    /// Which one of that name, from 1.
    pub nth: u32,
    /// With what.
    pub errno: i32,
}

/// A made-up video device.
#[derive(Clone)]
pub struct Device(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    driver: Box<dyn Driver>,
    faults: Vec<Fault>,
    /// This call does not return.
    hangs: Option<&'static str>,
    hanging: bool,
    counts: BTreeMap<&'static str, u32>,
    given: u32,
    open: usize,
    mapped: Arc<()>,
}

impl Device {
    pub(in crate::video) fn new(driver: impl Driver + 'static) -> Self {
        let state = State {
            driver: Box::new(driver),
            faults: Vec::new(),
            hangs: None,
            hanging: false,
            counts: BTreeMap::new(),
            given: 0,
            open: 0,
            mapped: Arc::new(()),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Opens it, as often as one likes.
    pub fn open(&self) -> Handle {
        self.state().open += 1;
        Handle::from(File(self.0.clone()))
    }

    /// From now on [`video::open`](super::open) opens it at `path`. What that gives is a descriptor that becomes this device
    /// again in any process that has plugged it in at the same path.
    pub fn plug_in(&self, path: &str) {
        lock(&NODES).insert(path.to_owned(), self.clone());
    }

    /// Makes a call fail; counting starts anew.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.state();
        state.counts.clear();
        state.faults = vec![fault];
    }

    /// From now on this call does not return before [`Device::heal`], as in a driver that hangs.
    pub fn hang(&self, call: &'static str) {
        self.state().hangs = Some(call);
    }

    /// Whether somebody sits in a call that hangs.
    pub fn is_hanging(&self) -> bool {
        self.state().hanging
    }

    /// Nothing fails or hangs from now on; counting starts anew.
    pub fn heal(&self) {
        let mut state = self.state();
        state.counts.clear();
        state.faults.clear();
        state.hangs = None;
        drop(state);
        self.0.changed.notify_all();
    }

    /// How often each call was made since counting started.
    pub fn counts(&self) -> BTreeMap<&'static str, u32> {
        self.state().counts.clone()
    }

    /// Of a camera: buffers that wait to be filled, or to be taken.
    pub fn given(&self) -> u32 {
        self.state().given
    }

    /// Controls that were set, in order.
    pub fn knobs(&self) -> Vec<(String, i64)> {
        self.state().driver.knobs()
    }

    /// Open files and mapped planes: what a user that is gone must not leave.
    pub fn in_use(&self) -> (usize, usize) {
        let state = self.state();
        (state.open, Arc::strong_count(&state.mapped) - 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

/// Pulls what is plugged in at `path`. What is open stays so.
pub fn unplug(path: &str) {
    lock(&NODES).remove(path);
}

/// From now on [`video::open`](super::open) never returns at `path`.
pub fn hang(path: &str) {
    lock(&HANGING).insert(path.to_owned());
}

/// From now on [`video::open`](super::open) takes this long at `path`, as with drivers that wake their hardware.
pub fn delay(path: &str, opening: Duration) {
    lock(&SLOW).insert(path.to_owned(), opening);
}

/// A node of what is plugged in at `path`.
pub(in crate::video) fn node(path: &Path) -> Option<io::Result<OwnedFd>> {
    while path.to_str().is_some_and(|path| lock(&HANGING).contains(path)) {
        std::thread::park();
    }
    let path = path.to_str().filter(|path| lock(&NODES).contains_key(*path))?;
    let opening = lock(&SLOW).get(path).copied();
    std::thread::sleep(opening.unwrap_or_default());
    Some(create_memfd(&format!("{NODE}{path}")))
}

/// The device behind a descriptor that [`node`] has made.
pub(in crate::video) fn behind(node: BorrowedFd<'_>) -> Option<Handle> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", node.as_raw_fd())).ok()?;
    let path = link.to_str()?.strip_prefix("/memfd:")?.strip_prefix(NODE)?.strip_suffix(" (deleted)")?;
    let device = lock(&NODES).get(path)?.clone();
    Some(device.open())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A failed assertion of a test elsewhere is no reason to fail here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins a call: waits where it hangs, counts it, and fails it if it is its turn.
    fn enter(&self, call: &'static str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        while state.hangs == Some(call) {
            state.hanging = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.hanging = false;
        }
        state.count(call)?;
        Ok(state)
    }
}

impl State {
    /// Counts a call, and fails it if it is its turn.
    fn count(&mut self, call: &'static str) -> io::Result<()> {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        match self.faults.iter().find(|fault| fault.call == call && fault.nth == *count) {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => Ok(()),
        }
    }
}

/// An open file of a made-up device.
pub struct File(Arc<Shared>);

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl File {
    pub(in crate::video) fn ioctl(&self, name: &'static str, argument: &mut dyn Any) -> io::Result<()> {
        let mut state = self.0.enter(name)?;
        let done = state.driver.ioctl(name, argument).map_err(io::Error::from_raw_os_error);
        state.given = match (name, &done) {
            ("VIDIOC_QBUF", Ok(())) => state.given + 1,
            ("VIDIOC_DQBUF", Ok(())) => state.given.saturating_sub(1),
            ("VIDIOC_STREAMOFF", _) => 0,
            _ => state.given,
        };
        drop(state);
        self.0.changed.notify_all();
        done
    }

    /// Waits in real time, as the kernel does.
    pub(in crate::video) fn poll(&self, wanted: libc::c_short, timeout: Duration) -> io::Result<libc::c_short> {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.enter("poll")?;
        loop {
            let now = Instant::now();
            let until = match state.driver.poll(now) {
                Ready::Now(events) => match events & (wanted | libc::POLLERR | libc::POLLHUP) {
                    0 => deadline,
                    events => return Ok(events),
                },
                Ready::At(at) => at.min(deadline),
                Ready::Never => deadline,
            };
            if now >= deadline {
                return Ok(0);
            }
            let waited = self.0.changed.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(in crate::video) fn map(&self, plane: &sys::Plane, access: Access) -> io::Result<Mapped> {
        let mut state = self.0.enter("mmap")?;
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let memory = state.driver.memory(plane.place).ok_or_else(invalid)?;
        let mut mapped = Mapped::new(memory.as_fd(), 0, plane.length as usize, access)?;
        mapped.count = Some(state.mapped.clone());
        Ok(mapped)
    }

    pub(in crate::video) fn usb_descriptors(&self) -> Option<(Vec<u8>, u8)> {
        self.0.state().driver.usb_descriptors().map(|descriptors| (descriptors, 0))
    }

    pub(in crate::video) fn set_nonblocking(&self) -> io::Result<()> {
        self.0.enter("fcntl").map(drop)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.driver.close();
    }
}
