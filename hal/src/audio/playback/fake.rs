//! A card by script: its clock runs as wrong as wanted, its calls fail as wanted, its cable can be pulled.

use super::{Failed, SampleFormat, Shape};
use crate::process::monotonic_ns;
use crate::ring::pcm::Frame;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Periods that it holds, of 10 ms each.
const PERIODS: usize = 5;

/// How often a call that waits looks.
const LOOK: Duration = Duration::from_micros(500);

static CARDS: Mutex<BTreeMap<String, Arc<Shared>>> = Mutex::new(BTreeMap::new());

/// The calls into a PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub enum Call {
    Open,
    Offer,
    Hardware,
    Software,
    Prepare,
    Start,
    Resume,
    Room,
    Delay,
    Wait,
    Write,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Offer,
        Self::Hardware,
        Self::Software,
        Self::Prepare,
        Self::Start,
        Self::Resume,
        Self::Room,
        Self::Delay,
        Self::Wait,
        Self::Write,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "snd_pcm_open",
            Self::Offer => "snd_pcm_hw_params_any",
            Self::Hardware => "snd_pcm_hw_params",
            Self::Software => "snd_pcm_sw_params",
            Self::Prepare => "snd_pcm_prepare",
            Self::Start => "snd_pcm_start",
            Self::Resume => "snd_pcm_resume",
            Self::Room => "snd_pcm_avail",
            Self::Delay => "snd_pcm_delay",
            Self::Wait => "snd_pcm_wait",
            Self::Write => "snd_pcm_writei",
        }
    }
}

/// The test's end of a card.
#[derive(Clone, Debug)]
pub struct Card(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    healed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What it takes: S16 at 48 kHz, unless it is said otherwise.
    formats: Vec<SampleFormat>,
    rates: Vec<u32>,
    /// What was agreed on last.
    shape: Option<Shape>,
    /// How often it is open.
    open: usize,
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
        let state = Mutex::new(State {
            formats: vec![SampleFormat::S16],
            rates: vec![48_000],
            shape: None,
            open: 0,
            ppm,
            simulated: None,
            unplugged: false,
            faults: Vec::new(),
            hangs: None,
            hanging: false,
            running: None,
            written: 0,
            played: Vec::new(),
            starts: 0,
        });
        let shared = Arc::new(Shared { state, healed: Condvar::new() });
        lock(&CARDS).insert(name.to_owned(), shared.clone());
        Self(shared)
    }

    /// The same with these formats and rates and no others.
    #[must_use]
    pub fn with(self, formats: &[SampleFormat], rates: &[u32]) -> Self {
        let mut state = lock(&self.0.state);
        (state.formats, state.rates) = (formats.to_vec(), rates.to_vec());
        drop(state);
        self
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

    /// How often it is open now.
    pub fn in_use(&self) -> usize {
        lock(&self.0.state).open
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
pub(super) fn open(name: &str) -> Option<Result<Pcm, Failed>> {
    let shared = lock(&CARDS).get(name)?.clone();
    let opened = shared.enter(Call::Open).map(|mut state| state.open += 1);
    Some(opened.map(|()| Pcm(shared)))
}

impl Drop for Pcm {
    fn drop(&mut self) {
        lock(&self.0.state).open -= 1;
    }
}

impl Pcm {
    pub(super) fn takes(&mut self, format: SampleFormat, rate: u32) -> Result<bool, Failed> {
        let state = self.0.enter(Call::Offer)?;
        Ok(state.formats.contains(&format) && state.rates.contains(&rate))
    }

    pub(super) fn set_hardware(&mut self, format: SampleFormat, rate: u32, channels: u32) -> Result<Shape, Failed> {
        let mut state = self.0.enter(Call::Hardware)?;
        let (channels, period) = (channels as usize, rate as usize / 100);
        Ok(*state.shape.insert(Shape { format, rate, channels, period, buffer: PERIODS * period }))
    }

    pub(super) fn set_software(&mut self) -> Result<(), Failed> {
        self.0.enter(Call::Software).map(drop)
    }

    pub(super) fn prepare(&mut self) -> Result<(), Failed> {
        let mut state = self.0.enter(Call::Prepare)?;
        (state.running, state.written) = (None, 0);
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), Failed> {
        let mut state = self.0.enter(Call::Start)?;
        state.running = Some(state.now_ns());
        state.starts += 1;
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Failed> {
        self.0.enter(Call::Resume).map(drop)
    }

    pub(super) fn room(&mut self) -> Result<usize, Failed> {
        let mut state = self.0.enter(Call::Room)?;
        state.room()
    }

    pub(super) fn delay(&mut self) -> Result<usize, Failed> {
        let mut state = self.0.enter(Call::Delay)?;
        Ok(state.shape().buffer - state.room()?)
    }

    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Failed> {
        let look = LOOK.min(timeout);
        let mut state = self.0.enter(Call::Wait)?;
        if !state.pass(look) {
            drop(state);
            thread::sleep(look);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, raw: &[u8]) -> Result<usize, Failed> {
        let mut state = self.0.enter(Call::Write)?;
        let shape = state.shape();
        if state.running.is_some() && state.room()? < shape.period {
            return Ok(0);
        }
        let mut samples = vec![0.0; raw.len() / shape.format.bytes()];
        shape.format.decode(raw, &mut samples);
        // Whole numbers, as long as nothing but 16-bit samples is played.
        let whole = |sample: f32| (sample * 32_768.0) as i16;
        let frames = samples.chunks_exact(shape.channels);
        let heard: Vec<Frame> = frames.map(|f| [whole(f[0]), whole(f[f.len() - 1])]).collect();
        state.played.extend(&heard);
        state.written += heard.len() as u64;
        Ok(heard.len())
    }
}

impl Shared {
    /// Begins a call: waits where it hangs, and fails it where it is to fail.
    fn enter(&self, call: Call) -> Result<MutexGuard<'_, State>, Failed> {
        let mut state = lock(&self.state);
        while state.hangs == Some(call) {
            state.hanging = true;
            state = self.healed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.hanging = false;
        }
        state.call(call)?;
        Ok(state)
    }
}

impl State {
    fn shape(&self) -> Shape {
        self.shape.expect("set up before it runs")
    }

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

    fn call(&mut self, call: Call) -> Result<(), Failed> {
        let failed = |errno| Err(Failed { call: call.name(), errno });
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
        let shape = self.shape();
        let taken = (self.now_ns() - since) as f64 * f64::from(shape.rate) / 1e9 * (1.0 + self.ppm / 1e6);
        let held = self.written as f64 - taken;
        if held < 0.0 {
            self.running = None;
            return Err(xrun);
        }
        Ok(shape.buffer.saturating_sub(held.ceil() as usize))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
