//! Who holds a device that its owner finds busy. An owner does not see the processes of others, so the supervisor looks:
//! sound cards name the process that opened them, everything else is found by its open descriptors.

use crate::config::{Device, DeviceKind};
use std::fs;
use std::path::{Path, PathBuf};

/// Processes that are named; more would not fit a line, and one is enough to act on.
const MAX_NAMED: usize = 3;

/// Characters of a program's name; whoever starts one may call it as they like.
const MAX_NAME: usize = 64;

/// A process that has the device open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    pid: u32,
    name: String,
}

/// A busy device, as it is found under `/proc`.
#[derive(Debug, PartialEq, Eq)]
enum Busy {
    /// A device node.
    Node(PathBuf),
    /// A PCM: its card's id or number, its device number.
    Pcm { card: String, device: u32 },
}

/// Who has `busy` open, in plain words: `busy` is a node or an ALSA name, `device` what is configured. The processes
/// `without` are ours. Blocks while it reads `proc`, some milliseconds.
pub(crate) fn describe(proc: &Path, device: &Device, busy: &str, without: &[u32]) -> String {
    let mut holders = match parse(busy) {
        Some(Busy::Node(node)) => with_open(proc, &node),
        Some(Busy::Pcm { card, device: number }) => of_pcm(proc, &card, number, direction(device)),
        None => Vec::new(),
    };
    holders.retain(|holder| !without.contains(&holder.pid));
    holders.sort();
    holders.dedup();
    if holders.is_empty() {
        let seen = if busy.starts_with('/') { busy } else { "/dev/snd/*" };
        return format!("in use by a program that this user cannot see (`sudo fuser -v {seen}` names it)");
    }
    let named: Vec<_> = holders.iter().take(MAX_NAMED).map(|h| format!("{} (pid {})", h.name, h.pid)).collect();
    let more = holders.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("in use by {}{more}", named.join(", "))
}

fn direction(device: &Device) -> char {
    match device.kind {
        DeviceKind::Camera(_) | DeviceKind::Microphone(_) => 'c',
        DeviceKind::Speaker(_) => 'p',
    }
}

/// `None` for ALSA names that lead through a plugin to a card that only ALSA knows.
fn parse(busy: &str) -> Option<Busy> {
    if busy.starts_with('/') {
        return Some(Busy::Node(busy.into()));
    }
    let (_, arguments) = busy.split_once(':')?;
    let (mut card, mut device) = (None, 0);
    for (place, argument) in arguments.split(',').enumerate() {
        match (argument.split_once('='), place) {
            (Some(("CARD", id)), _) => card = Some(id),
            (Some(("DEV", number)), _) => device = number.parse().ok()?,
            (None, 0) => card = Some(argument),
            (None, 1) => device = argument.parse().ok()?,
            (Some(_), _) | (None, _) => {}
        }
    }
    // It becomes part of a path.
    let plain = |card: &&str| !card.is_empty() && card.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    Some(Busy::Pcm { card: card.filter(plain)?.to_owned(), device })
}

/// The kernel tells the thread that opened each substream; that is for everybody to read.
fn of_pcm(proc: &Path, card: &str, device: u32, direction: char) -> Vec<Holder> {
    let number = card.parse::<u32>().map(|number| format!("card{number}"));
    let pcm =
        proc.join("asound").join(number.unwrap_or_else(|_| card.to_owned())).join(format!("pcm{device}{direction}"));
    let opener = |substream: PathBuf| {
        let status = fs::read_to_string(substream.join("status")).ok()?;
        process_of(proc, field(&status, "owner_pid")?.parse().ok()?)
    };
    entries(&pcm).filter_map(opener).collect()
}

/// Descriptors are for the same user and root to read.
fn with_open(proc: &Path, node: &Path) -> Vec<Holder> {
    let pids = entries(proc).filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
    let open = |pid: &u32| {
        let fds = proc.join(pid.to_string()).join("fd");
        entries(&fds).any(|fd| fs::read_link(fd).is_ok_and(|target| target == node))
    };
    pids.filter(open).filter_map(|pid| process_of(proc, pid)).collect()
}

/// The process of a thread.
fn process_of(proc: &Path, thread: u32) -> Option<Holder> {
    let status = fs::read_to_string(proc.join(thread.to_string()).join("status")).ok()?;
    let pid = field(&status, "Tgid")?.parse().ok()?;
    Some(Holder {
        pid,
        name: program(proc, pid).unwrap_or_else(|| field(&status, "Name").unwrap_or_default().to_owned()),
    })
}

/// What it was called as: the kernel's own name for it is cut off after 15 bytes.
fn program(proc: &Path, pid: u32) -> Option<String> {
    let command = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
    let called = String::from_utf8_lossy(command.split(|byte| *byte == 0).next()?).into_owned();
    let name = called.rsplit('/').next()?;
    // It goes into log lines.
    let plain = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>();
    (!plain.is_empty()).then_some(plain)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()))
}

/// Nothing where there is no such directory, or none for us to read.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Camera, Microphone};
    use std::process::{Command, Stdio};

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("fw-holder-{}-{name}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }
        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        /// A process, its other thread, and what it has open.
        fn process(&self, pid: u32, thread: u32, name: &str, open: &str) {
            for id in [pid, thread] {
                self.write(&format!("{id}/status"), &format!("Name:\t{name}-worker\nTgid:\t{pid}\nPid:\t{id}\n"));
            }
            self.write(&format!("{pid}/cmdline"), &format!("/usr/bin/{name}\0-q\0"));
            let fds = self.0.join(format!("{pid}/fd"));
            fs::create_dir_all(&fds).unwrap();
            std::os::unix::fs::symlink(open, fds.join("7")).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn camera() -> Device {
        Device { name: "camera".into(), kind: DeviceKind::Camera(Camera::default()) }
    }

    fn microphone() -> Device {
        Device { name: "microphone".into(), kind: DeviceKind::Microphone(Microphone::default()) }
    }

    #[test]
    fn a_sound_card_in_use_is_told_with_the_process_of_the_thread_that_opened_it() {
        let tree = Tree::new("pcm");
        tree.process(812, 815, "arecord", "/dev/null");
        tree.process(900, 901, "aplay", "/dev/null");
        tree.write("asound/card1/pcm0c/sub0/status", "state: RUNNING\nowner_pid   : 815\ntrigger_time: 1.2\n");
        tree.write("asound/card1/pcm0c/sub1/status", "closed\n");
        tree.write("asound/card1/pcm0p/sub0/status", "state: RUNNING\nowner_pid   : 900\n");
        std::os::unix::fs::symlink("card1", tree.0.join("asound/Mic")).unwrap();
        for name in ["hw:CARD=Mic,DEV=0", "hw:CARD=Mic", "plughw:1,0", "hw:1"] {
            assert_eq!(describe(&tree.0, &microphone(), name, &[]), "in use by arecord (pid 812)", "{name}");
        }
        let unknown = describe(&tree.0, &microphone(), "hw:CARD=Mic,DEV=3", &[]);
        assert!(unknown.contains("`sudo fuser -v /dev/snd/*`"), "{unknown}");
    }

    #[test]
    fn a_camera_in_use_is_told_with_the_processes_that_have_its_node_open_but_for_our_own() {
        let tree = Tree::new("node");
        for (pid, name) in [(30, "cheese"), (31, "zoom"), (32, "ours"), (33, "obs"), (34, "vlc"), (35, "ffmpeg")] {
            tree.process(pid, pid + 100, name, "/dev/video0");
        }
        tree.process(50, 51, "other", "/dev/video1");
        let told = describe(&tree.0, &camera(), "/dev/video0", &[32]);
        assert_eq!(told, "in use by cheese (pid 30), zoom (pid 31), obs (pid 33) and 2 more");
        let unknown = describe(&tree.0, &camera(), "/dev/video7", &[]);
        assert!(unknown.contains("`sudo fuser -v /dev/video7`"), "{unknown}");
    }

    #[test]
    fn names_that_lead_out_of_the_tree_or_to_no_card_find_nobody() {
        for name in ["hw:CARD=../../1", "hw:", "default", "hw:CARD=Mic,DEV=x", "", "pulse"] {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(parse("sysdefault:CARD=PCH"), Some(Busy::Pcm { card: "PCH".into(), device: 0 }));
    }

    #[test]
    fn a_real_process_is_found_by_the_file_that_it_holds() {
        let tree = Tree::new("real");
        tree.write("node", "");
        let node = tree.0.join("node");
        let held = fs::File::open(&node).unwrap();
        let mut process = Command::new("sleep").arg("60").stdin(Stdio::from(held)).spawn().unwrap();
        let told = describe(Path::new("/proc"), &camera(), node.to_str().unwrap(), &[]);
        let expected = format!("in use by sleep (pid {})", process.id());
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(told, expected);
        let gone = describe(Path::new("/proc"), &camera(), node.to_str().unwrap(), &[]);
        assert!(gone.contains("cannot see"), "{gone}");
    }
}
