//! `snapshot`: one picture of a camera as JPEG to stdout, through the running worker that has the camera, or without one.

use super::trial::{self, Exposure};
use super::view::View;
use super::{configuration_error, exit};
use crate::config::{Device, DeviceKind};
use crate::device::{Failure, Trial};
use crate::media::still::{Jpeg, Viewer};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Until the first picture: slow USB cameras take two seconds.
const OPENING: Duration = Duration::from_secs(10);
/// A camera's first pictures are too dark or too bright. One that still changes after this long shows something that does.
const EXPOSING: Duration = Duration::from_secs(3);
/// Without a further picture.
const STALLED: Duration = Duration::from_secs(5);

/// Where pictures come from.
#[derive(Debug)]
enum Camera {
    /// This process has opened it.
    Own(Box<Trial>),
    /// A worker has it.
    Shared(Box<View>),
}

impl Camera {
    fn open(device: &Device) -> Result<Self, String> {
        let mut forbidden = None;
        if let Some(view) = View::open(device, &mut forbidden)? {
            return Ok(Self::Shared(Box::new(view)));
        }
        let opened = trial::open(device).map(|trial| Self::Own(Box::new(trial)));
        // A worker that may not be asked may be the one that has it.
        opened.map_err(|why| forbidden.map_or(why.clone(), |forbidden| format!("{why}; {forbidden}")))
    }

    /// The next unit; false if none comes for `patience`.
    fn next(&mut self, patience: Duration) -> Result<bool, Failure> {
        match self {
            Self::Own(trial) => Ok(trial.next(patience)?.is_some()),
            Self::Shared(view) => view.next(patience),
        }
    }

    fn unit(&self) -> &[u8] {
        match self {
            Self::Own(trial) => trial.unit(),
            Self::Shared(view) => view.unit(),
        }
    }

    /// Newer pictures than this one are there already.
    fn behind(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Shared(view) => view.behind(),
        }
    }
}

pub(super) fn print(config: Option<&Path>, name: &str) -> ExitCode {
    if io::stdout().is_terminal() {
        eprintln!("firmware-worker: a picture is not for a terminal: firmware-worker snapshot {name} > {name}.jpg");
        return exit::USAGE.into();
    }
    let device = match trial::device(config, name, |kind| matches!(kind, DeviceKind::Camera(_))) {
        Ok(device) => device,
        Err(error) => return configuration_error(&error),
    };
    let taken = Camera::open(&device).and_then(|mut camera| {
        let still = take(&mut camera).map_err(|why| trial::explain(&device, why))?;
        Ok((still, matches!(camera, Camera::Shared(_))))
    });
    let written = taken.and_then(|(still, shared)| {
        io::stdout().write_all(&still.data).map_err(|error| format!("stdout: {error}"))?;
        let size = format!("{}x{}, {} bytes", still.width, still.height, still.data.len());
        eprintln!("{name}: {size}{}", if shared { ", from the worker that has it" } else { "" });
        Ok(())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("firmware-worker: {name}: {why}");
            exit::FAILURE.into()
        }
    }
}

/// The picture after exposure has settled.
fn take(camera: &mut Camera) -> Result<Jpeg, Failure> {
    let mut viewer = Viewer::new().map_err(|e| e.to_string())?;
    let mut exposure = Exposure::default();
    let mut settled_by = None;
    loop {
        let patience = if settled_by.is_none() { OPENING } else { STALLED };
        if !camera.next(patience)? {
            return Err(format!("no picture in {} s", patience.as_secs()).into());
        }
        let settled_by = *settled_by.get_or_insert_with(|| Instant::now() + EXPOSING);
        let late = |limit: Duration| Instant::now() >= settled_by + limit;
        match viewer.look(camera.unit()) {
            Ok(Some(picture)) => {
                if (exposure.settled(picture.luma()) || late(Duration::ZERO)) && !camera.behind() {
                    return Ok(picture.jpeg().map_err(|e| e.to_string())?);
                }
            }
            // Something is missing before it: the next keyframe comes soon.
            Ok(None) | Err(_) if !late(STALLED) => {}
            Ok(None) => return Err("no keyframe came".to_owned().into()),
            Err(error) => return Err(error.to_string().into()),
        }
    }
}
