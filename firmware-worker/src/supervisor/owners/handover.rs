//! Device owners in the hands of a program that takes this one's place.

use super::*;
use crate::supervisor::handover::DeviceEntry;

impl Owners {
    /// For a program that takes this one's place; an error is what must be over before.
    pub(in crate::supervisor) fn export(&self) -> Result<Vec<DeviceEntry>, String> {
        let busy = |owner: &&Owner| owner.asking || owner.command.is_awaited();
        match self.table.values().find(busy) {
            Some(owner) => Err(format!("device {} is being opened", owner.device.name)),
            None => Ok(self.table.values().map(Owner::export).collect()),
        }
    }

    /// The same in that program. What is configured otherwise now counts for the next owner. Given back is the keeper of a
    /// camera that is not configured any more and has no owner.
    pub(in crate::supervisor) fn resume(
        &mut self,
        entry: DeviceEntry,
        process: Option<Process>,
        keeper: Option<Process>,
        now: Instant,
    ) -> Option<Process> {
        let DeviceEntry { device, owner: _, greeted, parked, state, starts, waiting, keeper: _ } = entry;
        if process.is_none() && !self.table.contains_key(&device.name) {
            return keeper;
        }
        let name = device.name.clone();
        let owner = self.table.entry(name).or_insert_with(|| Owner::new(&device, now));
        let running = process.is_some();
        owner.process = process;
        owner.command.keeper = keeper;
        owner.waiting = waiting.into_iter().map(ProcessId).collect();
        (owner.starts, owner.state) = (starts, state);
        if running {
            (owner.greeted, owner.parked, owner.outdated, owner.device) = (greeted, parked, true, device);
        } else {
            owner.retry_at = Some(now);
        }
        None
    }

    /// Lets owners of the program before this one go that nobody reads.
    pub(in crate::supervisor) fn replace_idle(&mut self, now: Instant) {
        for (name, owner) in &mut self.table {
            if owner.outdated
                && owner.is_idle()
                && let Some(process) = owner.process.as_mut().filter(|process| !process.is_dismissed())
            {
                info!("device {name}: owner process {} is idle, and replaced by the new program's", process.pid());
                process.dismiss(now);
            }
        }
    }

    /// An owner of the program before is gone: the device is what is configured now, if it still is. If not, what kept its
    /// command is given back.
    pub(in crate::supervisor) fn renew(&mut self, name: &str, configured: Option<&Device>) -> Option<Process> {
        match (configured, self.table.get_mut(name)) {
            (Some(device), Some(owner)) => {
                owner.device = device.clone();
                // The device may be another one now.
                (owner.facts, owner.buffers) = (None, None);
                owner.backoff.reset();
                None
            }
            (None, _) => self.table.remove(name)?.command.keeper,
            (Some(_), None) => None,
        }
    }
}

impl Owner {
    /// Nobody reads it, and nobody is on the way to.
    pub(super) fn is_idle(&self) -> bool {
        let counted = self.counted_at.is_some_and(|at| at >= self.wanted_at + PING_INTERVAL);
        counted && self.stats.readers == 0 && self.waiting.is_empty()
    }

    pub(super) fn export(&self) -> DeviceEntry {
        DeviceEntry {
            device: self.device.clone(),
            owner: self.process.as_ref().map(Process::export),
            greeted: self.greeted,
            parked: self.parked,
            state: self.state.clone(),
            starts: self.starts,
            waiting: self.waiting.iter().map(|id| id.0).collect(),
            keeper: self.command.keeper.as_ref().map(Process::export),
        }
    }
}
