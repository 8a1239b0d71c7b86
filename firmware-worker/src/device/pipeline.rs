//! A running device: the thread that captures and encodes, and the latest wishes it reads before each frame.

use super::outlet::Outlet;
use protocol::device::ReaderId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use tokio::sync::mpsc;

/// Events that may wait for the control loop. It is never this far behind; a key event that does not fit is lost, which
/// costs at most one keyframe.
const EVENTS: usize = 16;

/// What the control loop wants of a running device. Latest values, not a queue.
#[derive(Debug, Default)]
pub struct Wanted {
    stop: AtomicBool,
    encode: AtomicBool,
    key: AtomicBool,
    bitrate: AtomicU32,
    epoch: AtomicU32,
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
    },
    /// A keyframe went into the ring.
    Key,
    /// A speaker's reader broke the rules of its ring, and how.
    Violated(ReaderId, String),
    /// The thread's last word: why the device is gone.
    Lost(String),
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
    /// As [`Events::tell`].
    pub fn tell(&self, event: Event) {
        self.events.tell(event);
    }
}

impl Events {
    /// Never waits, see [`EVENTS`].
    pub fn tell(&self, event: Event) {
        let _ = self.0.try_send(event);
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
    pub fn spawn(
        name: &str,
        outlet: Arc<Outlet>,
        body: impl FnOnce(&Stage) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        Self::launch(name, move |wanted, events| {
            body(&Stage { wanted: wanted.clone(), outlet, events: events.clone() })
        })
    }

    /// The same for a device that gives no units.
    pub fn launch(
        name: &str,
        body: impl FnOnce(&Arc<Wanted>, &Events) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let wanted = Arc::new(Wanted::default());
        let (wishes, sender) = (wanted.clone(), Events(sender));
        let thread = Builder::new().name(name.into()).spawn(move || {
            if let Err(why) = body(&wishes, &sender) {
                sender.tell(Event::Lost(why));
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
    }

    /// Makes the next frame a keyframe.
    pub fn force_key(&self) {
        self.wanted.want_key();
    }

    /// Bit/s from the next frame on.
    pub fn set_bitrate(&self, bps: u32) {
        self.wanted.bitrate.store(bps, Ordering::Release);
    }

    /// The next event; `None` when the thread has ended. Cancel-safe.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.wanted.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
