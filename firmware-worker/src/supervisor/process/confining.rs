//! What is taken from children: found out once, and told to whoever asks.

use super::*;
use crate::supervisor::DELEGATION;
use crate::supervisor::isolation::IsolationView;
use hal::process::Claims;
use std::future::poll_fn;
use tokio::time::timeout;

/// What a child that is only confined may take: 10 ms, and more on a board that starts.
const TRIAL: Duration = Duration::from_secs(5);

impl Spawner {
    /// Finds out by a child that does nothing else what can be taken from children here.
    pub(in crate::supervisor) async fn try_isolation(&mut self) -> Result<(), String> {
        let plan = Plan { name: "trial", subcommand: crate::cli::TRIAL, limits: Limits::default(), kind: Kind::Bare };
        let mut child = self.start(plan)?;
        let end = poll_fn(|cx| child.poll_next::<()>(cx));
        let ended = timeout(TRIAL, end).await;
        let confined = child.confined.as_ref().filter(|confined| confined.has_reported());
        let missing = confined.map(Confined::missing);
        if ended.is_err() {
            self.let_go(child);
        }
        match missing {
            Some(missing) => self.isolation.judge(missing),
            None => Err(format!("isolation could not be tried: {ended:?}")),
        }
    }

    pub(in crate::supervisor) fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Shares the users of children with other workers on this board.
    pub(in crate::supervisor) fn share_users_by(&mut self, claims: Claims) {
        self.isolation.share_users_by(claims);
    }

    /// Why children's memory and processes are not limited, with the remedy; nothing where they are.
    pub(in crate::supervisor) fn unlimited(&self) -> Option<String> {
        let Some(cgroups) = &self.cgroups else { return Some(DELEGATION.to_owned()) };
        cgroups.missing().iter().find(|missing| missing.needed).map(ToString::to_string)
    }

    /// How children are confined, and all that cannot be taken from them here.
    pub(in crate::supervisor) fn isolation_view(&self) -> IsolationView {
        let controllers = match &self.cgroups {
            Some(cgroups) => cgroups.missing().iter().map(ToString::to_string).collect(),
            None => vec![format!("no limits for children: {DELEGATION}")],
        };
        self.isolation.view(controllers)
    }
}
