//! What the supervisor does because it is time.

use super::*;

impl Supervisor {
    pub(super) fn deadline(&self) -> Instant {
        let stuck = self.jobs.processes.values().filter_map(|job| job.process.deadline()).min();
        let warm = self.jobs.warm_due(self.wants_warm());
        let upgrade = self.upgrade_due(Instant::now());
        let others = [self.brain.deadline(), stuck, warm, self.owners.deadline(), self.spawner.sweep_at(), upgrade];
        others.into_iter().flatten().fold(self.next_tick, Instant::min)
    }

    pub(super) fn time(&mut self, now: Instant) {
        if self.next_tick <= now {
            self.next_tick = now + PING_INTERVAL;
            self.tick(now);
        }
        for job in self.jobs.processes.values_mut() {
            job.process.time(now);
        }
        for process in self.owners.table.values_mut().filter_map(|owner| owner.process.as_mut()) {
            process.time(now);
        }
        if self.spawner.sweep_at().is_some_and(|at| at <= now) {
            self.spawner.sweep(now);
        }
        self.serve_waiting(now);
        self.owners.keep_warm(&mut self.spawner, now);
        if self.jobs.warm_due(self.wants_warm()).is_some_and(|at| at <= now)
            && let Err(why) = self.jobs.warm(&mut self.spawner, now)
        {
            warn!("no prewarmed job process: {why}");
        }
        self.inputs.push_back(Input::Time);
    }

    /// What is looked at regularly.
    pub(super) fn tick(&mut self, now: Instant) {
        announce::alive();
        self.check_jobs(now);
        for (name, owner) in &mut self.owners.table {
            let Some(process) = &owner.process else { continue };
            match owner.pulse.tick() {
                // One that does not read has not answered either.
                Check::Ping(id) => drop(process.send(&ToOwner::Ping { id }, &[])),
                Check::Wait => {}
                Check::Silent => {
                    // Again at each tick: one that died of it would not be asked.
                    process.kill();
                    let verdict = stuck::judge(Path::new("/proc"), process.pid());
                    owner.silent(name, verdict);
                }
            }
        }
        self.owners.replace_idle(now);
        self.try_hanging(now, false);
        let rescans = self.next_rescan <= now;
        if rescans {
            self.next_rescan = now + RESCAN_INTERVAL;
            self.owners.rescan();
        }
        // It comes after this worker. Once seen it is looked at seldom: missing at two looks it is no sign any more, and from its
        // end to our signal a busy board takes seconds.
        if rescans || self.sign == Sign::Unknown {
            self.look_for_the_sign();
        }
        let (plan, least) = (self.memory_plan(), self.config.limits.job.memory.unwrap_or(PLANNED_MEMORY));
        if let Some(sample) = self.health.sample(now, least, |available| plan.for_jobs(available)) {
            self.inputs.push_back(Input::Health(sample));
        }
        self.rest();
    }

    /// What only the start or a job has needed gives way to what else is on the board.
    fn rest(&mut self) {
        let registered = self.seen.as_ref().is_some_and(|seen| seen.registered);
        let rested = std::mem::replace(&mut self.rests, registered && self.jobs.records.is_empty());
        if self.rests
            && !rested
            && let Err(e) = let_go_of_code()
        {
            debug!("code of the start stays in memory: {e}");
        }
    }

    /// One job process is kept ready while another job can come.
    pub(super) fn wants_warm(&self) -> bool {
        let Brain::Worker(_) = self.brain else { return false };
        let slots = usize::try_from(self.config.worker.max_jobs).unwrap_or(usize::MAX);
        let serving = self.seen.as_ref().is_none_or(|seen| !seen.draining);
        self.config.worker.prewarm > 0 && serving && self.jobs.records.len() < slots
    }
}
