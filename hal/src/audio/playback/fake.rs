//! A card by script: its clock runs as wrong as wanted, its calls fail as wanted, its cable can be pulled.

use super::{Failed, Shape};
use crate::process::monotonic_ns;
use crate::ring::pcm::Frame;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Frames a period and in all.
const PERIOD: usize = 480;
const BUFFER: usize = 5 * PERIOD;

/// How often a call that waits looks.
const LOOK: Duration = Duration::from_micros(500);

static CARDS: Mutex<BTreeMap<String, Arc<Shared>>> = Mutex::new(BTreeMap::new());

/// The calls into a PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub enum Call {
    Open,
    Prepare,
    Start,
    Resume,
    Room,
    Wait,
    Write,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Open, Self::Prepare, Self::Start, Self::Resume, Self::Room, Self::Wait, Self::Write];
}

/// The test's end of a card.
#[derive(Clone, Debug)]
pub struct Card(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    healed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Parts in a million by which its clock is fast.
    ppm: f64,
    /// Simulated time in ns, which passes only while a call waits; without, the real one.
    simulated: Option<u64>,
    unplugged: bool,
    faults: Vec<(Call, libc::c_int)>,
    /// This call does not return.
    hangs: Option<Call>,
    hanging: bool,
    /// When it was started, if it runs.
    running: Option<u64>,
    /// Frames since it was prepared.
    written: u64,
    played: Vec<Frame>,
    starts: u32,
}

impl Card {
    /// Plugs in a card of this name, which no other test uses.
    pub fn plug_in(name: &str, ppm: f64) -> Self {
        let state = Mutex::new(State { ppm, ..State::default() });
        let shared = Arc::new(Shared { state, ..Shared::default() });
        lock(&CARDS).insert(name.to_owned(), shared.clone());
        Self(shared)
    }

    /// The same in simulated time.
    pub fn simulated(name: &str, ppm: f64) -> Self {
        let card = Self::plug_in(name, ppm);
        lock(&card.0.state).simulated = Some(0);
        card
    }

    /// Lets simulated time pass; says what time it is.
    pub fn pass(&self, time: Duration) -> Duration {
        let mut state = lock(&self.0.state);
        state.pass(time);
        Duration::from_nanos(state.now_ns())
    }

    /// Pulls the cable, or puts it back.
    pub fn unplug(&self, unplugged: bool) {
        let mut state = lock(&self.0.state);
        state.unplugged = unplugged;
        state.running = None;
    }

    /// The next call of this kind fails.
    pub fn fail(&self, call: Call, errno: i32) {
        lock(&self.0.state).faults.push((call, errno));
    }

    /// From now on this call does not return before [`Card::heal`], as in a driver that hangs.
    pub fn hang(&self, call: Call) {
        lock(&self.0.state).hangs = Some(call);
    }

    /// Whether somebody sits in a call that hangs.
    pub fn is_hanging(&self) -> bool {
        lock(&self.0.state).hanging
    }

    /// Nothing fails or hangs from now on.
    pub fn heal(&self) {
        let mut state = lock(&self.0.state);
        state.faults.clear();
        state.hangs = None;
        self.0.healed.notify_all();
    }

    /// What was written since the last time, silence of its starts included.
    pub fn take_played(&self) -> Vec<Frame> {
        std::mem::take(&mut lock(&self.0.state).played)
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        lock(&self.0.state).starts
    }
}

/// An opened card.
#[derive(Debug)]
pub(super) struct Pcm(Arc<Shared>);

/// `None` if no card by script has this name.
pub(super) fn open(name: &str, channels: u8, ahead: usize) -> Option<(Result<Pcm, Failed>, Shape)> {
    let shared = lock(&CARDS).get(name)?.clone();
    let opened = shared.enter(Call::Open, "snd_pcm_open").map(drop);
    Some((opened.map(|()| Pcm(shared)), Shape::new(channels.into(), PERIOD, BUFFER, ahead)))
}

impl Pcm {
    pub(super) fn prepare(&mut self) -> Result<(), Failed> {
        let mut state = self.0.enter(Call::Prepare, "snd_pcm_prepare")?;
        (state.running, state.written) = (None, 0);
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), Failed> {
        let mut state = self.0.enter(Call::Start, "snd_pcm_start")?;
        state.running = Some(state.now_ns());
        state.starts += 1;
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Failed> {
        self.0.enter(Call::Resume, "snd_pcm_resume").map(drop)
    }

    pub(super) fn room(&mut self) -> Result<usize, Failed> {
        let mut state = self.0.enter(Call::Room, "snd_pcm_avail")?;
        state.room()
    }

    pub(super) fn delay(&mut self) -> Result<usize, Failed> {
        let room = lock(&self.0.state).room()?;
        Ok(BUFFER - room)
    }

    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Failed> {
        let look = LOOK.min(timeout);
        let mut state = self.0.enter(Call::Wait, "snd_pcm_wait")?;
        if !state.pass(look) {
            drop(state);
            thread::sleep(look);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, samples: &[i32], shape: Shape) -> Result<usize, Failed> {
        let mut state = self.0.enter(Call::Write, "snd_pcm_writei")?;
        if state.running.is_some() && state.room()? < shape.period {
            return Ok(0);
        }
        let frames = samples.chunks_exact(shape.channels);
        let heard: Vec<Frame> = frames.map(|f| [f[0] as i16, f[f.len() - 1] as i16]).collect();
        state.played.extend(&heard);
        state.written += heard.len() as u64;
        Ok(heard.len())
    }
}

impl Shared {
    /// Begins a call: waits where it hangs, and fails it where it is to fail.
    fn enter(&self, call: Call, name: &'static str) -> Result<MutexGuard<'_, State>, Failed> {
        let mut state = lock(&self.state);
        while state.hangs == Some(call) {
            state.hanging = true;
            state = self.healed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.hanging = false;
        }
        state.call(call, name)?;
        Ok(state)
    }
}

impl State {
    fn now_ns(&self) -> u64 {
        self.simulated.unwrap_or_else(monotonic_ns)
    }

    /// False where time is real.
    fn pass(&mut self, time: Duration) -> bool {
        if let Some(now_ns) = &mut self.simulated {
            *now_ns += time.as_nanos() as u64;
        }
        self.simulated.is_some()
    }

    fn call(&mut self, call: Call, name: &'static str) -> Result<(), Failed> {
        let failed = |errno| Err(Failed { call: name, errno });
        if self.unplugged {
            return failed(libc::ENODEV);
        }
        match self.faults.iter().position(|(wanted, _)| *wanted == call) {
            Some(at) => {
                self.running = None;
                failed(self.faults.remove(at).1)
            }
            None => Ok(()),
        }
    }

    fn room(&mut self) -> Result<usize, Failed> {
        let xrun = Failed { call: "snd_pcm_avail", errno: libc::EPIPE };
        let since = self.running.ok_or(xrun)?;
        let taken = (self.now_ns() - since) as f64 * 48e-6 * (1.0 + self.ppm / 1e6);
        let held = self.written as f64 - taken;
        if held < 0.0 {
            self.running = None;
            return Err(xrun);
        }
        Ok(BUFFER.saturating_sub(held.ceil() as usize))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
