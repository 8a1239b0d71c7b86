//! Commands that cameras are read from: their owner asks, a keeper in a leaf of its own starts what is configured, and the
//! owner gets what the command writes. One at a time for each camera.

use super::cgroup::Limits;
use super::owners::Owner;
use super::process::{Kept, Process, Spawner};
use super::run::Supervisor;
use super::stuck::{self, Verdict};
use crate::config::{CameraDevice, Device, DeviceKind};
use crate::control::{Kept as Setup, ToOwner};
use protocol::worker::Exit;
use std::os::fd::AsFd;
use std::path::Path;
use tracing::{debug, warn};

/// The command of one camera.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) keeper: Option<Process>,
    /// Asked for again while the last one is still ending.
    wanted: bool,
    /// Which layers of its sandbox are missing has been said.
    told: bool,
}

impl Command {
    /// Another start follows the end of the last one.
    pub(super) fn is_awaited(&self) -> bool {
        self.wanted
    }
}

/// What is to be run for this device, if it is a command.
pub(super) fn of(device: &Device) -> Option<&[String]> {
    match &device.kind {
        DeviceKind::Camera(camera) => match &camera.device {
            CameraDevice::Pipe { command, .. } => Some(command),
            _ => None,
        },
        DeviceKind::Microphone(_) | DeviceKind::Speaker(_) => None,
    }
}

impl Supervisor {
    /// Its owner wants the command to run.
    pub(super) fn start_command(&mut self, name: &str) {
        let Some(owner) = self.owners.table.get_mut(name) else { return };
        if let Some(last) = &owner.command.keeper {
            last.kill();
            match stuck::judge(Path::new("/proc"), last.pid()) {
                Verdict::Dies => owner.command.wanted = true,
                Verdict::Stuck => refuse(owner, "its last command hangs in the kernel and cannot be ended"),
            }
            return;
        }
        let limits = self.config.limits.command;
        match owner.run(&mut self.spawner, limits) {
            Ok(()) => {}
            Err(why) => refuse(owner, &why),
        }
    }

    /// The keeper is gone, and so is all that it kept.
    pub(super) fn command_ended(&mut self, name: &str, exit: &Exit) {
        let Some(owner) = self.owners.table.get_mut(name) else { return };
        if let Some(keeper) = owner.command.keeper.take() {
            // Without a namespace, what has left the command's group is still in its leaf.
            keeper.kill();
        }
        match exit {
            Exit::OutOfMemory(_) | Exit::OutOfProcesses { .. } => warn!("camera {name}: its command was ended: {exit}"),
            Exit::Code(_) | Exit::Signal(_) | Exit::NotStarted(_) | Exit::Complained { .. } => {
                debug!("camera {name}: keeper of its command: {exit}")
            }
        }
        if std::mem::take(&mut owner.command.wanted) {
            self.start_command(name);
        }
    }
}

impl Owner {
    /// Starts the command, and gives its owner what reads it.
    fn run(&mut self, spawner: &mut Spawner, limits: Limits) -> Result<(), String> {
        let (Some(words), Some(process)) = (of(&self.device), &self.process) else { return Ok(()) };
        let tell = !std::mem::replace(&mut self.command.told, true);
        let setup = Setup { camera: self.device.name.clone(), command: words.to_vec(), tell };
        let Kept { keeper, control, stdout, stderr } = spawner.keep(limits, &setup)?;
        self.command.keeper = Some(keeper);
        // Where that fails the socket closes, and the command ends.
        let fds = [control.as_fd(), stdout.as_fd(), stderr.as_fd()];
        process.send(&ToOwner::Node, &fds).map_err(|e| e.to_string())
    }
}

fn refuse(owner: &Owner, why: &str) {
    let Some(process) = &owner.process else { return };
    if let Err(e) = process.send(&ToOwner::NoNode { why: format!("command: {why}") }, &[]) {
        debug!("device {}: {e}", owner.device.name);
    }
}
