//! User code that takes what it can get.

use firmware_worker::{BoxError, JobContext};
use rustix::process::{Signal, getpid, kill_process};
use std::hint::spin_loop;
use std::process::Command;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Threads that are asked for after the first refusal: a bomb does not give up at once.
const TRIES: usize = 1000;

/// Memory, 4 MiB at a time with a moment for others between: a leak rather than one large mistake.
pub async fn eat() -> Result<(), BoxError> {
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 4 << 20]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Threads, which a limit of processes counts as such, until it is refused for long; then it fails, as user code does that
/// minds its errors.
pub async fn fork() -> Result<(), BoxError> {
    let mut refused = 0;
    loop {
        match thread::Builder::new().stack_size(16 << 10).spawn(|| thread::sleep(Duration::MAX)) {
            Ok(_) => {}
            Err(_) if refused < TRIES => refused += 1,
            Err(error) => return Err(format!("start a thread: {error}").into()),
        }
    }
}

/// A processor, and the thread that user code runs on.
pub fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Prints as whoever looks for a mistake, and writes to standard error as a C library that gives up, with a token among it.
pub fn complain() -> ! {
    println!("the lens cap is on");
    for number in 0..200 {
        eprintln!("\u{1b}[31mframe {number} is fogged by {} µm", "9".repeat(20));
    }
    eprintln!("GET /rtc?access_token=eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl");
    eprint!("the shutter is stuck");
    std::process::abort()
}

/// Writes there as fast as it can, from a thread of its own.
pub fn babble() {
    thread::spawn(|| {
        loop {
            eprintln!("so much light");
        }
    });
}

/// Starts a program as daemons do: in a session of its own, by a parent that is gone, so that nobody waits for it.
pub fn daemon() -> Result<(), BoxError> {
    let started = Command::new("/bin/sh").args(["-c", "(setsid sleep 600 &)"]).status()?;
    if started.success() { Ok(()) } else { Err(format!("a daemon: {started}").into()) }
}

/// Ignores SIGTERM; asked to end, it stops the whole process, room driver and all.
pub fn defy(context: &JobContext) -> Result<(), BoxError> {
    let mut ignored = signal(SignalKind::terminate())?;
    tokio::spawn(async move { while ignored.recv().await.is_some() {} });
    context.add_shutdown_hook(|_| async {
        // A test in which it goes on fails.
        let _ = kill_process(getpid(), Signal::STOP);
    });
    println!("it ends when it likes");
    Ok(())
}
