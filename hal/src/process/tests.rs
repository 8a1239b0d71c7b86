use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

mod foreign;
mod handover;

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid structure, and its count.
    assert_eq!(unsafe { libc::poll(&mut poll, 1, 20_000) }, 1, "nothing came in 20 s");
}

fn receive(socket: &Socket) -> (Vec<u8>, Vec<OwnedFd>) {
    wait_readable(socket.as_fd());
    let mut buffer = [0; 4096];
    let (length, fds) = socket.receive(&mut buffer).unwrap();
    (buffer[..length].to_vec(), fds)
}

fn end(child: &Child) -> Ended {
    wait_readable(child.pidfd());
    child.try_wait().unwrap().expect("the pidfd says that it has ended")
}

/// Runs [`role`] as a child of this test binary.
fn spawn(role: &str, cgroup: Option<&OwnedFd>) -> (Child, Socket) {
    spawn_complaining(role, None, cgroup)
}

fn spawn_complaining(role: &str, stderr: Option<OwnedFd>, cgroup: Option<&OwnedFd>) -> (Child, Socket) {
    let (ours, theirs) = Socket::pair().unwrap();
    let child = Executable::current()
        .unwrap()
        .spawn(
            "a-name",
            &["--exact", "process::tests::role", "--nocapture"],
            &[("HAL_ROLE", role)],
            theirs,
            stderr.as_ref().map(|fd| fd.as_fd()),
            cgroup.map(|fd| fd.as_fd()),
        )
        .unwrap();
    (child, ours)
}

/// What a child does; nothing in the test run itself.
#[test]
fn role() {
    let Ok(role) = std::env::var("HAL_ROLE") else { return };
    if let Some(inheritance) = Inheritance::take() {
        handover::successor(inheritance.unwrap());
    }
    let control = inherited_control().unwrap();
    match role.as_str() {
        "report" => report(&control),
        "echo" => {
            let (bytes, fds) = receive(&control);
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            control.send(&bytes, &fds).unwrap();
        }
        "sleep" => {
            receive(&control);
        }
        "complain" => {
            print!("no light, ");
            std::io::stdout().flush().unwrap();
            eprint!("no lens");
        }
        "handover" => handover::role(control),
        other => panic!("no role {other}"),
    }
    exit_now(7);
}

/// In a user namespace of its own, which has a limit of its own.
#[test]
fn a_program_starts_in_no_pid_namespace_where_there_can_be_no_more_of_them() {
    const INSIDE: &str = "HAL_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let script = "echo 0 > /proc/sys/user/max_pid_namespaces && exec \"$@\"";
        let name = "process::tests::a_program_starts_in_no_pid_namespace_where_there_can_be_no_more_of_them";
        let mut again = std::process::Command::new("unshare");
        again.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (ours, theirs) = Socket::pair().unwrap();
    let arguments = ["--exact", "process::tests::role", "--nocapture"];
    let environment = [("HAL_ROLE", "sleep")];
    let child = Executable::current().unwrap().spawn_apart("a-name", &arguments, &environment, theirs, None).unwrap();
    ours.send(b"enough", &[]).unwrap();
    assert_eq!(end(&child), Ended::Code(7));
}

#[test]
fn last_words_of_a_peer_that_left_something_unread_come_before_the_end() {
    let (ours, theirs) = Socket::pair().unwrap();
    ours.send(b"unread", &[]).unwrap();
    theirs.send(b"last words", &[]).unwrap();
    drop(theirs);
    assert_eq!(receive(&ours).0, b"last words");
    assert_eq!(receive(&ours).0, b"");
}

fn report(control: &Socket) {
    let fds: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.exists() || std::fs::read_link(path).is_ok())
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse::<i32>().unwrap())
        .filter(|fd| *fd != 0 && *fd != 1 && *fd != 2)
        .collect();
    // Of this thread: libc blocks signals in the main one while it starts a thread.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let signals: Vec<_> = status.lines().filter(|l| l.starts_with("SigBlk") || l.starts_with("SigIgn")).collect();
    let environment: Vec<_> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
    // SAFETY: takes no arguments that matter.
    let group = unsafe { libc::getpgid(0) };
    let text = format!(
        "fds {fds:?}\nstdin {:?}\nargv0 {}\nenvironment {environment:?}\nown group {}\n{}\ncgroup {}",
        std::fs::read_link("/proc/self/fd/0").unwrap(),
        std::env::args().next().unwrap(),
        group == std::process::id() as i32,
        signals.join("\n"),
        std::fs::read_to_string("/proc/self/cgroup")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("0::"))
            .collect::<String>(),
    );
    control.send(text.as_bytes(), &[]).unwrap();
}

#[test]
fn packets_keep_their_borders_and_bring_descriptors() {
    let (a, b) = Socket::pair().unwrap();
    let file = sealed_memfd("x", b"content").unwrap();
    a.send(b"one", &[]).unwrap();
    a.send(b"two", &[file.as_fd(), file.as_fd()]).unwrap();
    assert_eq!(receive(&b).0, b"one");
    let (bytes, fds) = receive(&b);
    assert_eq!(bytes, b"two");
    assert_eq!(fds.len(), 2);
    for fd in fds {
        // SAFETY: takes numbers only.
        assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
        assert_eq!(read_sealed(fd, 100).unwrap(), b"content");
    }
}

#[test]
fn a_packet_longer_than_the_buffer_is_an_error_and_closes_what_came_with_it() {
    let (a, b) = Socket::pair().unwrap();
    let (mut reading, writing) = std::io::pipe().unwrap();
    a.send(b"too long", &[writing.as_fd()]).unwrap();
    drop(writing);
    assert_eq!(b.receive(&mut [0; 3]).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(reading.read(&mut [0]).unwrap(), 0, "the pipe has no writer left");
}

#[test]
fn all_descriptors_that_come_are_received_though_we_send_a_few_at_most() {
    let (a, b) = Socket::pair().unwrap();
    let (mut reading, writing) = std::io::pipe().unwrap();
    assert_eq!(a.send(b"x", &[writing.as_fd(); MAX_FDS + 1]).unwrap_err().kind(), ErrorKind::InvalidInput);
    send_many(&a, &[writing.as_raw_fd(); 12]);
    drop(writing);
    let (_, fds) = receive(&b);
    assert_eq!(fds.len(), 12);
    drop(fds);
    assert_eq!(reading.read(&mut [0]).unwrap(), 0, "the pipe has no writer left");
}

/// What a hostile peer can do and our own `send` does not.
fn send_many(socket: &Socket, fds: &[i32; 12]) {
    #[repr(C, align(8))]
    struct Buffer([u8; 128]);
    let mut byte = 0u8;
    let mut buffer = Buffer([0; 128]);
    let mut io = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: the buffer has room for a header and 12 descriptors, and everything outlives the call.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut io;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut buffer).cast();
        message.msg_controllen = libc::CMSG_SPACE(48) as _;
        let cmsg = libc::CMSG_FIRSTHDR(&message);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(48) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(cmsg), 48);
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &message, 0), 1);
    }
}

#[test]
fn a_peer_that_does_not_read_or_has_gone_is_an_error_at_once() {
    let (a, b) = Socket::pair().unwrap();
    assert_eq!(b.receive(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // A peer that shares our open file can make it blocking; we still must not wait.
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(a.as_raw_fd(), libc::F_SETFL, 0) };
    let full = (0..100_000).find_map(|_| a.send(&[0; 1024], &[]).err()).unwrap();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let (a, b) = Socket::pair().unwrap();
    drop(b);
    assert_eq!(a.send(b"x", &[]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn the_end_of_the_stream_is_length_zero_and_empty_packets_cannot_be_sent() {
    let (a, b) = Socket::pair().unwrap();
    assert_eq!(a.send(b"", &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(a);
    assert_eq!(b.receive(&mut [0; 8]).unwrap().0, 0);
}

#[test]
fn only_a_seqpacket_socket_is_taken_over() {
    let (reading, _writing) = std::io::pipe().unwrap();
    assert!(Socket::from_fd(reading.into()).is_err());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(Socket::from_fd(stream.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let (a, _b) = Socket::pair().unwrap();
    assert!(Socket::from_fd(a.into_fd()).is_ok());
}

#[test]
fn a_memfd_that_can_change_is_not_read() {
    let open = create_memfd("open").unwrap();
    assert_eq!(read_sealed(open, 100).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let large = sealed_memfd("large", &[0; 101]).unwrap();
    assert_eq!(read_sealed(large, 100).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(read_sealed(sealed_memfd("empty", b"").unwrap(), 0).unwrap(), b"");
}

#[test]
fn a_child_starts_clean() {
    // Something that would be inherited: no close-on-exec, and high up.
    // SAFETY: takes numbers only; the copy is left open on purpose.
    unsafe { libc::fcntl(1, libc::F_DUPFD, 300) };
    let (child, control) = spawn("report", None);
    let text = String::from_utf8(receive(&control).0).unwrap();
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    // 3 is the control socket, 4 the directory that lists them.
    has("fds [3, 4]");
    has("stdin \"/dev/null\"");
    has("argv0 a-name");
    has("environment [\"HAL_ROLE=report\"]");
    has("own group true");
    has("SigBlk:\t0000000000000000");
    // SIGUSR2, and SIGPIPE, which Rust's runtime ignores in the child itself.
    has("SigIgn:\t0000000000001800");
    assert_eq!(end(&child), Ended::Code(7));
}

#[test]
fn a_child_passes_descriptors_back() {
    let (child, control) = spawn("echo", None);
    let file = sealed_memfd("x", b"content").unwrap();
    control.send(b"hello", &[file.as_fd()]).unwrap();
    let (bytes, mut fds) = receive(&control);
    assert_eq!(bytes, b"hello");
    assert_eq!(read_sealed(fds.remove(0), 100).unwrap(), b"content");
    assert_eq!(receive(&control).0, b"", "the end of the stream tells that the child is gone");
    assert_eq!(end(&child), Ended::Code(7));
}

#[test]
fn what_a_child_prints_and_complains_of_goes_where_it_is_told_to() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (child, _control) = spawn_complaining("complain", Some(writer.into()), None);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    // The harness prints first.
    assert!(text.ends_with("no light, no lens"), "{text}");
    assert_eq!(end(&child), Ended::Code(7));
}

#[test]
fn a_killed_child_says_by_which_signal_and_is_reaped_once() {
    let (child, _control) = spawn("sleep", None);
    assert_eq!(child.try_wait().unwrap(), None);
    child.signal(libc::SIGKILL).unwrap();
    assert_eq!(end(&child), Ended::Signal(libc::SIGKILL));
    child.signal(libc::SIGKILL).expect("a signal to a child that is gone is no error");
    assert!(child.try_wait().is_err());
}

#[test]
fn a_program_that_cannot_run_is_an_error_that_names_the_step() {
    let (_ours, theirs) = Socket::pair().unwrap();
    let no_program = Executable::of(sealed_memfd("x", b"not a program").unwrap());
    let error = no_program.spawn("x", &[], &[], theirs, None, None).unwrap_err();
    assert!(error.to_string().contains("start a child: exec"), "{error}");
}

#[test]
fn a_child_is_born_in_its_cgroup() {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = roots.iter().find(|root| root.join("cgroup.controllers").exists());
    let leaf = root.map(|root| root.join(format!("hal-test-{}", std::process::id())));
    let Some(leaf) = leaf.filter(|leaf| std::fs::create_dir(leaf).is_ok()) else {
        eprintln!("skipped: no cgroup v2 that we may write to");
        return;
    };
    let (child, control) = spawn("report", Some(&open_directory(&leaf).unwrap()));
    let text = String::from_utf8(receive(&control).0).unwrap();
    end(&child);
    std::fs::remove_dir(&leaf).unwrap();
    assert!(text.contains(&format!("cgroup 0::/hal-test-{}", std::process::id())), "{text}");
}

#[test]
fn the_monotonic_clock_goes_forward() {
    let first = monotonic_ns();
    assert!(first > 0);
    assert!(monotonic_ns() >= first);
}

#[test]
fn a_process_is_killed_by_its_number_only_if_it_is_still_the_one_that_is_meant() {
    let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleeper.id() as i32;
    kill_if(pid, || false).unwrap();
    assert_eq!(sleeper.try_wait().unwrap(), None);
    kill_if(pid, || true).unwrap();
    sleeper.wait().unwrap();
    kill_if(pid, || true).unwrap();
}
