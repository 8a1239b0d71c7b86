//! Children that nobody needs any more and that are still there: one whose start went wrong, say. Each is killed, and kept
//! until it can be reaped, and with it its leaf and its user; it would be a zombie for as long as we live.

use super::*;
use crate::supervisor::burial::Burial;

/// A child that was killed, and when it is looked after.
#[derive(Debug)]
pub(super) struct Leaving {
    process: Process,
    burial: Burial,
}

impl Spawner {
    /// Ends a child that nobody polls any more.
    pub(in crate::supervisor) fn let_go(&mut self, mut process: Process) {
        (process.link, process.ear) = (None, None);
        process.kill();
        self.leaving.push(Leaving { process, burial: Burial::new() });
    }

    /// When [`Spawner::sweep`] has something to do.
    pub(in crate::supervisor) fn sweep_at(&self) -> Option<Instant> {
        let leaving = self.leaving.iter().map(|leaving| leaving.burial.due());
        leaving.chain(self.cgroups.as_ref().and_then(Cgroups::sweep_at)).min()
    }

    /// Reaps children that have ended, and removes cgroups that could not be removed when their process ended.
    pub(in crate::supervisor) fn sweep(&mut self, now: Instant) {
        self.leaving.retain_mut(|Leaving { process, burial }| {
            let due = burial.due() <= now;
            if due && process.is_gone() {
                return false;
            }
            if due {
                burial.put_off(now);
            }
            true
        });
        self.cgroups.iter_mut().for_each(|cgroups| cgroups.sweep(now));
    }

    /// Those that are not reaped yet.
    pub(in crate::supervisor) fn leaving(&self) -> impl Iterator<Item = &Process> {
        self.leaving.iter().map(|leaving| &leaving.process)
    }
}

impl Process {
    /// Reaps it if it has ended. For one that is not polled.
    pub(in crate::supervisor) fn is_gone(&self) -> bool {
        !matches!(self.child.get_ref().0.0.try_wait(), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use serde::Serializer;
    use serde::ser::Error;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// What cannot be sent.
    struct Unfit;

    impl Serialize for Unfit {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("unfit"))
        }
    }

    #[tokio::test]
    async fn a_child_whose_setup_cannot_be_sent_is_ended_and_leaves_no_zombie() {
        let isolation = Isolation::new(config::Isolation::default(), Vec::new());
        let mut spawner = Spawner::new(None, isolation, tracing::Level::ERROR).unwrap();
        let kind = Kind::Bare;
        let plan = Plan { name: "owner", subcommand: crate::cli::OWNER, limits: Limits::default(), kind };
        spawner.spawn(plan, &(), &Unfit).unwrap_err();
        let [Leaving { process, .. }] = &spawner.leaving[..] else { panic!("{:?}", spawner.leaving) };
        let place = Path::new("/proc").join(process.pid().to_string());
        assert!(place.exists(), "nobody has reaped it");
        let started = Instant::now();
        while let Some(due) = spawner.sweep_at() {
            assert!(started.elapsed() < PATIENCE, "it is still there");
            spawner.sweep(due);
            std::thread::yield_now();
        }
        assert!(!place.exists());
    }
}
