//! `snapshot`: one picture of a camera as JPEG to stdout, without a worker.

use super::trial::{self, Exposure};
use super::{configuration_error, exit};
use crate::config::DeviceKind;
use crate::device::Trial;
use crate::media::still::{self, Jpeg, Viewer};
use hal::ring::KEY;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Until the first picture: slow USB cameras take two seconds.
const OPENING: Duration = Duration::from_secs(10);
/// A camera's first pictures are too dark or too bright. One that still changes after this long shows something that does.
const EXPOSING: Duration = Duration::from_secs(3);
/// Until a keyframe that was asked for.
const KEYFRAME: Duration = Duration::from_secs(5);

pub(super) fn print(config: Option<&Path>, name: &str) -> ExitCode {
    if io::stdout().is_terminal() {
        eprintln!("firmware-worker: a picture is not for a terminal: firmware-worker snapshot {name} > {name}.jpg");
        return exit::USAGE.into();
    }
    let device = match trial::device(config, name, |kind| matches!(kind, DeviceKind::Camera(_))) {
        Ok(device) => device,
        Err(error) => return configuration_error(&error),
    };
    let taken = trial::open(&device).and_then(|mut camera| take(&mut camera).map_err(|f| trial::explain(&device, f)));
    let written = taken.and_then(|still| {
        io::stdout().write_all(&still.data).map_err(|error| format!("stdout: {error}"))?;
        eprintln!("{name}: {}x{}, {} bytes", still.width, still.height, still.data.len());
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
fn take(camera: &mut Trial) -> Result<Jpeg, crate::device::Failure> {
    let silent = |limit: Duration| format!("no picture in {} s", limit.as_secs());
    let mut viewer = Viewer::new().map_err(|e| e.to_string())?;
    let mut exposure = Exposure::default();
    let mut patience = OPENING;
    let mut until = None;
    while until.is_none_or(|until| Instant::now() < until) {
        camera.next(patience)?.ok_or_else(|| silent(patience))?;
        patience = KEYFRAME;
        until.get_or_insert_with(|| Instant::now() + EXPOSING);
        // A unit that cannot be looked at is one without news of the exposure.
        if viewer.luma(camera.unit()).ok().flatten().is_some_and(|luma| exposure.settled(luma)) {
            break;
        }
    }
    camera.force_key();
    let asked = Instant::now();
    while asked.elapsed() < KEYFRAME {
        let meta = camera.next(KEYFRAME)?.ok_or_else(|| silent(KEYFRAME))?;
        if meta.flags & KEY != 0 {
            return Ok(still::jpeg(camera.unit()).map_err(|e| e.to_string())?);
        }
    }
    Err(format!("no keyframe in {} s", KEYFRAME.as_secs()).into())
}
