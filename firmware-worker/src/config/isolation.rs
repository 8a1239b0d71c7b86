//! `[isolation]`: what is taken from children, and what must be.

use super::meaning::wrong;
use super::{Error, Worker};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

/// Users that no Linux distribution gives away: above what passwd(5) and systemd use, below what /etc/subuid begins with.
/// Twice as many as children at a time, so that none is used again soon.
const UIDS: RangeInclusive<u32> = 70_000..=70_999;

/// Fewer make no sense on any board.
const FEWEST: u32 = 16;

/// Directories that children see a part of, or have one of their own of.
const OWN: [&str; 5] = ["/dev", "/proc", "/sys", "/tmp", "/run"];

/// `[isolation]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationWritten {
    /// `strict` or `best-effort`.
    pub mode: Option<IsolationMode>,
    /// First and last user of children: `70000-70999`.
    pub uids: Option<String>,
    /// Directories that jobs may read beside the system's.
    pub paths: Option<Vec<PathBuf>>,
    /// System calls that jobs may make beside those that are always allowed.
    pub syscalls: Option<Vec<String>>,
}

/// What happens where a layer cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationMode {
    /// The worker does not run.
    Strict,
    /// It runs and says what is missing.
    #[default]
    BestEffort,
}

/// What is taken from children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// What happens where that fails.
    pub mode: IsolationMode,
    /// Users of children, one for each process at a time.
    pub uids: RangeInclusive<u32>,
    /// Directories that jobs may read beside the system's.
    pub paths: Vec<PathBuf>,
    /// System calls that jobs may make beside those that are always allowed.
    pub syscalls: Vec<String>,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { mode: IsolationMode::default(), uids: UIDS, paths: Vec::new(), syscalls: Vec::new() }
    }
}

impl IsolationWritten {
    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            mode: self.mode.or(lower.mode),
            uids: self.uids.or(lower.uids),
            paths: self.paths.or(lower.paths),
            syscalls: self.syscalls.or(lower.syscalls),
        }
    }
}

pub(super) fn isolation(written: IsolationWritten) -> Result<Isolation, Error> {
    let paths = written.paths.unwrap_or_default();
    paths.iter().try_for_each(|path| fit(path))?;
    let syscalls = written.syscalls.unwrap_or_default();
    if let Some(unknown) = syscalls.iter().find(|name| !hal::process::is_call(name)) {
        return Err(wrong("isolation syscalls", format!("{unknown:?} is no system call of this architecture")));
    }
    let uids = written.uids.map_or(Ok(UIDS), |range| uids(&range))?;
    Ok(Isolation { mode: written.mode.unwrap_or_default(), uids, paths, syscalls })
}

/// There is a user for each job, the prewarmed one and each owner of a device; or fewer jobs are taken, and this is said.
pub(crate) fn suffice(isolation: &Isolation, worker: &mut Worker, devices: usize) -> Option<String> {
    let there = isolation.uids.end() - isolation.uids.start() + 1;
    let others = worker.prewarm.saturating_add(devices as u32);
    let (jobs, needed) = (worker.max_jobs, worker.max_jobs.saturating_add(others));
    (there < needed).then(|| {
        worker.max_jobs = there.saturating_sub(others).max(1);
        let taken = worker.max_jobs;
        format!(
            "isolation uids: {there} users are too few for {jobs} jobs and {devices} devices, which need {needed}; \
             {taken} at a time are taken"
        )
    })
}

fn uids(written: &str) -> Result<RangeInclusive<u32>, Error> {
    let ends = written.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    // The last number stands for "no user".
    match ends {
        Some((first, last)) if first > 0 && last < u32::MAX && last >= first && last - first >= FEWEST - 1 => {
            Ok(first..=last)
        }
        _ => Err(wrong(
            "isolation uids",
            format!("{written:?} is not FIRST-LAST, {FEWEST} users or more and none of them root"),
        )),
    }
}

fn fit(path: &Path) -> Result<(), Error> {
    let wrong = |why: &str| Err(wrong("isolation paths", format!("{}: {why}", path.display())));
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return wrong("is no absolute path");
    }
    if path == Path::new("/") || OWN.iter().any(|own| path == Path::new(own)) {
        return wrong("children see their own; name a directory in it");
    }
    match std::fs::metadata(path) {
        Ok(place) if place.is_dir() => Ok(()),
        // One that is replaced by renaming would stay the old one.
        Ok(_) => wrong("is no directory; name the one that it is in"),
        Err(error) => wrong(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(written: IsolationWritten) -> Result<Isolation, String> {
        isolation(written).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_written_is_best_effort_with_users_that_nobody_has() {
        assert_eq!(meant(IsolationWritten::default()), Ok(Isolation::default()));
        let uids = Some("2000-2015".into());
        assert_eq!(meant(IsolationWritten { uids, ..Default::default() }).map(|meant| meant.uids), Ok(2000..=2015));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (uids, part) in
            [("0-100", "none of them root"), ("5-7", "16 users"), ("9", "FIRST-LAST"), ("9-4294967295", "")]
        {
            let refused = meant(IsolationWritten { uids: Some(uids.into()), ..Default::default() }).unwrap_err();
            assert!(refused.starts_with("isolation uids: ") && refused.contains(part), "{refused}");
        }
        for (path, part) in
            [("usr", "absolute"), ("/usr/..", "absolute"), ("/dev", "their own"), ("/etc/passwd", "no directory")]
        {
            let refused = meant(IsolationWritten { paths: Some(vec![path.into()]), ..Default::default() }).unwrap_err();
            assert!(refused.starts_with("isolation paths: ") && refused.contains(part), "{refused}");
        }
        let refused =
            meant(IsolationWritten { syscalls: Some(vec!["format".into()]), ..Default::default() }).unwrap_err();
        assert!(refused.contains("\"format\" is no system call"), "{refused}");
        assert!(meant(IsolationWritten { syscalls: Some(vec!["execve".into()]), ..Default::default() }).is_ok());
    }
}
