//! Users that children become. One that is given back is taken again only when the leaf of its last child is gone, and
//! with it every process that the child has left, and not before all others had their turn. Workers on one board share
//! them out by [`Claims`]: a process may signal any other of its user.

use crate::control::runtime_directory;
use crate::supervisor::handover::UserEntry;
use crate::supervisor::ledger::make_directory;
use hal::process::{Claims, user};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::mpsc;

/// Users that some child of a worker has, in the runtime directory.
const SHARED: &str = "users.lock";

/// What users are shared by; nothing where children keep ours, or where there is no runtime directory.
pub(in super::super) fn claims() -> Result<Option<Claims>, String> {
    let Some(directory) = runtime_directory(|name| std::env::var(name).ok()).filter(|_| user() == 0) else {
        return Ok(None);
    };
    make_directory(&directory).map_err(|e| e.to_string())?;
    let path = directory.join(SHARED);
    Claims::open(&path).map(Some).map_err(|e| format!("open {}: {e}", path.display()))
}

#[derive(Debug)]
pub(super) struct Users {
    free: VecDeque<u32>,
    /// Given back, but somebody of it may be left.
    going: Vec<Returned>,
    returned: mpsc::Receiver<Returned>,
    giving: mpsc::Sender<Returned>,
    /// None where this worker shares them with nobody.
    claims: Option<Claims>,
}

#[derive(Debug)]
struct Returned {
    uid: u32,
    leaf: Option<PathBuf>,
}

/// A user that one child has.
#[derive(Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) leaf: Option<PathBuf>,
    back: mpsc::Sender<Returned>,
}

impl Users {
    pub(super) fn new(uids: RangeInclusive<u32>) -> Self {
        let (giving, returned) = mpsc::channel();
        Self { free: uids.collect(), going: Vec::new(), returned, giving, claims: None }
    }

    /// From now on no other worker has those that children of this one have.
    pub(super) fn share_by(&mut self, claims: Claims) {
        self.claims = Some(claims);
    }

    pub(super) fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    pub(super) fn take(&mut self, leaf: Option<PathBuf>) -> Option<User> {
        self.settle();
        let at = self.free.iter().position(|uid| self.claim(*uid))?;
        let uid = self.free.remove(at)?;
        Some(User { uid, leaf, back: self.giving.clone() })
    }

    /// One that cannot be locked at all is had like one that need not be.
    fn claim(&self, uid: u32) -> bool {
        self.claims.as_ref().is_none_or(|claims| claims.take(uid).unwrap_or(true))
    }

    /// Frees those of which nobody is left.
    fn settle(&mut self) {
        self.going.extend(self.returned.try_iter());
        let is_left = |user: &mut Returned| user.leaf.as_ref().is_some_and(|leaf| leaf.exists());
        for Returned { uid, .. } in self.going.extract_if(.., |user| !is_left(user)) {
            // What fails here was never locked.
            let _ = self.claims.as_ref().map(|claims| claims.give_back(uid));
            self.free.push_back(uid);
        }
    }

    pub(super) fn export(&mut self) -> Vec<UserEntry> {
        self.settle();
        self.going.iter().map(|user| UserEntry { uid: user.uid, leaf: user.leaf.clone() }).collect()
    }

    /// A program that this one takes the place of has given it back, but somebody of it may be left.
    pub(super) fn mark(&mut self, UserEntry { uid, leaf }: UserEntry) {
        drop(self.adopt(UserEntry { uid, leaf }));
    }

    /// A child of that program has it.
    pub(super) fn adopt(&mut self, UserEntry { uid, leaf }: UserEntry) -> User {
        self.claim(uid);
        self.free.retain(|free| *free != uid);
        User { uid, leaf, back: self.giving.clone() }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Without the pool there are no more children.
        let _ = self.back.send(Returned { uid: self.uid, leaf: self.leaf.take() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_child_at_a_time_and_waits_until_the_leaf_of_its_last_is_gone() {
        let mut users = Users::new(1..=2);
        let leaf = std::env::temp_dir().join(format!("fw-users-{}", std::process::id()));
        std::fs::create_dir(&leaf).unwrap();
        let (first, second) = (users.take(Some(leaf.clone())).unwrap(), users.take(None).unwrap());
        assert_eq!((first.uid, second.uid), (1, 2));
        assert!(users.take(None).is_none());
        drop(first);
        assert!(users.take(None).is_none(), "somebody of it may be left");
        std::fs::remove_dir(&leaf).unwrap();
        assert_eq!(users.take(None).unwrap().uid, 1);
        drop(second);
        assert_eq!(users.take(None).unwrap().uid, 1, "given back before the other");
    }

    #[test]
    fn two_workers_have_no_user_at_the_same_time_and_one_that_is_given_back_serves_both() {
        let path = std::env::temp_dir().join(format!("fw-claimed-{}", std::process::id()));
        let mut workers = [Users::new(1..=3), Users::new(1..=3)];
        workers.iter_mut().for_each(|users| users.share_by(Claims::open(&path).unwrap()));
        let [one, other] = &mut workers;
        let (first, second) = (one.take(None).unwrap(), other.take(None).unwrap());
        assert_eq!((first.uid, second.uid), (1, 2));
        let third = one.take(None).unwrap();
        assert_eq!(third.uid, 3);
        assert!(other.take(None).is_none(), "the other has the rest");
        drop(third);
        assert!(one.take(None).is_some_and(|user| user.uid == 3));
        assert!(one.export().is_empty() && other.take(None).is_some_and(|user| user.uid == 3));
        std::fs::remove_file(&path).unwrap();
    }
}
