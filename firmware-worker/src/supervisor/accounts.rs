//! What children use, for `/metrics`: as their cgroups count it, and as far as the kernel counts it there.

use super::cgroup::Usage;
use super::report::escape;
use super::run::Supervisor;
use std::fmt::Write;

/// A series: its name after `firmware_worker_job_` or `firmware_worker_device_`, its kind, its value.
type Series = (&'static str, &'static str, fn(&Usage) -> Option<f64>);

const SERIES: [Series; 5] = [
    ("memory_bytes", "gauge", |usage| usage.memory.map(|bytes| bytes as f64)),
    ("memory_peak_bytes", "gauge", |usage| usage.memory_peak.map(|bytes| bytes as f64)),
    ("memory_limit_bytes", "gauge", |usage| usage.limits.memory.map(|bytes| bytes as f64)),
    ("cpu_seconds_total", "counter", |usage| usage.cpu_us.map(|us| us as f64 / 1e6)),
    ("processes", "gauge", |usage| usage.pids.map(|count| count as f64)),
];

impl Supervisor {
    pub(super) fn write_accounts(&self, text: &mut String) {
        let jobs = self.jobs.processes.values();
        let jobs = jobs.filter_map(|process| Some((process.job()?.0.as_str(), process.process.usage())));
        write_series(text, "job", &jobs.collect::<Vec<_>>());
        let owners = self.owners.table.iter();
        let owners = owners.filter_map(|(name, owner)| Some((name.as_str(), owner.process.as_ref()?.usage())));
        write_series(text, "device", &owners.collect::<Vec<_>>());
    }
}

fn write_series(text: &mut String, whose: &str, accounts: &[(&str, Usage)]) {
    for (name, kind, value) in SERIES {
        let name = format!("firmware_worker_{whose}_{name}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} {kind}");
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
    fn what_the_kernel_does_not_count_has_no_value() {
        let usage = Usage { memory: Some(5 << 20), cpu_us: Some(1_500_000), ..Usage::default() };
        let mut text = String::new();
        write_series(&mut text, "job", &[("AJ_1", usage)]);
        assert!(text.contains("firmware_worker_job_memory_bytes{job=\"AJ_1\"} 5242880\n"), "{text}");
        assert!(text.contains("firmware_worker_job_cpu_seconds_total{job=\"AJ_1\"} 1.5\n"), "{text}");
        assert!(!text.contains("processes{"), "{text}");
    }
}
