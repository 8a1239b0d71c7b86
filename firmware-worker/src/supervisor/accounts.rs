//! What children use and what they are refused, for `/metrics`: as their cgroups and filters count it, and as far as the
//! kernel counts it there.

use super::cgroup::Usage;
use super::report::{escape, head};
use super::run::Supervisor;
use crate::control::SandboxReport;
use hal::process::Layer;
use std::fmt::Write;

/// A series: its name after `firmware_worker_job_` or `firmware_worker_device_`, its kind, what it is, its value.
type Series = (&'static str, &'static str, &'static str, fn(&Usage) -> Option<f64>);

const SERIES: [Series; 5] = [
    ("memory_bytes", "gauge", "Memory in use.", |usage| usage.memory.map(|bytes| bytes as f64)),
    ("memory_peak_bytes", "gauge", "Most memory that was in use.", |usage| usage.memory_peak.map(|bytes| bytes as f64)),
    ("memory_limit_bytes", "gauge", "Memory that may be used.", |usage| usage.limits.memory.map(|bytes| bytes as f64)),
    ("cpu_seconds_total", "counter", "Time of the processor used.", |usage| usage.cpu_us.map(|us| us as f64 / 1e6)),
    ("processes", "gauge", "Processes and threads.", |usage| usage.pids.map(|count| count as f64)),
];

impl Supervisor {
    pub(super) fn write_accounts(&self, text: &mut String) {
        let jobs = self.jobs.processes.values();
        let jobs = jobs.filter_map(|process| Some((process.job()?.0.as_str(), process.process.usage())));
        write_series(text, "job", &jobs.collect::<Vec<_>>());
        let jobs = self.jobs.processes.values();
        let jobs = jobs.filter_map(|process| Some((process.job()?.0.as_str(), process.process.sandbox())));
        write_sandboxes(text, "job", &jobs.collect::<Vec<_>>());
        let owners = self.owners.table.iter();
        let owners = owners.filter_map(|(name, owner)| Some((name.as_str(), owner.process.as_ref()?)));
        let owners: Vec<_> = owners.collect();
        let usage = owners.iter().map(|(name, owner)| (*name, owner.usage()));
        write_series(text, "device", &usage.collect::<Vec<_>>());
        let sandboxes = owners.iter().map(|(name, owner)| (*name, owner.sandbox()));
        write_sandboxes(text, "device", &sandboxes.collect::<Vec<_>>());
    }
}

/// Layers that a child has, and system calls that it was refused, by name.
fn write_sandboxes(text: &mut String, whose: &str, sandboxes: &[(&str, SandboxReport)]) {
    let (layers, refused) =
        (format!("firmware_worker_{whose}_sandbox_layer"), format!("firmware_worker_{whose}_refused_calls_total"));
    // Writing to a String cannot fail.
    head(text, &layers, "gauge", "1 for each layer of its sandbox that it has.");
    for (label, sandbox) in sandboxes {
        for layer in Layer::ALL.map(Layer::name) {
            let has = u8::from(sandbox.layers.iter().any(|has| has == layer));
            let _ = writeln!(text, "{layers}{{{whose}=\"{}\",layer=\"{layer}\"}} {has}", escape(label));
        }
    }
    head(text, &refused, "counter", "System calls that it was refused.");
    for (label, sandbox) in sandboxes {
        for (call, count) in &sandbox.refused {
            let _ = writeln!(text, "{refused}{{{whose}=\"{}\",call=\"{call}\"}} {count}", escape(label));
        }
    }
}

fn write_series(text: &mut String, whose: &str, accounts: &[(&str, Usage)]) {
    for (name, kind, help, value) in SERIES {
        let name = format!("firmware_worker_{whose}_{name}");
        head(text, &name, kind, help);
        for (label, usage) in accounts {
            if let Some(value) = value(usage) {
                let _ = writeln!(text, "{name}{{{whose}=\"{}\"}} {value}", escape(label));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_there_or_not_and_refused_calls_are_counted_by_name() {
        let (layers, refused) = (vec!["seccomp".to_owned()], [("ptrace".to_owned(), 3)].into_iter().collect());
        let sandbox = SandboxReport { layers, refused, ..SandboxReport::default() };
        let mut text = String::new();
        write_sandboxes(&mut text, "device", &[("door", sandbox)]);
        assert!(text.contains("sandbox_layer{device=\"door\",layer=\"seccomp\"} 1\n"), "{text}");
        assert!(text.contains("sandbox_layer{device=\"door\",layer=\"landlock\"} 0\n"), "{text}");
        assert!(text.contains("firmware_worker_device_refused_calls_total{device=\"door\",call=\"ptrace\"} 3\n"));
    }

    #[test]
    fn what_the_kernel_does_not_count_has_no_value() {
        let usage = Usage { memory: Some(5 << 20), cpu_us: Some(1_500_000), ..Usage::default() };
        let mut text = String::new();
        write_series(&mut text, "job", &[("AJ_1", usage)]);
        assert!(text.contains("firmware_worker_job_memory_bytes{job=\"AJ_1\"} 5242880\n"), "{text}");
        assert!(text.contains("firmware_worker_job_cpu_seconds_total{job=\"AJ_1\"} 1.5\n"), "{text}");
        assert!(!text.contains("processes{"), "{text}");
    }
}
