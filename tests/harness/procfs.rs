//! What `/proc` tells of a process.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Direct children.
pub fn children(pid: u32) -> Vec<u32> {
    processes().filter(|&child| parent(child) == Some(pid)).collect()
}

/// Children, their children and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = children(pid);
    let mut next = 0;
    while let Some(&child) = all.get(next) {
        all.extend(children(child));
        next += 1;
    }
    all
}

/// Arguments, joined with spaces; empty when it is gone.
pub fn command_line(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).trim_end_matches('\0').replace('\0', " ")
}

/// Environment as the process was started with.
pub fn environment(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', "\n")
}

/// A field of its `status`; empty when it is gone.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Cgroups of a worker's children, in its own cgroup v2 or beside it; 0 where it may make none.
pub fn cgroups(pid: u32) -> usize {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let prefix = format!("fw-{pid}-");
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|mount| PathBuf::from(mount).join(path));
    let near: BTreeSet<_> = mounts.iter().flat_map(|leaf| [Some(leaf.as_path()), leaf.parent()]).flatten().collect();
    let entries = near.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

/// The leaf that a worker's child has of its own, where it is mounted.
pub fn leaf(pid: u32) -> Option<PathBuf> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    let leaf = PathBuf::from(mount).join(path);
    leaf.file_name()?.to_str()?.starts_with("fw-").then_some(leaf)
}

/// Names of its threads.
pub fn threads(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// Seconds that the thread which had to wait longest for a processor has waited for one, since it began.
pub fn waited(pid: u32) -> f64 {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path().join("schedstat")).ok());
    let nanoseconds = texts.filter_map(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    nanoseconds.fold(0.0, f64::max) / 1e9
}

/// Whether it runs; a zombie does not.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// What its descriptors point to.
pub fn descriptors(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// How many memfds it holds.
pub fn memfds(pid: u32) -> usize {
    // As text: for a path "/memfd:" is a whole component, which the name behind it is part of.
    descriptors(pid).iter().filter(|path| path.to_string_lossy().starts_with("/memfd:")).count()
}

/// What it has used of the processors; zero when it is gone.
pub fn cpu(pid: u32) -> Duration {
    // Times in /proc are in hundredths of a second on all our architectures (USER_HZ), user and system apart.
    let ticks = |fields: Vec<String>| fields[11..13].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(10 * stat(pid).map(ticks).unwrap_or_default())
}

/// Memory, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its own pages and its share of shared ones.
    pub pss: u64,
    /// Pages nobody else has.
    pub private: u64,
    /// What it has allocated or changed. Pages of a program that has just been built are dirty too, but the file's.
    pub anonymous: u64,
}

/// Reads `smaps_rollup`; zero when it is gone.
pub fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let private = field("Private_Clean") + field("Private_Dirty");
    Memory { pss: field("Pss"), private, anonymous: field("Anonymous") }
}

/// The fields of `/proc/PID/stat` from the state on; the name before it may contain anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_seen_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        assert!(children(std::process::id()).contains(&pid) && alive(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!alive(pid) && !descendants(std::process::id()).contains(&pid));
    }

    #[test]
    fn the_memory_of_this_process_is_read() {
        let own = std::process::id();
        assert!(memory(own).pss > 0 && memory(own).private > 0);
    }
}
