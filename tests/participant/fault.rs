//! A program that does not come up when it takes another's place: with the first line that it logs then, it does what `FAULT`
//! says. And one that does what `[job] check` says when it is asked about its configuration.

use firmware_worker::{BoxError, Config};
use std::time::Duration;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Children have no such variable, and nor has a worker that goes on.
pub fn prepare() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let Ok(fault) = std::env::var("FAULT") else { return };
    if is_set("FW_HANDOVER") && !is_set("FW_HANDOVER_FAILED") {
        // The first subscriber of a process stays.
        let _ = tracing::subscriber::set_global_default(Fault(fault));
    }
}

/// Has to say something of a configuration.
pub fn check(config: &Config) -> Result<String, BoxError> {
    let options: serde_json::Value = serde_json::from_str(&config.job_options)?;
    match options["check"].as_str() {
        Some("refuse") => return Err("the film is exposed".into()),
        Some("panic") => panic!("no such film"),
        Some("sleep") => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
    Ok("takes pictures".into())
}

struct Fault(String);

impl Subscriber for Fault {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, _: &Event<'_>) {
        match self.0.as_str() {
            "crash" => std::process::abort(),
            "panic" => panic!("no such lens"),
            _ => std::thread::sleep(Duration::from_secs(3600)),
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
