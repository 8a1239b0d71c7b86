//! How often a job that fails is started again. A crash loop must cost a board neither its cores nor its log, and a server
//! that is told nothing must learn in the end that the job is lost.

use super::RestartPolicy;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Before each restart of a window: a single crash is mended at once, a loop is slowed down. Its length is the limit.
const WAITS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10)];

/// A restart that lies further back than this is forgiven.
const WINDOW: Duration = Duration::from_secs(600);

impl RestartPolicy {
    /// Whether a job that was started again so long ago may be started once more.
    pub fn allows(self, restarts: &[Duration]) -> bool {
        let within = restarts.iter().filter(|age| **age < WINDOW).count();
        self == Self::OnFailure && within < WAITS.len()
    }
}

/// The restarts of one job.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    /// The newest, no more than there are waits.
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// The policy, and how long ago each restart was, oldest first.
    pub fn export(&self, now: Instant) -> (RestartPolicy, Vec<Duration>) {
        (self.policy, self.recent.iter().map(|at| now.saturating_duration_since(*at)).collect())
    }

    pub fn resume(policy: RestartPolicy, ages: &[Duration], now: Instant) -> Self {
        let newest = &ages[ages.len().saturating_sub(WAITS.len())..];
        // One before the clock's own start counts as fresh.
        let recent = newest.iter().map(|age| now.checked_sub(*age).unwrap_or(now)).collect();
        Self { policy, recent }
    }

    /// Whether another failure would be followed by a restart.
    pub fn left(&self, now: Instant) -> bool {
        self.policy == RestartPolicy::OnFailure && self.within(now) < WAITS.len()
    }

    /// How long to wait before the next start; `None` if there is to be none.
    pub fn take(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.left(now).then(|| WAITS[self.within(now)])?;
        if self.recent.len() == WAITS.len() {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        Some(wait)
    }

    fn within(&self, now: Instant) -> usize {
        self.recent.iter().filter(|at| now.duration_since(**at) < WINDOW).count()
    }
}
