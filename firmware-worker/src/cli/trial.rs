//! What `snapshot` and `bench` have in common: a configured device in this process, and errors that say what to do.

use super::{config_file, environment};
use crate::config::{self, Device, DeviceKind};
use crate::device::{Failure, Trial};
use crate::supervisor::{describe_holder, open_node};
use std::collections::VecDeque;
use std::path::Path;

/// Pictures, half a second, of which none is brighter or darker than another.
const SETTLED_PICTURES: usize = 15;
/// Mean luma of 255 by which pictures of a settled exposure may differ: a moving scene changes more slowly than an exposure.
const SETTLED_LUMA: f32 = 2.0;

/// The configured device of this name, if it is `fit`.
pub(super) fn device(
    config: Option<&Path>,
    name: &str,
    fit: impl Fn(&DeviceKind) -> bool,
) -> Result<Device, config::Error> {
    let devices = config::devices(&environment, config_file(config).as_deref())?;
    let fitting: Vec<_> = devices.into_iter().filter(|device| fit(&device.kind)).collect();
    let names = fitting.iter().map(|device| device.name.clone()).collect::<Vec<_>>().join(", ");
    fitting.into_iter().find(|device| device.name == name).ok_or_else(|| config::Error::Value {
        key: format!("device {name:?}"),
        why: match names.as_str() {
            "" => "none of this kind is configured".into(),
            names => format!("not configured as that; there is {names}"),
        },
    })
}

/// Opens it, or says why not.
pub(super) fn open(device: &Device) -> Result<Trial, String> {
    Trial::open(device, |device| open_node(Path::new("/proc"), device, &mut |_| true))
        .map_err(|failure| explain(device, failure))
}

/// A failure in plain words.
pub(super) fn explain(device: &Device, failure: Failure) -> String {
    match failure {
        Failure::Lost(why) => why,
        Failure::Busy(node) => {
            let who = describe_holder(Path::new("/proc"), device, &node, &[std::process::id()]);
            format!("{node}: {who}")
        }
    }
}

/// Watches the brightness of pictures until it stands still.
#[derive(Debug, Default)]
pub(super) struct Exposure(VecDeque<f32>);

impl Exposure {
    /// The next picture's mean luma; whether it and those before it are alike.
    pub(super) fn settled(&mut self, luma: f32) -> bool {
        self.0.push_back(luma);
        if self.0.len() > SETTLED_PICTURES {
            self.0.pop_front();
        }
        let (low, high) = self.0.iter().fold((f32::MAX, f32::MIN), |(low, high), l| (low.min(*l), high.max(*l)));
        self.0.len() == SETTLED_PICTURES && high - low <= SETTLED_LUMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposure_has_settled_when_half_a_second_of_pictures_is_alike() {
        let mut exposure = Exposure::default();
        let brightening = (0..40).map(|n| 20.0 + 4.0 * n as f32);
        assert!(!brightening.into_iter().any(|luma| exposure.settled(luma)));
        let steady: Vec<_> = (0..SETTLED_PICTURES).map(|n| exposure.settled(180.0 + (n % 2) as f32)).collect();
        assert_eq!(steady.iter().position(|settled| *settled), Some(SETTLED_PICTURES - 1));
    }

    #[test]
    fn a_name_that_is_not_configured_is_refused_with_those_that_are() {
        let directory = std::env::temp_dir().join(format!("fw-trial-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("config.toml");
        std::fs::write(&file, "[[camera]]\nname = \"door\"\n[[microphone]]\n").unwrap();
        let camera = |kind: &DeviceKind| matches!(kind, DeviceKind::Camera(_));
        assert_eq!(device(Some(&file), "door", camera).unwrap().name, "door");
        let error = device(Some(&file), "microphone", camera).unwrap_err().to_string();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(error, "device \"microphone\": not configured as that; there is door");
    }
}
