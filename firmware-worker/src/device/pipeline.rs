//! A running device: the thread that captures and encodes, and the latest wishes it reads before each frame.

use super::outlet::Outlet;
use crate::control::{DriverBuffers, Encoder};
use hal::process::Group;
use protocol::device::{Keying, ReaderId};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events that may wait for the control loop, which is this far behind only where it is held up for seconds. One that does
/// not fit is lost. The first always fits, and the end is told by the channel's own. Of others, a key costs at most one
/// keyframe, a description is old until the next; buffers are told again; of a reader that broke the rules or of a
/// warning nobody hears, and an encoder that gave way is tried at the next opening already.
const EVENTS: usize = 16;

/// What the control loop wants of a running device. Latest values, not a queue.
#[derive(Debug, Default)]
pub struct Wanted {
    stop: AtomicBool,
    encode: AtomicBool,
    key: AtomicBool,
    bitrate: AtomicU32,
    epoch: AtomicU32,
    turns: AtomicU32,
    /// What the thread drives: it cannot say so when that hangs.
    subject: Mutex<String>,
    /// What the thread has started and must not outlive it.
    program: Mutex<Option<Group>>,
}

impl Wanted {
    /// The device is to be closed.
    pub fn stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
    /// Ends the other threads of this device: it cannot go on.
    pub fn give_up(&self) {
        self.stop.store(true, Ordering::Release);
    }
    /// Someone reads: encode what is captured.
    pub fn encode(&self) -> bool {
        self.encode.load(Ordering::Acquire)
    }
    /// A keyframe is wanted; asking takes the wish away.
    pub fn take_key(&self) -> bool {
        self.key.swap(false, Ordering::AcqRel)
    }
    /// Wants a keyframe again: the encoder left it out.
    pub fn want_key(&self) {
        self.key.store(true, Ordering::Release);
    }
    /// Bit/s.
    pub fn bitrate(&self) -> u32 {
        self.bitrate.load(Ordering::Acquire)
    }
    /// Counts restarts of the device; settled before anything is encoded.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
    /// The thread has come round once more, and sits in no driver.
    pub fn turned(&self) {
        self.turns.fetch_add(1, Ordering::AcqRel);
    }
    /// From now on the thread calls the driver of this.
    pub fn drives(&self, subject: &str) {
        subject.clone_into(&mut self.subject.lock().unwrap_or_else(PoisonError::into_inner));
    }
    /// Ends this program when the process must end before this thread has.
    pub fn started(&self, program: Group) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
    }
}

/// Why a device's thread ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device is gone; in plain words.
    Lost(String),
    /// Another process has it, or the encoder that must code for it: the node or ALSA name of that.
    Busy(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Lost(why)
    }
}

impl From<hal::video::Error> for Failure {
    fn from(error: hal::video::Error) -> Self {
        match error {
            hal::video::Error::Busy(node) => Self::Busy(node),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<hal::audio::Error> for Failure {
    fn from(error: hal::audio::Error) -> Self {
        match error {
            hal::audio::Error::Busy(name) => Self::Busy(name),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// What the thread tells the control loop. The end of the channel is the end of the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device delivers.
    Running {
        /// What was chosen, in plain words.
        description: String,
        /// A camera or a card, not a generator.
        hardware: bool,
        /// What codes a camera's pictures.
        encoder: Option<Encoder>,
        /// Who decides where its keyframes are.
        keying: Keying,
    },
    /// More is known of what runs, or another encoder has taken over; keyframes are made in the same way.
    Described {
        /// What is done now, in plain words.
        description: String,
        /// What codes.
        encoder: Encoder,
    },
    /// The board's encoder was given up, in plain words; software codes.
    GaveWay(String),
    /// A camera's driver, or its encoder's, has other buffers than was told last.
    Mapped(DriverBuffers),
    /// A keyframe went into the ring.
    Key,
    /// A speaker's reader broke the rules of its ring, and how.
    Violated(ReaderId, String),
    /// A line for the log, of a thread that must not wait for it.
    Warned(String),
    /// The thread's last word.
    Lost(Failure),
}

impl Event {
    /// A thread that ended without a last word.
    pub fn ended() -> Self {
        Self::Lost(Failure::Lost("the device's thread ended".into()))
    }
}

/// What a thread works with.
#[derive(Debug)]
pub struct Stage {
    /// Wishes.
    pub wanted: Arc<Wanted>,
    /// Where units go.
    pub outlet: Arc<Outlet>,
    events: Events,
}

/// To the control loop.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Event>);

impl Stage {
    /// Waits until encoding is wanted, as it is soon after [`Event::Running`] where somebody reads. Returns after `limit`
    /// at the latest, and at once when the device is to be closed.
    pub fn await_encode(&self, limit: Duration) {
        let start = Instant::now();
        while !self.wanted.encode() && !self.wanted.stop() {
            let Some(left) = limit.checked_sub(start.elapsed()) else { return };
            thread::park_timeout(left);
        }
    }

    /// As [`Events::tell`].
    pub fn tell(&self, event: Event) -> bool {
        self.events.tell(event)
    }
}

impl Events {
    /// Never waits, see [`EVENTS`]. False if it is lost.
    pub fn tell(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }
}

/// A running device, stopped and joined when dropped, so that opening it again never meets its own predecessor.
#[derive(Debug)]
pub struct Pipeline {
    wanted: Arc<Wanted>,
    thread: Option<JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
}

impl Pipeline {
    /// Runs `body` on a thread of its own. It returns soon after [`Wanted::stop`], or earlier with the reason.
    pub fn spawn<E: Into<Failure>>(
        name: &str,
        outlet: Arc<Outlet>,
        body: impl FnOnce(&Stage) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        Self::launch(name, move |wanted, events| {
            body(&Stage { wanted: wanted.clone(), outlet, events: events.clone() })
        })
    }

    /// The same for a device that gives no units.
    pub fn launch<E: Into<Failure>>(
        name: &str,
        body: impl FnOnce(&Arc<Wanted>, &Events) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let wanted = Arc::new(Wanted::default());
        let (wishes, sender) = (wanted.clone(), Events(sender));
        let thread = Builder::new().name(name.into()).spawn(move || {
            if let Err(why) = body(&wishes, &sender) {
                sender.tell(Event::Lost(why.into()));
            }
        })?;
        Ok(Self { wanted, thread: Some(thread), events })
    }

    /// The device runs for the `epoch`th time.
    pub fn set_epoch(&self, epoch: u32) {
        self.wanted.epoch.store(epoch, Ordering::Release);
    }

    /// Starts or stops encoding.
    pub fn encode(&self, on: bool) {
        self.wanted.encode.store(on, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Makes the next frame a keyframe.
    pub fn force_key(&self) {
        self.wanted.want_key();
    }

    /// Bit/s from the next frame on.
    pub fn set_bitrate(&self, bps: u32) {
        self.wanted.bitrate.store(bps, Ordering::Release);
    }

    /// How often the thread has come round; wraps.
    pub fn turns(&self) -> u32 {
        self.wanted.turns.load(Ordering::Acquire)
    }

    /// What the thread drives; empty before that is known.
    pub fn subject(&self) -> String {
        self.wanted.subject.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An event that has happened already.
    pub fn try_event(&mut self) -> Option<Event> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Event::ended()),
        }
    }

    /// The process ends without waiting for the thread: what it has started is killed.
    pub fn abandon(&self) {
        if let Some(program) = &*self.wanted.program.lock().unwrap_or_else(PoisonError::into_inner) {
            program.kill();
        }
    }

    /// The next event; `None` when the thread has ended. Cancel-safe.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Stops and joins the thread. What it has told can still be read.
    pub fn end(&mut self) {
        self.wanted.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.end();
    }
}
