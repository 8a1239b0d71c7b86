//! User code that tries what a job must not be able to do: it fails with what works, and stays if nothing does.

use firmware_worker::{BoxError, JobContext};
use rustix::process::{Pid, Resource, Rlimit, getuid, setrlimit, test_kill_process};
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Bytes that do not fit the `/tmp` of a job.
const TOO_MANY: usize = 17 << 20;

pub async fn run(context: &JobContext) -> Result<(), BoxError> {
    let words: Vec<&str> = context.job().metadata.split(' ').collect();
    let (victim, file) = (words[1], words[2]);
    let pid = Pid::from_raw(victim.parse()?).ok_or("the test gives a pid")?;
    fs::write("/tmp/mine", "mine")?;
    let no_limit = Rlimit { current: None, maximum: None };
    let tried = [
        ("opens the first disk", File::open("/dev/vda").is_ok()),
        ("opens the kernel's log", File::open("/dev/kmsg").is_ok()),
        ("reads another's file", File::open(file).is_ok()),
        ("writes to the system", File::create("/usr/fw-trespass").is_ok()),
        ("looks for cgroups", fs::read_dir("/sys/fs/cgroup").is_ok()),
        ("opens another's memory", File::open(format!("/proc/{victim}/mem")).is_ok()),
        ("lists another's descriptors", fs::read_dir(format!("/proc/{victim}/fd")).is_ok()),
        // As the same user it may, on kernels that have no Landlock for it.
        ("signals another", getuid().as_raw() >= 70_000 && test_kill_process(pid).is_ok()),
        ("gives a file away", chown("/tmp/mine", Some(0), None).is_ok()),
        ("fills its /tmp", fs::write("/tmp/much", vec![1; TOO_MANY]).is_ok()),
        ("raises a limit", setrlimit(Resource::Core, no_limit).is_ok()),
        ("starts a program", Command::new("/bin/true").status().is_ok()),
    ];
    fs::remove_file("/tmp/much")?;
    let worked: Vec<_> = tried.into_iter().filter(|(_, works)| *works).map(|(what, _)| what).collect();
    if !worked.is_empty() {
        return Err(worked.join(", ").into());
    }
    // Returns only if it fails.
    let error = Command::new("/bin/true").exec();
    if error.kind() == std::io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error.into()) }
}
