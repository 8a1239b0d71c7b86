//! `bench`: what a camera or microphone of this board takes from the driver's stamp to the last packet, for board owners
//! to run. Device, encoder, ring and packetizer are those of a worker; there is no room, no encryption and no pacing.

pub(super) mod echo;
pub(super) mod speaker;

use super::arguments::BenchOptions;
use super::trial::{self, Exposure};
use super::{configuration_error, exit};
use crate::config::DeviceKind;
use crate::control::{Latency, OwnerStage};
use crate::device::{Failure, Trial};
use crate::media::still::Viewer;
use hal::process::{cpu_ns, monotonic_ns};
use hal::ring::{KEY, Meta};
use protocol::room::rtp::h264;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of a packet's payload, as a job sends them.
const PAYLOAD: usize = 1150;
/// Until the first unit.
const OPENING: Duration = Duration::from_secs(10);
/// Until the exposure is taken as one that never settles.
const EXPOSING: Duration = Duration::from_secs(5);
/// A device that gives nothing for this long has stopped.
const SILENCE: Duration = Duration::from_secs(5);
/// Between keyframes that are forced, so that there are some to measure.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(2);

/// What is measured, for the reader of the numbers.
const MEASURED: &str = "from the stamp of a frame (a packet's first sample, for sound) to the send() of its last RTP packet \
                        on a loopback socket: capture, convert, encode, ring, packetize; no room, no encryption, no pacing";

/// Which kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Camera,
    Microphone,
}

pub(super) fn print(kind: Kind, options: &BenchOptions) -> ExitCode {
    let (usual, fit): (_, fn(&DeviceKind) -> bool) = match kind {
        Kind::Camera => ("camera", |kind| matches!(kind, DeviceKind::Camera(_))),
        Kind::Microphone => ("microphone", |kind| matches!(kind, DeviceKind::Microphone(_))),
    };
    let name = options.name.as_deref().unwrap_or(usual);
    let device = match trial::device(options.config.as_deref(), name, fit) {
        Ok(device) => device,
        Err(error) => return configuration_error(&error),
    };
    let started = Instant::now();
    let duration = Duration::from_secs(options.seconds.into());
    let measured = trial::open(&device)
        .and_then(|trial| measure(trial, kind, started, duration).map_err(|failure| trial::explain(&device, failure)));
    match measured {
        Ok(results) if options.json => println!("{:#}", results.json(name)),
        Ok(results) => print!("{}", results.text(name)),
        Err(why) => {
            eprintln!("firmware-worker: {name}: {why}");
            return exit::FAILURE.into();
        }
    }
    ExitCode::SUCCESS
}

/// What was measured; times in ms.
#[derive(Debug, Default)]
struct Results {
    description: String,
    frames: Vec<f64>,
    keyframes: Vec<f64>,
    opened: f64,
    /// Not measured for sound; none where it never settled.
    exposed: Option<f64>,
    dropped: u64,
    cpu_per_frame: f64,
    pss_mb: f64,
    /// Mean of each [`OwnerStage`].
    stages: [f64; OwnerStage::NAMES.len()],
}

fn measure(mut trial: Trial, kind: Kind, started: Instant, duration: Duration) -> Result<Results, Failure> {
    let mut results = Results::default();
    trial.next(OPENING)?.ok_or_else(|| format!("nothing in {} s", OPENING.as_secs()))?;
    results.opened = ms(started.elapsed());
    if kind == Kind::Camera {
        results.exposed = expose(&mut trial, started)?;
    }
    results.description = trial.description().to_owned();
    let mut sink = Sink::new().map_err(|error| format!("loopback socket: {error}"))?;
    let (dropped, cpu, stages) = (trial.dropped(), cpu_ns(), trial.stages());
    let begun = Instant::now();
    let mut keyframe_at = begun + KEYFRAME_INTERVAL;
    while begun.elapsed() < duration {
        let meta = trial.next(SILENCE)?.ok_or_else(|| format!("nothing in {} s", SILENCE.as_secs()))?;
        let took = sink.send(kind, &meta, trial.unit()).map_err(|error| format!("loopback socket: {error}"))?;
        match kind {
            Kind::Camera if meta.flags & KEY != 0 => results.keyframes.push(took),
            Kind::Camera | Kind::Microphone => results.frames.push(took),
        }
        if Instant::now() >= keyframe_at {
            keyframe_at += KEYFRAME_INTERVAL;
            trial.force_key();
        }
    }
    let count = (results.frames.len() + results.keyframes.len()).max(1) as f64;
    results.cpu_per_frame = (cpu_ns() - cpu) as f64 / 1e6 / count;
    results.dropped = trial.dropped() - dropped;
    results.pss_mb = pss_mb();
    for (mean, (now, before)) in results.stages.iter_mut().zip(trial.stages().iter().zip(&stages)) {
        *mean = mean_ms(&now.since(before));
    }
    Ok(results)
}

/// Looks at pictures until their brightness stands still; not part of what is measured after it.
fn expose(trial: &mut Trial, started: Instant) -> Result<Option<f64>, Failure> {
    let mut viewer = Viewer::new().map_err(|e| e.to_string())?;
    let mut exposure = Exposure::default();
    trial.force_key();
    let begun = Instant::now();
    while begun.elapsed() < EXPOSING {
        trial.next(SILENCE)?.ok_or_else(|| format!("nothing in {} s", SILENCE.as_secs()))?;
        if viewer.look(trial.unit()).ok().flatten().is_some_and(|picture| exposure.settled(picture.luma())) {
            return Ok(Some(ms(started.elapsed())));
        }
    }
    Ok(None)
}

/// Sends to itself.
struct Sink {
    socket: UdpSocket,
    packets: Vec<h264::Packet>,
}

impl Sink {
    fn new() -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, packets: Vec::new() })
    }

    /// ms from its capture until its last packet was sent.
    fn send(&mut self, kind: Kind, meta: &Meta, unit: &[u8]) -> std::io::Result<f64> {
        match kind {
            Kind::Camera => {
                self.packets.clear();
                h264::packetize(unit, PAYLOAD, &mut self.packets);
                for packet in &self.packets {
                    self.socket.send(&packet.payload)?;
                }
            }
            Kind::Microphone => drop(self.socket.send(unit)?),
        }
        let took = monotonic_ns().saturating_sub(meta.captured_ns);
        // What was received is only in the way of what comes.
        while self.socket.recv(&mut [0; 2048]).is_ok() {}
        Ok(took as f64 / 1e6)
    }
}

impl Results {
    fn text(&self, name: &str) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}: {}", self.description);
        let _ = writeln!(out, "capture to last packet, ms, {MEASURED}");
        let _ = writeln!(out, "  {:<12}{:>7}{:>9}{:>9}{:>9}{:>9}", "", "n", "p50", "p95", "p99", "max");
        for (title, times) in self.series() {
            let [p50, p95, p99, max] = spread(times);
            let _ = writeln!(out, "  {title:<12}{:>7}{p50:>9.2}{p95:>9.2}{p99:>9.2}{max:>9.2}", times.len());
        }
        let means = OwnerStage::NAMES.iter().zip(self.stages).map(|(stage, mean)| format!("{stage} {mean:.2}"));
        let _ = writeln!(out, "stages, mean ms: {}", means.collect::<Vec<_>>().join(", "));
        let _ = writeln!(out, "open to first frame: {:.0} ms", self.opened);
        if !self.keyframes.is_empty() {
            let exposed = self.exposed.map_or("not within 5 s".into(), |ms| format!("{ms:.0} ms"));
            let _ = writeln!(out, "open to stable exposure: {exposed}");
        }
        let _ = writeln!(
            out,
            "CPU per frame: {:.2} ms; memory (PSS): {:.1} MB; dropped: {}",
            self.cpu_per_frame, self.pss_mb, self.dropped
        );
        out
    }

    fn json(&self, name: &str) -> Value {
        let series = |times: &Vec<f64>| {
            let [p50, p95, p99, max] = spread(times);
            json!({ "n": times.len(), "p50": p50, "p95": p95, "p99": p99, "max": max })
        };
        let stages: serde_json::Map<_, _> =
            OwnerStage::NAMES.iter().zip(self.stages).map(|(stage, mean)| ((*stage).to_owned(), mean.into())).collect();
        json!({
            "device": name,
            "description": self.description,
            "measured": MEASURED,
            "frames_ms": series(&self.frames),
            "keyframes_ms": series(&self.keyframes),
            "stages_mean_ms": stages,
            "open_to_first_frame_ms": self.opened,
            "open_to_stable_exposure_ms": self.exposed,
            "cpu_per_frame_ms": self.cpu_per_frame,
            "pss_mb": self.pss_mb,
            "dropped": self.dropped,
        })
    }

    fn series(&self) -> Vec<(&'static str, &[f64])> {
        let all = [("frames", &self.frames), ("keyframes", &self.keyframes)];
        all.into_iter().filter(|(_, times)| !times.is_empty()).map(|(title, times)| (title, times.as_slice())).collect()
    }
}

/// p50, p95, p99 and the largest, by the nearest rank.
fn spread(times: &[f64]) -> [f64; 4] {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    [50, 95, 99, 100].map(|percent| {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    })
}

fn mean_ms(latency: &Latency) -> f64 {
    let count: u64 = latency.counts.iter().sum();
    latency.sum_us as f64 / 1000.0 / count.max(1) as f64
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// 0 where the kernel does not tell.
fn pss_mb() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    pss.unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_by_the_nearest_rank() {
        let times: Vec<_> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(spread(&times), [100.0, 190.0, 198.0, 200.0]);
        assert_eq!(spread(&[7.0]), [7.0; 4]);
        assert_eq!(spread(&[]), [0.0; 4]);
    }

    #[test]
    fn the_text_lists_keyframes_apart_and_says_what_is_measured() {
        let results = Results { frames: vec![10.0], keyframes: vec![30.0], opened: 41.2, ..Results::default() };
        let text = results.text("camera");
        assert!(text.contains("no encryption, no pacing") && text.contains("first frame: 41 ms"), "{text}");
        let row = |title: &str| text.lines().find(|line| line.trim_start().starts_with(title)).unwrap().to_owned();
        assert!(row("frames").ends_with("10.00") && row("keyframes").ends_with("30.00"), "{text}");
    }
}
