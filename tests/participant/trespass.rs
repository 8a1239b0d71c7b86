//! User code that tries what a job must not be able to do: it fails with what works, and stays if nothing does.

use firmware_worker::{BoxError, JobContext};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getuid, setpgid, setrlimit, test_kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Bytes that do not fit the `/tmp` of a job.
const TOO_MANY: usize = 17 << 20;

pub async fn run(context: &JobContext) -> Result<(), BoxError> {
    let words: Vec<&str> = context.job().metadata.split(' ').collect();
    let (victim, file, http, operators) = (words[1], words[2], words[3], words[4]);
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
        ("reads who else has a job", getuid().as_raw() >= 70_000 && asks(http, "GET /jobs")),
        ("ends another's job", asks(http, "POST /jobs/stop?id=AJ_1") || asks(http, "DELETE /jobs/AJ_1")),
        ("reaches the operators' socket", reaches(operators)),
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

/// Uses what the configuration gives: a directory to read, and a system call that is refused otherwise.
pub fn granted(context: &JobContext) -> Result<(), BoxError> {
    let path = context.job().metadata.split(' ').nth(1).ok_or("the test gives a file")?;
    let text = fs::read_to_string(path).map_err(|error| format!("read: {error}"))?;
    setpgid(None, None).map_err(|error| format!("setpgid: {error}"))?;
    context.shutdown(&text);
    Ok(())
}

/// Whether nothing but its type keeps a stream from this socket of packets: the kernel looks at that last.
fn reaches(socket: &str) -> bool {
    let wrong_type = |error: std::io::Error| error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error());
    UnixStream::connect(socket).map_or_else(wrong_type, |_| true)
}

/// Whether the worker does over HTTP what it is asked to.
fn asks(address: &str, what: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(format!("{what} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    // A refusal may come as the end of the connection.
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 2"))
}
