//! Cards that are plugged in under a name, and what happens to them beside their scripts.

use super::{Call, Fault, Pcm, Script};
use crate::audio::pcm::Failed;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Cards that are plugged in, by their names.
static CARDS: Mutex<BTreeMap<String, Plugged>> = Mutex::new(BTreeMap::new());

/// A card that has a name.
#[derive(Clone, Debug)]
pub(super) struct Plugged {
    pub(super) script: Script,
    pub(super) sudden: Arc<Beside>,
    /// Whoever has it open has a copy.
    pub(super) open: Arc<()>,
}

/// What happens to a card beside its script.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) sudden: Mutex<Sudden>,
    pub(super) healed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Sudden {
    pub(super) faults: Vec<(Call, Fault)>,
    pub(super) unplugged: bool,
    /// A call does not return.
    pub(super) hanging: bool,
}

/// From now on [`Capture::start`](crate::audio::Capture::start) opens such a card by this name, which no other test uses.
pub fn plug_in(name: &str, script: Script) {
    let mut cards = lock(&CARDS);
    // Who has the one before open still has it.
    let open = cards.get(name).map(|before| before.open.clone()).unwrap_or_default();
    cards.insert(name.to_owned(), Plugged { script, sudden: Arc::default(), open });
}

/// Pulls its cable.
pub fn unplug(name: &str) {
    if let Some(card) = lock(&CARDS).get(name) {
        lock(&card.sudden.sudden).unplugged = true;
    }
}

/// How often a card of this name is open now, before and after it was unplugged.
pub fn in_use(name: &str) -> usize {
    lock(&CARDS).get(name).map_or(0, |card| Arc::strong_count(&card.open) - 1)
}

/// The next call of this kind fails.
pub fn fail(name: &str, call: Call, fault: Fault) {
    if let Some(card) = lock(&CARDS).get(name) {
        lock(&card.sudden.sudden).faults.push((call, fault));
    }
}

/// Nothing fails or hangs from now on but by script. False without such a card.
pub fn heal(name: &str) -> bool {
    let cards = lock(&CARDS);
    let Some(card) = cards.get(name) else { return false };
    let mut sudden = lock(&card.sudden.sudden);
    sudden.faults.clear();
    sudden.hanging = false;
    card.sudden.healed.notify_all();
    !sudden.unplugged
}

/// Whether somebody sits in a call to the card that does not return.
pub fn is_hanging(name: &str) -> bool {
    lock(&CARDS).get(name).is_some_and(|card| lock(&card.sudden.sudden).hanging)
}

/// `None` if no card by script has this name.
pub(in crate::audio) fn open(name: &str) -> Option<Result<Pcm, Failed>> {
    // Not under the lock: the call may hang.
    let card = lock(&CARDS).get(name).filter(|card| !lock(&card.sudden.sudden).unplugged)?.clone();
    Some(Pcm::with(card))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
