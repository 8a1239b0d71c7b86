use super::*;
use std::future::poll_fn;
use std::io::Write;
use std::process::Command;

async fn listen(ear: &mut Ear) {
    poll_fn(|cx| {
        ear.listen("job", cx);
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn the_last_four_kib_are_told_and_a_line_without_an_end_counts() {
    let (mut ear, mut child) = pipe().unwrap();
    for number in 0..600 {
        writeln!(child, "line {number} {}", "ü".repeat(20)).unwrap();
    }
    write!(child, "assertion failed").unwrap();
    let words = ear.last_words("job");
    assert!(words.ends_with("ü | assertion failed") && words.contains("line 599"), "{words}");
    assert!((TOLD - 1..=TOLD).contains(&words.len()), "{}", words.len());
}

#[tokio::test]
async fn lines_of_a_log_are_no_last_words_but_its_errors_are() {
    let (mut ear, mut child) = pipe().unwrap();
    child.write_all(b"<6>joined\n<4>signalling lost\n<3>job process: no room\nabort() called\n<no> level\n").unwrap();
    assert_eq!(ear.last_words("job"), "job process: no room | abort() called | <no> level");
}

#[tokio::test]
async fn a_child_that_floods_is_read_a_window_at_a_time_and_never_blocks_for_good() {
    let (mut ear, mut child) = pipe().unwrap();
    let flood = std::thread::spawn(move || (0..1000).for_each(|_| child.write_all(&[b'y'; 1000]).unwrap()));
    let (start, mut windows) = (Instant::now(), 0);
    while !flood.is_finished() {
        listen(&mut ear).await;
        if let Some(at) = ear.deadline() {
            windows += 1;
            listen(&mut ear).await;
            assert_eq!(ear.deadline(), Some(at), "not before its time");
            tokio::time::sleep_until(at.into()).await;
            ear.time(at);
        }
        tokio::task::yield_now().await;
    }
    // 1 MB: the last window and what the pipe holds are not waited for.
    assert!(windows >= 10 && start.elapsed() >= PAUSE * 9, "{windows} windows in {:?}", start.elapsed());
    assert_eq!(ear.last_words("job").len(), TOLD);
}

/// A pipe in packet mode gives a byte a read, and its writer has filled the place by then.
#[tokio::test]
async fn a_child_that_floods_in_packets_of_a_byte_is_left_after_a_number_of_them() {
    const FLOOD: &str = "use Fcntl; fcntl(STDERR, F_SETFL, O_WRONLY | O_NONBLOCK | O_DIRECT) or die; \
                         $end = time() + 3; syswrite(STDERR, 'y') while time() < $end;";
    let (mut ear, child) = pipe().unwrap();
    let mut flood = Command::new("perl").args(["-e", FLOOD]).stderr(child).spawn().unwrap();
    while ear.deadline().is_none() {
        assert!(flood.try_wait().unwrap().is_none(), "it was read for as long as it wrote");
        listen(&mut ear).await;
        tokio::task::yield_now().await;
    }
    assert!(ear.taken <= READS, "{} bytes", ear.taken);
    flood.wait().unwrap();
}

#[test]
fn a_flood_of_lines_is_told_at_a_steady_rate() {
    let now = Instant::now();
    let mut allowance = Allowance { rate: (3, 2), left: 3, since: now, over: 0 };
    let told = |allowance: &mut Allowance, at: Instant| {
        allowance.refill(at);
        (0..10).filter(|_| allowance.take("job")).count()
    };
    assert_eq!((told(&mut allowance, now), allowance.over), (3, 7));
    assert_eq!(told(&mut allowance, now + Duration::from_millis(499)), 0);
    assert_eq!((told(&mut allowance, now + Duration::from_secs(1)), allowance.over), (2, 8));
    assert_eq!(told(&mut allowance, now + Duration::from_secs(60)), 3);
}

#[tokio::test]
async fn a_child_writes_without_a_reader_too() {
    let (ear, mut child) = pipe().unwrap();
    drop(ear);
    child.write_all(b"the supervisor is gone").unwrap();
}

#[test]
fn what_looks_like_a_token_is_masked_and_control_characters_are_gone() {
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl";
    assert_eq!(masked(&format!("url?access_token={token}&x eyJ \u{1b}[1m")), "url?access_token=***&x eyJ  [1m");
}
