//! A child that puts itself in its own place, and successors that fail.

use super::*;
use std::time::Instant;

/// What the second program has to be up.
const LIMIT: Duration = Duration::from_secs(1);

/// The table is what the successor is to do, and the number of the control socket.
pub(super) fn role(control: Socket) -> ! {
    let order = String::from_utf8(receive(&control).0).unwrap();
    let (what, program) = order.split_once(' ').unwrap();
    let table = sealed_memfd("table", format!("{what} {}", control.as_raw_fd()).as_bytes()).unwrap();
    let program = if program == "self" { Path::new("/proc/self/exe") } else { Path::new(program) };
    let current = Executable::current().unwrap();
    let error = current.replace_by(program, table.as_fd(), &[control.as_raw_fd()], LIMIT);
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(control.as_raw_fd(), libc::F_GETFD) };
    control.send(format!("not replaced: {:?}, {flags}", error.kind()).as_bytes(), &[]).unwrap();
    exit_now(7);
}

pub(super) fn successor(mut inheritance: Inheritance) -> ! {
    let table = String::from_utf8(read_sealed(inheritance.table().unwrap(), 100).unwrap()).unwrap();
    let (what, number) = table.split_once(' ').unwrap();
    let control = Socket::from_fd(inheritance.copy(number.parse().unwrap()).unwrap()).unwrap();
    let why = inheritance.why().map(str::to_owned);
    match (what, &why) {
        ("hang", None) => loop {
            std::thread::park();
        },
        ("abort", None) => std::process::abort(),
        ("refuse", None) => inheritance.go_back("no \0 such\n table"),
        ("drop", None) => drop(inheritance),
        ("fault", None) => {
            // SAFETY: none; that is the point of it.
            unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) };
        }
        _ => inheritance.settle(),
    }
    // SAFETY: takes numbers only.
    let original = unsafe { libc::fcntl(number.parse().unwrap(), libc::F_GETFD) };
    let text = format!("{} {why:?}, original {original}, {}", std::process::id(), pending());
    control.send(text.as_bytes(), &[]).unwrap();
    // Past the time that a successor has.
    if what == "well" {
        std::thread::sleep(LIMIT * 3 / 2);
    }
    control.send(b"still here", &[]).unwrap();
    exit_now(7);
}

fn pending() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let sets = status.lines().filter(|line| line.starts_with("SigBlk") || line.starts_with("ShdPnd"));
    sets.map(|line| line.split('\t').nth(1).unwrap().trim_start_matches('0')).collect::<Vec<_>>().join(",")
}

/// What a child says that is told this, and when; its pid.
fn handed_over(order: &str) -> (String, i32, Duration) {
    let (child, control) = spawn("handover", None);
    control.send(order.as_bytes(), &[]).unwrap();
    let asked = Instant::now();
    let said = String::from_utf8(receive(&control).0).unwrap();
    let took = asked.elapsed();
    if !said.starts_with("not replaced") {
        assert_eq!(receive(&control).0, b"still here");
    }
    assert_eq!(end(&child), Ended::Code(7));
    (said, child.pid, took)
}

#[test]
fn a_program_in_anothers_place_has_its_number_and_descriptors_and_no_timer_left() {
    let (said, pid, _) = handed_over("well self");
    assert_eq!(said, format!("{pid} None, original -1, ,"));
}

#[test]
fn a_program_that_does_not_come_up_is_replaced_by_the_old_one_which_is_told_why() {
    for (fault, why) in [
        ("abort", "it was aborted (SIGABRT)"),
        ("fault", "it crashed (SIGSEGV)"),
        ("refuse", "no  such table"),
        ("drop", "it ended before it was up"),
    ] {
        let (said, pid, took) = handed_over(&format!("{fault} self"));
        assert_eq!(said, format!("{pid} Some({why:?}), original -1, ,"), "{fault}");
        assert!(took < LIMIT, "{fault} took {took:?}");
    }
    let (said, pid, took) = handed_over("hang self");
    assert_eq!(said, format!("{pid} Some(\"it was not up in time\"), original -1, ,"));
    assert!(took >= LIMIT && took < LIMIT * 5, "{took:?}");
}

#[test]
fn a_program_that_cannot_be_started_changes_nothing() {
    let (said, ..) = handed_over("well /dev/null");
    assert_eq!(said, format!("not replaced: PermissionDenied, {}", libc::FD_CLOEXEC));
}

#[test]
fn only_what_was_inherited_can_be_taken() {
    let file = std::fs::File::open("/dev/null").unwrap();
    for number in [0, 2, -1, 100_000, file.as_raw_fd()] {
        assert!(super::super::handover::inherited(number).is_err(), "{number}");
    }
}
