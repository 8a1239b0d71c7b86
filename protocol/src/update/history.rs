//! What a board remembers of its updates: the one on trial, and those that failed.

use super::{Record, Slot, TRIES};
use serde::{Deserialize, Serialize};

/// Failures that are kept: the newest.
const MAX_FAILURES: usize = 8;

/// On the data partition, where both slots read it: fields are only ever added, and each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Installed, and neither kept nor rolled back yet.
    pub trial: Option<Attempt>,
    /// The newest last.
    pub failed: Vec<Failure>,
}

/// An update on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its version.
    pub version: String,
    /// Where it is.
    pub slot: Slot,
    /// The old slot was registered within its last ten minutes.
    #[serde(default)]
    pub must_register: bool,
    /// Of the record that puts it on trial, which is written last. 0 where a version that did not write it down installed it.
    #[serde(default)]
    pub generation: u32,
}

/// An update that was taken back. It is not installed again unless somebody insists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its version.
    pub version: String,
    /// In plain words.
    pub reason: String,
}

/// Where a board stands after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is on trial.
    Settled,
    /// The running slot is on trial.
    OnTrial {
        /// See [`Attempt::must_register`].
        must_register: bool,
    },
    /// The other slot is on trial from the next start on.
    Installed,
    /// The other slot is on trial from the next start on in which U-Boot can write that down.
    NotStarted,
    /// An update was cut off before it was whole, and may be installed again.
    CutOff,
}

impl History {
    /// The reason for which this version was taken back.
    pub fn failure(&self, version: &str) -> Option<&str> {
        self.failed.iter().rev().find(|failure| failure.version == version).map(|failure| &*failure.reason)
    }

    /// `version` is being written to `slot`, and on trial once a record of this generation is.
    pub fn installed(&mut self, version: &str, slot: Slot, must_register: bool, generation: u32) {
        self.trial = Some(Attempt { version: version.to_owned(), slot, must_register, generation });
    }

    /// The update on trial is good.
    pub fn committed(&mut self) {
        if let Some(attempt) = self.trial.take() {
            self.failed.retain(|failure| failure.version != attempt.version);
        }
    }

    /// The update on trial is not.
    pub fn rolled_back(&mut self, reason: String) {
        if let Some(attempt) = self.trial.take() {
            self.failed.retain(|failure| failure.version != attempt.version);
            self.failed.push(Failure { version: attempt.version, reason });
            self.failed.drain(..self.failed.len().saturating_sub(MAX_FAILURES));
        }
    }

    /// After a start of slot `running`: what happened since the last one is written down here. `fallback` is why U-Boot did
    /// not take the other slot, as it tells the kernel: `tries` or `kernel`, or `record` where it could not write down a try.
    pub fn started(&mut self, running: Slot, record: Option<Record>, fallback: Option<&str>) -> Standing {
        let tries = record.and_then(|record| Some((record.good.other(), record.tries?)));
        match (tries, &self.trial) {
            (Some((slot, _)), attempt) if slot == running => {
                Standing::OnTrial { must_register: attempt.as_ref().is_some_and(|attempt| attempt.must_register) }
            }
            (Some(_), _) if fallback == Some("record") => Standing::NotStarted,
            (Some(_), _) => Standing::Installed,
            // A power cut came between the record and this.
            (None, Some(attempt)) if attempt.slot == running => {
                self.committed();
                Standing::Settled
            }
            (None, Some(attempt)) if record.map_or(0, |record| record.generation) < attempt.generation => {
                self.trial = None;
                Standing::CutOff
            }
            (None, Some(_)) => {
                self.rolled_back(match fallback {
                    Some("kernel") => "its kernel is damaged: U-Boot did not start it".into(),
                    _ => format!("it did not say that it is well in {TRIES} starts"),
                });
                Standing::Settled
            }
            (None, None) => Standing::Settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(good: Slot, tries: Option<u32>) -> Option<Record> {
        Some(Record { generation: 9, good, tries })
    }

    fn with_trial(must_register: bool) -> History {
        let mut history = History::default();
        history.installed("1.1", Slot::B, must_register, 9);
        history
    }

    #[test]
    fn a_start_of_the_new_slot_is_its_trial_also_where_nothing_is_remembered() {
        let trial = record(Slot::A, Some(2));
        assert_eq!(with_trial(true).started(Slot::B, trial, None), Standing::OnTrial { must_register: true });
        assert_eq!(with_trial(false).started(Slot::B, trial, None), Standing::OnTrial { must_register: false });
        assert_eq!(History::default().started(Slot::B, trial, None), Standing::OnTrial { must_register: false });
        let installed = |fallback| with_trial(true).started(Slot::A, record(Slot::A, Some(3)), fallback);
        assert_eq!(installed(None), Standing::Installed);
        assert_eq!(installed(Some("record")), Standing::NotStarted);
    }

    #[test]
    fn a_start_of_the_old_slot_without_a_trial_says_that_the_new_one_did_not_come_up() {
        let mut history = with_trial(true);
        assert_eq!(history.started(Slot::A, record(Slot::A, None), None), Standing::Settled);
        assert!(history.failure("1.1").is_some_and(|reason| reason.contains("3 starts")));
        assert_eq!(history.trial, None);
        assert_eq!(history.failure("1.2"), None);
        let mut history = with_trial(true);
        history.started(Slot::A, record(Slot::A, None), Some("kernel"));
        assert!(history.failure("1.1").is_some_and(|reason| reason.contains("damaged")));
    }

    #[test]
    fn a_commit_that_was_cut_off_before_it_was_remembered_is_one() {
        let mut history = with_trial(true);
        assert_eq!(history.started(Slot::B, record(Slot::B, None), None), Standing::Settled);
        assert_eq!(history, History::default());
    }

    #[test]
    fn an_update_that_was_cut_off_before_its_trial_is_no_failure() {
        let before = Some(Record { generation: 8, good: Slot::A, tries: None });
        for record in [None, before] {
            let mut history = with_trial(true);
            assert_eq!(history.started(Slot::A, record, None), Standing::CutOff);
            assert_eq!(history, History::default());
        }
    }

    #[test]
    fn a_version_that_failed_is_remembered_until_it_works_and_only_the_newest_are_kept() {
        let mut history = History::default();
        for version in 0..20 {
            history.installed(&version.to_string(), Slot::B, true, 9);
            history.rolled_back(format!("reason {version}"));
        }
        assert_eq!(history.failed.len(), MAX_FAILURES);
        assert_eq!(history.failure("19"), Some("reason 19"));
        history.installed("19", Slot::B, true, 9);
        history.committed();
        assert_eq!(history.failure("19"), None);
        assert_eq!(history.failure("18"), Some("reason 18"));
    }

    #[test]
    fn what_a_later_version_wrote_is_read_and_so_is_what_an_earlier_one_did() {
        let later = r#"{"trial":{"version":"2","slot":"b","must_register":true,"colour":1},"failed":[],"more":{}}"#;
        let history: History = serde_json::from_str(later).unwrap();
        assert!(history.trial.is_some_and(|attempt| attempt.must_register && attempt.slot == Slot::B));
        assert_eq!(serde_json::from_str::<History>("{}").unwrap(), History::default());
    }
}
