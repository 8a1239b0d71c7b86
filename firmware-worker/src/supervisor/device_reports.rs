//! Devices as operators see them: the devices in `/worker`, and metrics.

use super::owners::Owner;
use super::report::{escape, head};
use super::run::Supervisor;
use crate::config::DeviceKind;
use crate::control::{
    BOUNDS_US, DeviceFacts, DriverBuffers, JOB_STAGES, Latency, OwnerStage, OwnerState, OwnerStats, SandboxReport,
};
use hal::ring::Stamped;
use serde::Serialize;
use std::fmt::Write;

/// How long each stage of the media path takes, from the driver's stamp to the last packet.
const STAGE_SECONDS: &str = "firmware_worker_stage_seconds";

/// Devices that a series is about.
enum Of {
    All,
    /// What captures and encodes.
    Sources,
    Cameras,
    Speakers,
}

impl Of {
    fn contain(&self, kind: &DeviceKind) -> bool {
        match self {
            Self::All => true,
            Self::Sources => !matches!(kind, DeviceKind::Speaker(_)),
            Self::Cameras => matches!(kind, DeviceKind::Camera(_)),
            Self::Speakers => matches!(kind, DeviceKind::Speaker(_)),
        }
    }
}

/// Name after `firmware_worker_`, kind, devices, what it is, value.
type DeviceSeries = (&'static str, &'static str, Of, &'static str, fn(&OwnerStats) -> f64);

const DEVICE_SERIES: [DeviceSeries; 10] = [
    ("device_captured_total", "counter", Of::All, "Frames or periods captured; periods played.", |s| s.captured as f64),
    (
        "device_written_total",
        "counter",
        Of::All,
        "Units given to jobs; periods played in which a job was heard.",
        |s| s.written as f64,
    ),
    ("device_dropped_total", "counter", Of::All, "Frames dropped before or in encoding, periods lost by xruns.", |s| {
        s.dropped as f64
    }),
    ("device_keyframes_total", "counter", Of::Cameras, "Keyframes forced.", |s| s.keyframes as f64),
    ("device_readers", "gauge", Of::All, "Jobs and others that use it now.", |s| s.readers.into()),
    ("device_encoders", "gauge", Of::Sources, "Encoders that run now.", |s| s.encoders.into()),
    (
        "device_saving",
        "gauge",
        Of::Cameras,
        "What software encoding leaves out because it takes too long: 0 nothing, up to 4.",
        |s| s.saving.into(),
    ),
    ("speaker_dry_total", "counter", Of::Speakers, "Times that a job's sound ran dry while it was played.", |s| {
        s.dry as f64
    }),
    (
        "speaker_skipped_frames_total",
        "counter",
        Of::Speakers,
        "Frames of jobs thrown away because a backlog had built up.",
        |s| s.skipped as f64,
    ),
    (
        "speaker_buffer_seconds",
        "gauge",
        Of::Speakers,
        "Mean lead of a job over the card in the last second; that of the job with most.",
        |s| f64::from(s.buffer_us) / 1e6,
    ),
];

/// Name after `firmware_worker_`, what it is, value: of cameras whose owners tell it.
type FactSeries = (&'static str, &'static str, fn(&DeviceFacts) -> u64);

const FACT_SERIES: [FactSeries; 2] = [
    ("device_stamps_behind_total", "Pictures that their driver did not stamp later than those before.", |f| {
        f.stamps_behind
    }),
    ("device_stamps_ahead_total", "Pictures that their driver stamped with a time to come.", |f| f.stamps_ahead),
];

#[derive(Serialize)]
pub(super) struct DeviceView<'a> {
    name: &'a str,
    state: &'static str,
    detail: &'a str,
    pid: Option<i32>,
    readers: u32,
    encoders: u32,
    /// What codes a camera that runs; empty for others.
    encoder: String,
    /// What the times of its pictures are of, of a camera that runs; empty for others.
    stamped: &'static str,
    dropped: u64,
    /// Of a camera, counted since its owner started; nothing where that does not tell.
    stamps_behind: Option<u64>,
    stamps_ahead: Option<u64>,
    /// Of a camera that was opened, in bytes.
    driver_buffers: Option<DriverBuffers>,
    sandbox: SandboxReport,
}

impl Supervisor {
    pub(super) fn device_views(&self) -> Vec<DeviceView<'_>> {
        self.owners
            .table
            .iter()
            .map(|(name, owner)| {
                let (state, detail) = match &owner.state {
                    OwnerState::Closed => ("closed", ""),
                    OwnerState::Running(what) => ("running", what.as_str()),
                    OwnerState::Lost(why) => ("lost", why.as_str()),
                };
                let facts = owner.facts.filter(|_| Of::Cameras.contain(&owner.device.kind));
                DeviceView {
                    name,
                    state,
                    detail,
                    pid: owner.process.as_ref().map(|p| p.pid()),
                    readers: owner.stats.readers,
                    encoders: owner.stats.encoders,
                    encoder: owner.stats.encoder.map(|encoder| encoder.to_string()).unwrap_or_default(),
                    stamped: stamped(owner).map_or("", Stamped::name),
                    dropped: owner.stats.dropped,
                    stamps_behind: facts.map(|facts| facts.stamps_behind),
                    stamps_ahead: facts.map(|facts| facts.stamps_ahead),
                    driver_buffers: facts.and_then(|facts| facts.buffers),
                    sandbox: owner.process.as_ref().map(|p| p.sandbox()).unwrap_or_default(),
                }
            })
            .collect()
    }

    pub(super) fn write_devices(&self, text: &mut String) {
        for (name, kind, of, help, value) in DEVICE_SERIES {
            let name = format!("firmware_worker_{name}");
            head(text, &name, kind, help);
            for (device, owner) in self.owners.table.iter().filter(|(_, owner)| of.contain(&owner.device.kind)) {
                let _ = writeln!(text, "{name}{{device=\"{}\"}} {}", escape(device), value(&owner.stats));
            }
        }
        self.write_facts(text);
        const ENCODER: &str = "firmware_worker_device_encoder";
        head(text, ENCODER, "gauge", "1 for what codes the pictures of a camera that runs.");
        for (device, owner) in &self.owners.table {
            if let Some(encoder) = owner.stats.encoder {
                let _ = writeln!(text, "{ENCODER}{{device=\"{}\",encoder=\"{encoder}\"}} 1", escape(device));
            }
        }
        head(
            text,
            STAGE_SECONDS,
            "histogram",
            "Time that each stage takes, from the driver's stamp to the last packet.",
        );
        for (device, owner) in &self.owners.table {
            let stages =
                OwnerStage::NAMES.iter().zip(owner.stats.stages.iter()).chain(JOB_STAGES.iter().zip(&owner.in_jobs));
            for (stage, latency) in stages {
                write_stage(text, &format!("device=\"{}\",stage=\"{stage}\"", escape(device)), latency);
            }
        }
        self.write_levels(text);
    }

    fn write_facts(&self, text: &mut String) {
        let cameras = || self.owners.table.iter().filter(|(_, owner)| Of::Cameras.contain(&owner.device.kind));
        for (name, help, value) in FACT_SERIES {
            let name = format!("firmware_worker_{name}");
            head(text, &name, "counter", help);
            for (device, owner) in cameras() {
                let Some(facts) = &owner.facts else { continue };
                let _ = writeln!(text, "{name}{{device=\"{}\"}} {}", escape(device), value(facts));
            }
        }
        const STAMPED: &str = "firmware_worker_device_stamped";
        head(text, STAMPED, "gauge", "1 for what the times of pictures are of, of a camera that runs.");
        for (device, owner) in cameras() {
            if let Some(stamped) = stamped(owner) {
                let _ = writeln!(text, "{STAMPED}{{device=\"{}\",of=\"{}\"}} 1", escape(device), stamped.name());
            }
        }
    }

    /// Of sound cards that run.
    fn write_levels(&self, text: &mut String) {
        type Value = fn(&crate::control::SoundLevel) -> i16;
        const SERIES: [(&str, &str, Value); 2] = [
            ("firmware_worker_device_peak_dbfs", "Loudest sample of a sound card that runs.", |level| level.peak),
            ("firmware_worker_device_rms_dbfs", "Mean power of a sound card that runs.", |level| level.rms),
        ];
        for (name, help, value) in SERIES {
            head(text, name, "gauge", help);
            for (device, owner) in &self.owners.table {
                let Some(level) = &owner.stats.level else { continue };
                let decibel = f64::from(value(level)) / 100.0;
                let _ = writeln!(text, "{name}{{device=\"{}\"}} {decibel}", escape(device));
            }
        }
    }
}

/// What the times of pictures are of, of a camera that runs.
fn stamped(owner: &Owner) -> Option<Stamped> {
    owner.facts.filter(|_| matches!(owner.state, OwnerState::Running(_)))?.stamped()
}

/// Of one stage, in Prometheus' sums from the left.
fn write_stage(text: &mut String, labels: &str, latency: &Latency) {
    let mut count = 0;
    for (bucket, bound) in latency.counts.iter().zip(BOUNDS_US) {
        // A job's numbers may be anything.
        count = bucket.saturating_add(count);
        let bound = f64::from(bound) / 1e6;
        let _ = writeln!(text, "{STAGE_SECONDS}_bucket{{{labels},le=\"{bound:?}\"}} {count}");
    }
    count = latency.counts[BOUNDS_US.len()].saturating_add(count);
    let seconds = latency.sum_us as f64 / 1e6;
    let _ = writeln!(text, "{STAGE_SECONDS}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{STAGE_SECONDS}_sum{{{labels}}} {seconds}\n{STAGE_SECONDS}_count{{{labels}}} {count}");
}
