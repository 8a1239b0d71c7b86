//! A sound card by script: what it offers, how its clock runs, and which of its calls fails how.

mod cards;
pub mod mixer;

pub(super) use cards::open;
pub use cards::{fail, heal, in_use, is_hanging, plug_in, unplug};

use super::pcm::{Failed, Status};
use super::{SampleFormat, Setup};
use crate::process::monotonic_ns;
use cards::{Beside, Plugged, lock};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The calls into a PCM, by what libasound names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `snd_pcm_open`
    Open,
    /// `snd_pcm_hw_params_any` and what narrows it down.
    Offer,
    /// `snd_pcm_hw_params`
    Hardware,
    /// `snd_pcm_sw_params`
    Software,
    /// `snd_pcm_prepare`
    Prepare,
    /// `snd_pcm_start`
    Start,
    /// `snd_pcm_resume`
    Resume,
    /// `snd_pcm_status`
    Status,
    /// `snd_pcm_readi`
    Read,
    /// `snd_pcm_wait`
    Wait,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Open,
        Self::Offer,
        Self::Hardware,
        Self::Software,
        Self::Prepare,
        Self::Start,
        Self::Resume,
        Self::Status,
        Self::Read,
        Self::Wait,
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
            Self::Status => "snd_pcm_status",
            Self::Read => "snd_pcm_readi",
            Self::Wait => "snd_pcm_wait",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails; the card's state follows the errno.
    Errno(libc::c_int),
    /// A read gives this many frames only.
    Short(usize),
    /// From this call on the card stands still for this long. Once a script.
    Stall(Duration),
    /// The call does not return before [`heal`], as in a driver that hangs.
    Hang,
}

/// What time it is for the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Passes only while a call waits.
    Simulated,
    /// CLOCK_MONOTONIC; a call that waits sleeps, as under a timer of one period.
    Real,
}

/// A card and its faults.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it gives.
    pub formats: Vec<SampleFormat>,
    /// Hz.
    pub rates: Vec<u32>,
    /// How many it can have.
    pub channels: RangeInclusive<u32>,
    /// Frames a period; `None` for 10 ms.
    pub period: Option<usize>,
    /// Periods that its buffer holds.
    pub buffer: usize,
    /// By how much its clock is fast, in millionths.
    pub ppm: i32,
    /// Which time.
    pub time: Time,
    /// The sound: of a frame, counted from the start of the card, and a channel.
    pub sound: fn(u64, usize) -> f32,
    /// Faults: of a call, the how many-th (from 0), what.
    pub faults: Vec<(Call, u64, Fault)>,
}

impl Default for Script {
    /// S16, 48 kHz, one or two channels, four periods, a ramp of 16 bits in each, no faults, simulated time.
    fn default() -> Self {
        Self {
            formats: vec![SampleFormat::S16],
            rates: vec![48_000],
            channels: 1..=2,
            period: None,
            buffer: 4,
            ppm: 0,
            time: Time::Simulated,
            sound: |frame, _| f32::from(frame as i16) / 32_768.0,
            faults: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Suspended,
    Gone,
}

/// The card as a PCM.
#[derive(Debug)]
pub(super) struct Pcm {
    script: Script,
    sudden: Arc<Beside>,
    _open: Arc<()>,
    /// Calls so far, by their place in [`Call::ALL`].
    calls: [u64; Call::ALL.len()],
    setup: Option<Setup>,
    state: State,
    simulated_ns: u64,
    /// When the card's clock began.
    began_ns: u64,
    /// From when to when it stands still.
    stall: (u64, u64),
    /// Frames that were read or lost.
    done: u64,
}

impl Pcm {
    pub fn open(script: Script) -> Result<Self, Failed> {
        Self::with(Plugged { script, sudden: Arc::default(), open: Arc::default() })
    }

    fn with(card: Plugged) -> Result<Self, Failed> {
        let mut pcm = Self {
            script: card.script,
            sudden: card.sudden,
            _open: card.open,
            calls: [0; Call::ALL.len()],
            setup: None,
            state: State::Stopped,
            simulated_ns: 1_000_000_000,
            began_ns: 0,
            stall: (u64::MAX, u64::MAX),
            done: 0,
        };
        pcm.began_ns = pcm.now_ns();
        pcm.enter(Call::Open)?;
        Ok(pcm)
    }

    /// Counts the call and fails it where the script says so.
    fn enter(&mut self, call: Call) -> Result<Option<Fault>, Failed> {
        let count = &mut self.calls[call as usize];
        let nth = *count;
        *count += 1;
        let failed = |errno| Failed { call: call.name(), errno };
        let sudden = {
            let mut sudden = lock(&self.sudden.sudden);
            if sudden.unplugged || self.state == State::Gone {
                return Err(failed(libc::ENODEV));
            }
            let at = sudden.faults.iter().position(|fault| fault.0 == call);
            at.map(|at| sudden.faults.swap_remove(at).1)
        };
        let scripted = || self.script.faults.iter().find(|f| f.0 == call && f.1 == nth).map(|f| f.2);
        match sudden.or_else(scripted) {
            Some(Fault::Errno(errno)) => {
                self.state = match errno {
                    libc::EPIPE => State::Stopped,
                    libc::ESTRPIPE => State::Suspended,
                    libc::ENODEV => State::Gone,
                    _ => self.state,
                };
                Err(failed(errno))
            }
            Some(Fault::Stall(time)) => {
                self.stall = (self.now_ns(), self.now_ns() + time.as_nanos() as u64);
                Ok(None)
            }
            Some(Fault::Hang) => {
                let mut sudden = lock(&self.sudden.sudden);
                sudden.hanging = true;
                drop(self.sudden.healed.wait_while(sudden, |sudden| sudden.hanging));
                Ok(None)
            }
            other => Ok(other),
        }
    }

    pub fn channels(&mut self, format: SampleFormat, rate: u32) -> Result<Option<RangeInclusive<u32>>, Failed> {
        self.enter(Call::Offer)?;
        let has = self.script.formats.contains(&format) && self.script.rates.contains(&rate);
        Ok(has.then(|| self.script.channels.clone()))
    }

    pub fn set_hardware(&mut self, format: SampleFormat, rate: u32, channels: u32) -> Result<Setup, Failed> {
        self.enter(Call::Hardware)?;
        let period = self.script.period.unwrap_or(rate as usize / 100);
        let channels = channels.clamp(*self.script.channels.start(), *self.script.channels.end());
        let setup = Setup { format, rate, channels, period, buffer: period * self.script.buffer };
        self.setup = Some(setup);
        Ok(setup)
    }

    pub fn set_software(&mut self) -> Result<(), Failed> {
        self.enter(Call::Software).map(drop)
    }

    pub fn prepare(&mut self) -> Result<(), Failed> {
        self.enter(Call::Prepare)?;
        self.state = State::Stopped;
        Ok(())
    }

    pub fn start(&mut self) -> Result<(), Failed> {
        self.enter(Call::Start)?;
        self.state = State::Running;
        self.done = self.frames_at(self.now_ns());
        Ok(())
    }

    pub fn resume(&mut self) -> Result<(), Failed> {
        self.enter(Call::Resume)?;
        self.start()
    }

    pub fn status(&mut self) -> Result<Status, Failed> {
        self.enter(Call::Status)?;
        let (now, setup) = (self.now_ns(), self.setup());
        let waiting = self.frames_at(now).saturating_sub(self.done) as usize;
        if waiting > setup.buffer && self.state == State::Running {
            self.state = State::Stopped;
        }
        let stopped = match self.state {
            State::Running => None,
            State::Stopped => Some(libc::EPIPE),
            State::Suspended => Some(libc::ESTRPIPE),
            State::Gone => Some(libc::ENODEV),
        };
        Ok(Status { waiting: waiting.min(setup.buffer), stamp_ns: Some(now), stopped })
    }

    pub fn read(&mut self, raw: &mut [u8]) -> Result<usize, Failed> {
        let fault = self.enter(Call::Read)?;
        let setup = self.setup();
        let frame = setup.channels as usize * setup.format.bytes();
        let mut frames = (self.frames_at(self.now_ns()) - self.done).min((raw.len() / frame) as u64) as usize;
        if let Some(Fault::Short(short)) = fault {
            frames = frames.min(short);
        }
        let channels = setup.channels as usize;
        for (n, sample) in raw.chunks_exact_mut(setup.format.bytes()).take(frames * channels).enumerate() {
            let value = (self.script.sound)(self.done + (n / channels) as u64, n % channels);
            encode(setup.format, value, sample);
        }
        self.done += frames as u64;
        Ok(frames)
    }

    pub fn wait(&mut self, limit: Duration) -> Result<(), Failed> {
        self.enter(Call::Wait)?;
        let now = self.now_ns();
        let next = self.time_of(self.done + self.setup().period as u64).max(now);
        let until = next.min(now + limit.as_nanos() as u64);
        match self.script.time {
            Time::Simulated => self.simulated_ns = until,
            Time::Real => std::thread::sleep(Duration::from_nanos(until - now)),
        }
        Ok(())
    }

    pub fn now_ns(&self) -> u64 {
        match self.script.time {
            Time::Simulated => self.simulated_ns,
            Time::Real => monotonic_ns(),
        }
    }

    fn setup(&self) -> Setup {
        self.setup.expect("set up before it runs")
    }

    /// Frames a second of real time, times a million.
    fn micro_rate(&self) -> u128 {
        u128::from(self.setup().rate) * (1_000_000 + i128::from(self.script.ppm)) as u128
    }

    fn frames_at(&self, ns: u64) -> u64 {
        let (from, until) = self.stall;
        let moved = if ns < until { ns.min(from) } else { ns - (until - from) };
        (u128::from(moved - self.began_ns) * self.micro_rate() / 1_000_000_000_000_000) as u64
    }

    fn time_of(&self, frame: u64) -> u64 {
        let moved = self.began_ns + (u128::from(frame) * 1_000_000_000_000_000).div_ceil(self.micro_rate()) as u64;
        let (from, until) = self.stall;
        if moved <= from { moved } else { moved + (until - from) }
    }
}

fn encode(format: SampleFormat, value: f32, sample: &mut [u8]) {
    let whole = (f64::from(value) * 2_147_483_648.0).clamp(-2_147_483_648.0, 2_147_483_647.0) as i32;
    let bytes = match format {
        SampleFormat::S16 => &(whole >> 16).to_le_bytes()[..2],
        SampleFormat::S24 => &(whole >> 8).to_le_bytes()[..],
        SampleFormat::S24Packed => &whole.to_le_bytes()[1..],
        SampleFormat::S32 => &whole.to_le_bytes()[..],
        SampleFormat::Float => &value.to_le_bytes()[..],
    };
    sample.copy_from_slice(bytes);
}
