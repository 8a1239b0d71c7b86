//! The rule by which U-Boot takes a slot: the twin of `images/boot.cmd`, for tests of what an update leaves on the disk. A
//! test boots the script and asks both.

use super::{Copies, Record, Slot};

/// What U-Boot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The slot that it starts; `None` if it finds no kernel that is whole.
    pub slot: Option<Slot>,
    /// Written before, by [`Record::successor`]: slot that is good, and starts that are left to the other one.
    pub written: Option<(Slot, Option<u32>)>,
}

/// The slot that starts where no record can be written: never one on trial, as its starts could not be counted.
pub fn boot_read_only(copies: &Copies, whole: impl Fn(Slot) -> bool) -> Option<Slot> {
    let good = Record::newest(copies).map_or(Slot::A, |record| record.good);
    [good, good.other()].into_iter().find(|slot| whole(*slot))
}

/// A trial with a start left is started, with one less from then on. Any other end of it is for good: no start left, or
/// no kernel that is `whole`. Without a trial the good slot boots, and where its kernel is not whole the other one.
pub fn boot(copies: &Copies, whole: impl Fn(Slot) -> bool) -> Boot {
    let record = Record::newest(copies);
    let good = record.map_or(Slot::A, |record| record.good);
    let fallback = boot_read_only(copies, &whole);
    match record.and_then(|record| record.tries) {
        Some(left @ 1..) if whole(good.other()) => {
            Boot { slot: Some(good.other()), written: Some((good, Some(left - 1))) }
        }
        Some(_) => Boot { slot: fallback, written: Some((good, None)) },
        None => Boot { slot: fallback, written: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::RECORD_LEN;

    fn copies(good: Slot, tries: Option<u32>) -> Copies {
        let bytes = Record { generation: 4, good, tries }.bytes();
        [bytes, bytes]
    }

    #[test]
    fn a_trial_is_started_as_often_as_it_has_tries_and_then_the_good_slot_for_good() {
        let whole = |_| true;
        assert_eq!(boot(&copies(Slot::A, Some(2)), whole).slot, Some(Slot::B));
        assert_eq!(boot(&copies(Slot::A, Some(2)), whole).written, Some((Slot::A, Some(1))));
        assert_eq!(
            boot(&copies(Slot::A, Some(0)), whole),
            Boot { slot: Some(Slot::A), written: Some((Slot::A, None)) }
        );
        assert_eq!(boot(&copies(Slot::B, None), whole), Boot { slot: Some(Slot::B), written: None });
    }

    #[test]
    fn a_kernel_that_is_not_whole_is_passed_over_and_ends_its_trial() {
        let only = |slot| move |asked| asked == slot;
        let broken_trial = boot(&copies(Slot::A, Some(3)), only(Slot::A));
        assert_eq!(broken_trial, Boot { slot: Some(Slot::A), written: Some((Slot::A, None)) });
        assert_eq!(boot(&copies(Slot::A, None), only(Slot::B)), Boot { slot: Some(Slot::B), written: None });
        assert_eq!(boot(&copies(Slot::A, None), |_| false).slot, None);
    }

    #[test]
    fn no_trial_is_started_where_its_start_cannot_be_written_down() {
        assert_eq!(boot_read_only(&copies(Slot::A, Some(2)), |_| true), Some(Slot::A));
        assert_eq!(boot_read_only(&copies(Slot::A, Some(2)), |slot| slot == Slot::B), Some(Slot::B));
        assert_eq!(boot_read_only(&copies(Slot::A, Some(2)), |_| false), None);
    }

    #[test]
    fn a_disk_without_a_valid_record_boots_slot_a() {
        assert_eq!(boot(&[[0; RECORD_LEN]; 2], |_| true), Boot { slot: Some(Slot::A), written: None });
    }
}
