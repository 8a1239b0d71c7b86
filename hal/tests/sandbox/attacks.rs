//! The attacks, and what must go on working.

use super::board::{self, GRANTED, GRANTED_BELOW, SECRETS, VICTIM};
use super::{Role, landlock, start, urgency};
use hal::process::{Socket, await_readable};
use std::fs::{self, File, Permissions};
use std::io::{self, Error, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null;
use std::time::Duration;

/// What a child tries.
pub struct Attack {
    pub name: &'static str,
    /// Who tries it.
    pub role: Role,
    /// What it gets.
    pub error: i32,
    /// The refused call that the supervisor reads of.
    pub counted: Option<&'static str>,
    act: fn() -> io::Result<()>,
}

const fn attack(name: &'static str, role: Role, error: i32, act: fn() -> io::Result<()>) -> Attack {
    Attack { name, role, error, counted: None, act }
}

const fn refused(name: &'static str, role: Role, call: &'static str, act: fn() -> io::Result<()>) -> Attack {
    Attack { name, role, error: libc::EPERM, counted: Some(call), act }
}

use Role::{Job, Older, Sockets, Sound};

pub const ATTACKS: &[Attack] = &[
    attack("a job opens a camera", Job, libc::ENOENT, || open("/dev/video0")),
    attack("a job opens a sound card", Job, libc::ENOENT, || open("/dev/snd/controlC0")),
    attack("the owner of a card opens a camera", Sound, libc::ENOENT, || open("/dev/video0")),
    attack("a job signals another", Job, libc::EPERM, || call(signal)),
    refused("a job traces another", Job, "ptrace", || call(trace)),
    refused("a job reads another's memory", Job, "process_vm_readv", || call(read_memory)),
    attack("a job opens another's memory", Job, libc::ENOENT, || open(&format!("/proc/{}/mem", victim()))),
    attack("a job lists another's descriptors", Job, libc::ENOENT, || open(&format!("/proc/{}/fd", victim()))),
    attack("a job reads another's files", Job, libc::ENOENT, || open("/tmp/fw-other")),
    attack("a job reads the token file", Job, libc::ENOENT, || open(&format!("{SECRETS}/token"))),
    attack("a job reads what nobody gave it", Job, libc::ENOENT, || open("/run/private")),
    attack("a job reads who has an account", Job, libc::EACCES, || open("/etc/passwd")),
    attack("a job lists another service's configuration", Job, libc::EACCES, || fs::read_dir("/etc/ssh").map(drop)),
    attack("a job changes what it was given", Job, libc::EROFS, || write(&format!("{GRANTED}/mine"))),
    attack("a job changes what lies in it", Job, libc::EROFS, || write(&format!("{GRANTED_BELOW}/mine"))),
    attack("a job changes what lies in it, on Linux 5.11", Older, libc::EROFS, || {
        write(&format!("{GRANTED_BELOW}/mine"))
    }),
    attack("a job changes the system, on Linux 5.11", Older, libc::EROFS, || write("/etc/mine")),
    attack("a job changes the system", Job, libc::EROFS, || write("/etc/mine")),
    attack("a job looks for a cgroup", Job, libc::ENOENT, || open("/sys/fs/cgroup")),
    attack("the owner of a card looks for a cgroup", Sound, libc::ENOENT, || open("/sys/fs/cgroup")),
    attack("a job fills /tmp", Job, libc::ENOSPC, fill),
    attack("a job raises a limit", Job, libc::EPERM, raise),
    attack("a job's thread comes before all others", Job, libc::EPERM, || call(realtime)),
    attack("an owner's thread comes before all others", Sockets, libc::EPERM, || call(realtime)),
    attack("a job locks memory", Job, libc::ENOMEM, lock),
    refused("a job makes a camera", Job, "mknodat", || call(make_node)),
    refused("a job mounts", Job, "mount", || call(mount)),
    refused("a job takes namespaces", Job, "unshare", || call(unshare)),
    refused("a job becomes root", Job, "setuid", || call(become_root)),
    refused("a job opens a socket of packets", Job, "socket", || socket(libc::AF_PACKET, libc::SOCK_RAW)),
    refused("an owner opens a socket of the internet", Sound, "socket", || socket(libc::AF_INET, libc::SOCK_STREAM)),
    attack("an owner that may open one connects out", Sockets, libc::ENETUNREACH, connect),
    attack("a job starts a program", Job, libc::EPERM, || Command::new("/bin/true").status().map(drop)),
    attack("a job forks", Job, libc::EPERM, || call(fork)),
    refused("a job becomes a program", Job, "execve", || call(execute)),
    attack("a job makes a thread in the new way", Job, libc::ENOSYS, || call(clone3)),
];

/// What must go on working, and what is seen.
pub const TESTS: &[(&str, fn())] = &[
    ("a job has what programs need", a_job_has_what_programs_need),
    ("a child sees no process but itself, and has no rights", a_child_sees_no_process_but_itself_and_has_no_rights),
    ("names resolve by the newest file though it is replaced", names_resolve_by_the_newest_file_though_it_is_replaced),
    ("a card that comes later is seen", a_card_that_comes_later_is_seen),
    (
        "landlock alone keeps a child from what everybody of its user may",
        landlock::landlock_alone_keeps_a_child_from_what_everybody_of_its_user_may,
    ),
    (
        "a thread that is refused real time gets a better nice value if it may, and says why",
        urgency::a_thread_that_is_refused_real_time_gets_a_better_nice_value_if_it_may_and_says_why,
    ),
    (
        "a confined thread that runs for too long in real time is an ordinary one again",
        urgency::a_confined_thread_that_runs_for_too_long_in_real_time_is_an_ordinary_one_again,
    ),
];

/// In the child.
pub fn run(name: &str, control: &Socket) {
    match name {
        "sleep" => {
            say(control, "ready");
            wait(control);
        }
        "need" => say(control, &needs().map_or_else(|e| e, |()| "all".into())),
        "look" => say(control, &look()),
        "landlock" => say(control, &landlock::tried()),
        "urgency" => say(control, &urgency::taken()),
        "spin" => say(control, &urgency::spun()),
        "names" | "card" => {
            let paths = if name == "names" { ["/etc/resolv.conf"; 3] } else { CARDS };
            for path in paths {
                let read =
                    if name == "names" { fs::read_to_string(path) } else { File::open(path).map(|_| "open".into()) };
                say(control, &read.unwrap_or_else(|e| format!("{path}: {e}")));
                wait(control);
            }
        }
        _ => {
            let attack = ATTACKS.iter().find(|attack| attack.name == name).expect("an attack of this name");
            let error = (attack.act)().err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
            say(control, &error.to_string());
            // Its counts are read while it lives.
            wait(control);
        }
    }
}

const CARDS: [&str; 3] = ["/dev/snd/controlC0", "/dev/snd/controlC1", "/dev/snd/controlC0"];

fn say(control: &Socket, text: &str) {
    control.send(text.as_bytes(), &[]).expect("room for a few messages");
}

fn wait(control: &Socket) {
    await_readable(control.as_fd(), Duration::from_secs(60)).expect("a socket");
    let _ = control.receive(&mut [0; 16]);
}

fn a_job_has_what_programs_need() {
    let job = start("need", Job, 3);
    assert_eq!(job.told(), Ok("all".into()));
}

fn needs() -> Result<(), String> {
    let tell = |what: &'static str| move |error: Error| format!("{what}: {error}");
    for path in [
        "/dev/null",
        "/dev/urandom",
        "/etc/hosts",
        "/etc/ssl",
        "/etc/granted/file",
        "/proc/self/status",
        "/bin/sh",
        VICTIM,
    ] {
        File::open(path).map_err(tell(path))?;
    }
    fs::write("/tmp/mine", "mine").map_err(tell("/tmp"))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(tell("bind"))?;
    TcpStream::connect(listener.local_addr().map_err(tell("address"))?).map_err(tell("connect"))?;
    std::thread::Builder::new().spawn(|| ()).map_err(tell("thread"))?.join().map_err(|_| "join".to_owned())
}

fn a_child_sees_no_process_but_itself_and_has_no_rights() {
    for (role, nth, groups) in [(Job, 4, String::new()), (Sound, 5, format!("{} ", board::AUDIO))] {
        let told = start("look", role, nth).told().expect("what it sees");
        let uid = 70_800 + nth;
        let expected = format!("1 processes {uid} {uid} {uid} {uid} groups {groups}caps 0 0 0 0 0 dumpable 0");
        assert_eq!(told, expected, "{role:?}");
    }
}

fn look() -> String {
    let number = |name: std::ffi::OsString| name.to_str().and_then(|name| name.parse::<u32>().ok());
    let processes = fs::read_dir("/proc").expect("a /proc").flatten().filter_map(|e| number(e.file_name())).count();
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        line.trim().replace('\t', " ")
    };
    let groups = field("Groups") + if field("Groups").is_empty() { "" } else { " " };
    // SAFETY: takes numbers only.
    let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
    let caps = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(set).trim_start_matches('0').len());
    let caps = caps.map(|digits| digits.to_string()).join(" ");
    format!("{processes} processes {} groups {groups}caps {caps} dumpable {dumpable}", field("Uid"))
}

fn names_resolve_by_the_newest_file_though_it_is_replaced() {
    let job = start("names", Job, 6);
    assert_eq!(job.told(), Ok("nameserver 192.0.2.1".into()));
    replace("/run/systemd/resolve/stub-resolv.conf", "nameserver 192.0.2.2");
    job.go_on();
    assert_eq!(job.told(), Ok("nameserver 192.0.2.2".into()));
    // From the link of systemd-resolved to a file, as a network manager does.
    replace("/etc/resolv.conf", "nameserver 192.0.2.3");
    job.go_on();
    assert_eq!(job.told(), Ok("nameserver 192.0.2.3".into()));
}

fn replace(path: &str, text: &str) {
    let new = format!("{path}.new");
    let for_all = |()| fs::set_permissions(&new, Permissions::from_mode(0o644));
    fs::write(&new, text).and_then(for_all).and_then(|()| fs::rename(&new, path)).expect("the board is ours");
}

fn a_card_that_comes_later_is_seen() {
    let owner = start("card", Sound, 7);
    assert_eq!(owner.told(), Ok("open".into()));
    fs::remove_file(CARDS[0]).expect("the board is ours");
    board::node("snd/controlC1", 1, 5, 0o660, board::AUDIO);
    owner.go_on();
    assert_eq!(owner.told(), Ok("open".into()));
    owner.go_on();
    assert_eq!(owner.told(), Ok(format!("{}: No such file or directory (os error 2)", CARDS[0])));
    board::node("snd/controlC0", 1, 5, 0o660, board::AUDIO);
}

pub fn open(path: &str) -> io::Result<()> {
    File::open(path).map(drop)
}

pub fn write(path: &str) -> io::Result<()> {
    File::create(path)?;
    fs::remove_file(path)
}

fn fill() -> io::Result<()> {
    let path = Path::new("/tmp/fw-fill");
    let written = (|| File::create(path)?.write_all(&[1; 2 << 20]))();
    fs::remove_file(path)?;
    written
}

fn victim() -> i32 {
    fs::read_to_string(VICTIM).ok().and_then(|pid| pid.parse().ok()).expect("another child")
}

/// -1 is a failure.
pub fn call(attempt: fn() -> libc::c_long) -> io::Result<()> {
    if attempt() == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

pub fn signal() -> libc::c_long {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(victim(), 0) }.into()
}

fn trace() -> libc::c_long {
    // SAFETY: takes numbers only; the end of this process lets it go.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, victim(), 0, 0) }
}

fn read_memory() -> libc::c_long {
    let maps = fs::read_to_string(format!("/proc/{}/maps", victim())).unwrap_or_default();
    let first = maps.split('-').next().and_then(|address| usize::from_str_radix(address, 16).ok());
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: first.unwrap_or(4096) as *mut _, iov_len: 1 };
    // SAFETY: one place of ours for one byte of the other process.
    unsafe { libc::process_vm_readv(victim(), &local, 1, &remote, 1, 0) as libc::c_long }
}

fn raise() -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid structure.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn realtime() -> libc::c_long {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: a valid structure.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) }.into()
}

fn lock() -> io::Result<()> {
    let memory = vec![1u8; 1 << 20];
    // SAFETY: a place of ours and its length; the end of this process lets it go.
    if unsafe { libc::mlock(memory.as_ptr().cast(), memory.len()) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn make_node() -> libc::c_long {
    let path = c"/tmp/fw-node".as_ptr();
    // SAFETY: a string that ends in NUL.
    unsafe {
        let made = libc::mknod(path, libc::S_IFCHR | 0o666, libc::makedev(1, 5));
        if made == 0 {
            libc::unlink(path);
        }
        made.into()
    }
}

fn mount() -> libc::c_long {
    let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
    // SAFETY: strings that end in NUL; null where the kernel takes that.
    unsafe { libc::mount(none, root, null(), libc::MS_REC | libc::MS_PRIVATE, null()) }.into()
}

fn unshare() -> libc::c_long {
    // SAFETY: takes numbers only; this process has one thread.
    unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()
}

fn become_root() -> libc::c_long {
    // SAFETY: takes numbers only.
    unsafe { libc::setuid(0) }.into()
}

fn socket(family: i32, kind: i32) -> io::Result<()> {
    // SAFETY: takes numbers only; the end of this process closes it.
    if unsafe { libc::socket(family, kind, 0) } == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Needs nobody to listen: a datagram socket is connected when there is a way.
fn connect() -> io::Result<()> {
    std::net::UdpSocket::bind("0.0.0.0:0")?.connect("127.0.0.1:9")
}

fn fork() -> libc::c_long {
    // SAFETY: the child ends at once.
    match unsafe { libc::fork() } {
        0 => hal::process::exit_now(0),
        other => other.into(),
    }
}

fn execute() -> libc::c_long {
    let (path, arguments) = (c"/bin/true".as_ptr(), [c"true".as_ptr(), null()]);
    // SAFETY: strings that end in NUL and a list that ends in null. Where no process can be had, this one is tried.
    unsafe {
        match libc::fork() {
            0 | -1 => libc::execv(path, arguments.as_ptr()).into(),
            other => other.into(),
        }
    }
}

fn clone3() -> libc::c_long {
    /// `struct clone_args`, of which `exit_signal` is the fifth field.
    const ARGUMENTS: [u64; 8] = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    // SAFETY: the child ends at once.
    match unsafe { libc::syscall(libc::SYS_clone3, ARGUMENTS.as_ptr(), size_of_val(&ARGUMENTS)) } {
        0 => hal::process::exit_now(0),
        other => other,
    }
}
