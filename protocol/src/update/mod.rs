//! Updates of a board's image: two slots, of which one runs while the other is written.
//!
//! ```text
//! Settled --install--> Trial (3 starts)                      the other slot is whole on the disk, and flushed, before
//! Trial --registered, or healthy where it need not--> Settled in the new slot
//! Trial --not so in time, or no start left, or a kernel that is not whole--> Settled in the old slot
//! ```
//!
//! The state is a [`Record`] on the disk, in two copies. Three write it: [`Install`], U-Boot ([`rule`] is its twin), and
//! whoever acts on the [`Probation`]'s verdict. A power cut at any point leaves one of the two slots to boot, whole.

pub mod bundle;
mod history;
mod install;
mod probation;
mod record;
pub mod rule;
mod version;

pub use history::{Attempt, Failure, History, Standing};
pub use install::{Action, Damage, Install, Part, Place};
pub use probation::{Probation, Seen, Verdict};
pub use record::{COPY_OFFSETS, Copies, RECORD_LEN, Record, TRIES};
pub use version::compare as compare_versions;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of the two places that hold a kernel and a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Partitions 5 and 6; where a new card boots.
    A,
    /// Partitions 7 and 8.
    B,
}

impl Slot {
    /// The one that an update of this one is written to.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Number of the partition that holds this part of it.
    pub fn partition(self, part: Part) -> u32 {
        match (self, part) {
            (Self::A, Part::Kernel) => 5,
            (Self::A, Part::Root) => 6,
            (Self::B, Part::Kernel) => 7,
            (Self::B, Part::Root) => 8,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

impl FromStr for Slot {
    type Err = String;

    /// As the kernel's command line has it.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            other => Err(format!("{other:?} is no slot: a or b")),
        }
    }
}

#[cfg(test)]
mod power_cuts;
