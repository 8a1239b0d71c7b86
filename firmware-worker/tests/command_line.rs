//! The built program as a person or a service manager runs it.

use protocol::secret::Secret;
use protocol::token;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECRET: &str = "secret-of-at-least-thirty-two-characters";
const KEY: [(&str, &str); 2] = [("LIVEKIT_API_KEY", "devkey"), ("LIVEKIT_API_SECRET", SECRET)];
const URL: (&str, &str) = ("LIVEKIT_URL", "ws://127.0.0.1:1");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firmware-worker"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("the built program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

/// A path in the temporary directory that no other test has.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("firmware-worker-cli-{}-{name}", std::process::id()))
}

#[test]
fn who_reads_no_further_ends_it_without_a_word() {
    // A pipe whose reader is gone already.
    let script = "exec 3> >(:); wait $!; \"$0\" devices --json >&3; echo $?";
    let output = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_firmware-worker")]).output();
    let output = output.expect("part of the base system");
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("141\n", ""), "killed by SIGPIPE");
}

#[test]
fn wrong_arguments_end_with_code_2_and_help_with_0() {
    for arguments in [&["start", "--bogus"][..], &["fly"], &[], &["connect"]] {
        assert_eq!(run(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
    let help = run(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("Exit codes:"));
}

#[test]
fn a_wrong_configuration_ends_with_code_78_and_one_line_that_names_it() {
    let file = scratch("typo.toml");
    fs::write(&file, "[worker]\nmax_jbos = 1\n").unwrap();
    let path = file.to_str().unwrap();
    for arguments in [&["start", "--config", path][..], &["check", path], &["dev", "--config", path]] {
        let output = run(arguments, &KEY);
        assert_eq!(output.status.code(), Some(78));
        let expected = format!("firmware-worker: {path}:2: unknown key `max_jbos`; did you mean `max_jobs`?\n");
        assert_eq!(stderr(&output), expected);
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn without_credentials_nothing_starts() {
    let output = run(&["start"], &[URL]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("LIVEKIT_TOKEN"), "{}", stderr(&output));
}

#[test]
fn check_says_what_the_worker_would_do_and_never_a_secret() {
    let output = run(&["check", "--agent-name", "door"], &[URL, KEY[0], KEY[1]]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for part in ["ws://127.0.0.1:1  (not encrypted)", "API key devkey", "\"door\"", "1280x720@30", "127.0.0.1:8081"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains(SECRET));
}

#[test]
fn check_reads_a_boards_file_before_it_was_in_a_board_and_after() {
    let file = scratch("board");
    let network = "[wifi]\ncountry = \"DE\"\nssid = \"attic\"\npassword = \"\"\n";
    let check = |server: &str, board: &str| {
        let text = format!("[server]\nurl = \"wss://media.example\"\n{server}\n[board]\n{board}\n{network}");
        fs::write(&file, text).unwrap();
        run(&["check", file.to_str().unwrap()], &[])
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let token = token::mint("devkey", &Secret::new(SECRET), &token::Grant::Worker, now, Duration::from_secs(86_400));
    let key = "api_key = \"devkey\"";
    let cases = [
        (check("", &format!("token = \"{}\"", token.expose())), "a token, valid for 23 hours"),
        (check("", "token = \"\""), "the token that its board keeps"),
        (check(key, &format!("api_secret = \"{SECRET}\"")), "API key devkey with its secret; makes its own tokens"),
        (check(key, "api_secret = \"\""), "API key devkey with the secret that its board keeps"),
    ];
    for (output, expected) in cases {
        assert!(stdout(&output).contains(expected), "{expected}: {}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(0));
    }
    for board in ["token = \"\"\nhostnam = \"porch\"", "hostname = \"porch\""] {
        assert_eq!(check("", board).status.code(), Some(78), "{board}");
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn certificates_that_are_none_are_a_wrong_configuration() {
    let file = scratch("ca");
    fs::write(&file, format!("[server]\nca_file = {:?}\n", "/no/such/ca.pem")).unwrap();
    for command in ["check", "start"] {
        let output = run(&[command, "--config", file.to_str().unwrap()], &[URL, KEY[0], KEY[1]]);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("server ca_file: certificates /no/such/ca.pem: "), "{}", stderr(&output));
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn check_names_a_token_that_is_expired_or_for_something_else() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mint = |grant, at| token::mint("devkey", &Secret::new(SECRET), &grant, at, Duration::from_secs(3600));
    let expired = mint(token::Grant::Worker, now - Duration::from_secs(3 * 86_400));
    let admin = mint(token::Grant::Admin { room: "demo".into() }, now);
    let check = |token: &Secret| stdout(&run(&["check"], &[URL, ("LIVEKIT_TOKEN", token.expose())]));
    assert!(check(&expired).contains("EXPIRED 2 days ago"), "{}", check(&expired));
    assert!(check(&admin).contains("NOT a worker token"), "{}", check(&admin));
    for unfit in [&expired, &admin] {
        assert!(check(unfit).lines().any(|line| line.starts_with("WARNING     token: ")), "{}", check(unfit));
    }
    assert!(!check(&mint(token::Grant::Worker, now)).contains("WARNING"));
}

#[test]
fn a_minted_token_is_a_worker_token_for_as_long_as_asked() {
    let output = run(&["token", "--ttl", "12h"], &KEY);
    let claims = token::inspect(&Secret::new(stdout(&output).trim())).expect("a token");
    assert!(claims.agent && claims.issuer == "devkey");
    let left = claims.expires - SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(left.as_secs().abs_diff(12 * 3600) < 60, "{left:?}");
}

#[test]
fn a_token_file_is_new_and_its_owners_alone_and_good_for_the_worker() {
    let file = scratch("token");
    let path = file.to_str().unwrap();
    assert_eq!(run(&["token", "--output", path], &KEY).status.code(), Some(0));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(&["token", "--output", path], &KEY);
    assert_eq!(again.status.code(), Some(1), "an existing file is left alone");
    assert!(stderr(&again).ends_with("it is there already; remove it or name another\n"), "{}", stderr(&again));
    let check = run(&["check", "--token-file", path], &[URL]);
    assert!(stdout(&check).contains("valid for 89 days") || stdout(&check).contains("valid for 90 days"));
    fs::remove_file(file).unwrap();
}

#[test]
fn a_worker_token_is_refused_for_joining_a_room() {
    let token = stdout(&run(&["token"], &KEY));
    let output = run(&["connect", "--room", "demo"], &[URL, ("LIVEKIT_TOKEN", token.trim())]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("lacks the grant `video.roomJoin`"), "{}", stderr(&output));
}

#[test]
fn devices_are_listed_as_a_table_and_as_json() {
    let json: serde_json::Value = serde_json::from_slice(&run(&["devices", "--json"], &[]).stdout).expect("JSON");
    assert!(json["cameras"].is_array() && json["sound_cards"].is_array());
    assert!(!run(&["devices"], &[]).stdout.is_empty());
}

#[test]
fn the_subcommands_of_child_processes_are_not_for_people() {
    for subcommand in ["__job", "__owner"] {
        let output = run(&[subcommand], &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("no control socket"), "{}", stderr(&output));
    }
}

#[test]
fn log_lines_carry_their_own_time_except_in_the_journal_which_gets_levels() {
    let plain = stderr(&run(&["__owner"], &[]));
    assert!(plain.starts_with("20") && plain.contains(" ERROR "), "{plain}");
    let journal = stderr(&run(&["__owner"], &[("JOURNAL_STREAM", "8:1")]));
    assert!(journal.starts_with("<3>ERROR "), "{journal}");
}

/// A camera and a microphone that every machine has.
const DEVICES: &str =
    "[[camera]]\ndevice = \"test-pattern\"\nwidth = 320\nheight = 180\n[[microphone]]\ndevice = \"tone\"\n";

#[test]
fn a_snapshot_is_a_jpeg_on_stdout_and_needs_no_server() {
    let file = scratch("snapshot.toml");
    fs::write(&file, DEVICES).unwrap();
    let path = file.to_str().unwrap();
    let taken = run(&["snapshot", "camera", "--config", path], &[]);
    let wrong = run(&["snapshot", "microphone", "--config", path], &[]);
    fs::remove_file(&file).unwrap();
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    assert!(taken.stdout.starts_with(b"\xff\xd8") && taken.stdout.ends_with(b"\xff\xd9"));
    assert!(stderr(&taken).starts_with("camera: 320x180, "), "{}", stderr(&taken));
    assert_eq!(wrong.status.code(), Some(78));
    assert!(
        stderr(&wrong).contains("device \"microphone\": not configured as that; there is camera"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_bench_prints_percentiles_opening_cpu_and_memory_and_says_what_it_measures() {
    let file = scratch("bench.toml");
    fs::write(&file, DEVICES).unwrap();
    let path = file.to_str().unwrap();
    let text = run(&["bench", "camera", "--seconds", "3", "--config", path], &[]);
    let json = run(&["bench", "microphone", "--json", "--seconds", "1", "--config", path], &[]);
    fs::remove_file(&file).unwrap();
    assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
    let text = stdout(&text);
    for part in
        ["p50", "frames", "keyframes", "no encryption", "first frame", "stable exposure", "CPU per frame", "PSS"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    let frames = &json["frames_ms"];
    // A second of 20 ms packets, less what a busy machine is late by; each took its own length at least.
    assert!(frames["n"].as_u64() > Some(30) && frames["p50"].as_f64() >= Some(20.0), "{json}");
    assert_eq!(json["description"], "tone 440 Hz, opus 48 kbit/s");
    assert!(json["open_to_stable_exposure_ms"].is_null() && json["cpu_per_frame_ms"].as_f64() > Some(0.0), "{json}");
}
