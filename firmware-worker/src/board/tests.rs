//! A board's folders below a temporary one.

use super::*;
use crate::config::{Defaults, Outline};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::worker::{Limits, RestartPolicy};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const SERVER: &str = "[server]\nurl = \"wss://example.livekit.cloud\"\n";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6e319.c2ln";

struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fw-board-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        for folder in ["boot/firmware", "data/board", "data/iwd", "data/ssh", "run", "etc", "proc/sys/kernel"] {
            fs::create_dir_all(root.join(folder)).expect("writable");
        }
        Self(root)
    }

    fn with(text: impl AsRef<[u8]>) -> Self {
        let disk = Self::new();
        disk.edit(text);
        disk
    }

    fn edit(&self, text: impl AsRef<[u8]>) {
        fs::write(self.0.join("boot/firmware/firmware-worker.toml"), text).expect("writable");
    }

    fn start(&self) -> Report {
        apply(&self.0, DEFAULTS, &mut |_, _| Ok(()))
    }

    fn good(&self) -> Report {
        let report = self.start();
        assert_eq!((&report.mistakes[..], &report.undone[..]), (&[][..], &[][..]));
        report
    }

    /// The one thing that is wrong.
    fn mistake(&self) -> String {
        let mistakes = self.start().mistakes;
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes[0].clone()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is there");
    }
}

const DEFAULTS: Defaults = Defaults {
    memory: None,
    development: false,
    entrypoint: Outline {
        restart: RestartPolicy::Never,
        check: None,
        limits: Limits { memory: None, pids: None, cpu_percent: None },
    },
};

#[test]
fn a_token_moves_from_the_boot_partition_to_where_the_worker_alone_reads_it() {
    let disk =
        Disk::with(format!("# mine\n{SERVER}[board]\ntoken = \"{TOKEN}\" # given by Eve\nhostname = \"porch\"\n"));
    disk.good();
    let left = format!("# mine\n{SERVER}[board]\ntoken = \"\" # given by Eve\nhostname = \"porch\"\n");
    assert_eq!(disk.read("boot/firmware/firmware-worker.toml"), left);
    assert_eq!(disk.read("data/board/firmware-worker.toml"), left);
    assert_eq!(disk.read("data/board/credentials"), format!("LIVEKIT_TOKEN={TOKEN}\n"));
    let mode = fs::metadata(disk.0.join("data/board/credentials")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!((disk.read("etc/hostname"), disk.read("proc/sys/kernel/hostname")), ("porch\n".into(), "porch".into()));
    // The next start finds it there, and a new one takes its place.
    disk.good();
    assert_eq!(disk.read("data/board/credentials"), format!("LIVEKIT_TOKEN={TOKEN}\n"));
    disk.edit(format!("{SERVER}[board]\ntoken = \"a.newer.one\"\n"));
    disk.good();
    assert_eq!(disk.read("data/board/credentials"), "LIVEKIT_TOKEN=a.newer.one\n");
}

#[test]
fn a_secret_of_any_form_leaves_the_file_and_nothing_else_does() {
    let key = "api_key = \"APIkey\"";
    let forms = [
        (format!("board = {{ hostname = \"x\", api_secret = \"s3cret\" }}\n{SERVER}{key}\n"), "api_secret = \"\" }"),
        (format!("board.api_secret = 's3cret'\r\n{SERVER}{key}\r\n"), "board.api_secret = \"\"\r\n"),
        (format!("\u{feff}{SERVER}{key}\n[board]\napi_secret = \"\"\"s3cret\"\"\"\n"), "api_secret = \"\"\n"),
    ];
    for (text, left) in forms {
        let disk = Disk::with(&text);
        disk.good();
        let file = disk.read("boot/firmware/firmware-worker.toml");
        assert!(file.contains(left) && !file.contains("s3cret"), "{file}");
        assert_eq!(disk.read("data/board/credentials"), "LIVEKIT_API_SECRET=s3cret\n");
    }
}

#[test]
fn a_wrong_file_is_reported_and_the_last_good_one_goes_on() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\nntp = [\"ntp.example.net\"]\n"));
    disk.good();
    disk.edit(format!("{SERVER}[board]\ntokn = \"{TOKEN}\"\n"));
    let mistake = disk.mistake();
    assert_eq!(mistake, "firmware-worker.toml:4: unknown key `tokn`; did you mean `token`?");
    let report = disk.read("boot/firmware/firmware-worker-report.txt");
    assert!(report.contains("NOT taken over") && report.contains(&mistake) && report.contains("\r\n"), "{report}");
    assert!(!report.contains(TOKEN));
    assert_eq!(disk.read("run/systemd/timesyncd.conf.d/board.conf"), "[Time]\nNTP=ntp.example.net\n");
    assert!(disk.read("boot/firmware/firmware-worker.toml").contains(TOKEN), "what was not understood stays");
    // Mended, it is taken over, and the report says so.
    disk.edit(SERVER);
    disk.good();
    assert!(disk.read("boot/firmware/firmware-worker-report.txt").starts_with("The settings of this board are good."));
    assert!(!disk.has("run/systemd/timesyncd.conf.d/board.conf"), "no longer asked for");
}

#[test]
fn a_password_without_quotes_is_not_in_the_report() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n[wifi]\npassword = 47114711\n"));
    assert_eq!(disk.mistake(), "firmware-worker.toml:6: a secret must be a text in quotes");
    assert!(!disk.read("boot/firmware/firmware-worker-report.txt").contains("4711"));
}

#[test]
fn a_drain_that_the_boards_unit_cuts_off_is_told_in_the_report() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n[worker]\ndrain_timeout_s = 60\n"));
    assert_eq!(disk.good().notes.len(), 2, "nobody says how long a stop may last");
    let file = disk.0.join(config::UNIT.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, include_str!("../../../packaging/unit.toml")).unwrap();
    let notes = disk.good().notes;
    assert!(notes.iter().any(|note| note.starts_with("worker drain_timeout_s: 60 and")), "{notes:?}");
    disk.edit(format!("{SERVER}[board]\ntoken = \"\"\n"));
    assert!(disk.good().notes.iter().all(|note| !note.contains("drain")), "the package's own");
}

#[test]
fn the_report_shows_where_the_worker_connects_without_what_a_query_may_hold() {
    let disk = Disk::with(format!("[server]\nurl = \"wss://h/base?key=hidden\"\n[board]\ntoken = \"{TOKEN}\"\n"));
    assert_eq!(disk.good().notes[0], "The worker connects to wss://h/base.");
}

#[test]
fn the_report_tells_what_is_hardly_meant_so() {
    let limits = "[limits]\njob_memory_mib = 0\nmax_job_memory_mib = 100\n";
    let notes = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n{limits}")).good().notes;
    assert!(notes.iter().any(|note| note.starts_with("limits max_job_memory_mib: ")), "{notes:?}");
}

#[test]
fn settings_that_only_a_newer_program_understands_give_way_to_those_before() {
    let with = |ntp: &str| format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\nntp = [\"{ntp}\"]\n");
    let disk = Disk::with(with("old.example"));
    disk.good();
    let old = disk.read("data/board/firmware-worker.toml");
    disk.edit(with("new.example"));
    disk.good();
    // What the newer program took has a table more. It was rolled back.
    let newer = disk.read("data/board/firmware-worker.toml") + "[newer]\nkey = 1\n";
    fs::write(disk.0.join("data/board/firmware-worker.toml"), &newer).expect("writable");
    disk.edit(&newer);
    let report = disk.start();
    let named = ["firmware-worker.toml:6: unknown key `newer`", "the settings kept before:6: unknown key `newer`"];
    assert!(report.mistakes.len() == 2, "{report:?}");
    assert!(report.mistakes.iter().zip(named).all(|(mistake, named)| mistake.starts_with(named)), "{report:?}");
    assert_eq!(report.notes, ["The settings before those are used."]);
    assert_eq!(disk.read("run/systemd/timesyncd.conf.d/board.conf"), "[Time]\nNTP=old.example\n");
    assert_eq!(disk.read("data/board/firmware-worker.toml"), old, "the worker reads them too");
    assert_eq!(disk.start().mistakes.len(), 1, "and the next start finds them");
}

#[test]
fn certificates_beside_the_settings_are_kept_where_the_worker_looks_for_them() {
    let signed = rcgen::generate_simple_self_signed(["an authority".to_owned()]).expect("made");
    let certificate =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(signed.cert.der()));
    let settings =
        |name: &str| format!("[server]\nurl = \"wss://lan\"\nca_file = {name:?}\n[board]\ntoken = \"{TOKEN}\"\n");
    let disk = Disk::with(settings("authority.pem"));
    assert!(disk.mistake().ends_with("there is no such file beside firmware-worker.toml"), "{}", disk.mistake());
    let beside = disk.0.join("boot/firmware/authority.pem");
    let wrong: [(&[u8], &str); 3] = [
        (b"", "is empty"),
        (b"what is this?", "no certificate in the PEM text"),
        (b"\x30\x82\x01\xff", "is not PEM text; export the certificates as that (Base-64)"),
    ];
    for (bytes, why) in wrong {
        fs::write(&beside, bytes).expect("writable");
        assert!(disk.mistake().starts_with("server ca_file \"authority.pem\": ") && disk.mistake().ends_with(why));
    }
    assert!(!disk.has("data/board/authority.pem") && !disk.has("data/board/credentials"), "nothing is taken over");
    fs::write(&beside, &certificate).expect("writable");
    disk.good();
    assert_eq!(disk.read("data/board/authority.pem"), certificate);
    // As with all that was kept, the card need not have it any more.
    fs::remove_file(&beside).expect("it is there");
    assert!(
        disk.good().text().contains("authority.pem is not beside firmware-worker.toml; the one kept before is used.")
    );
    for elsewhere in ["../ca.pem", "folder/ca.pem", "credentials", "firmware-worker.toml.new"] {
        disk.edit(settings(elsewhere));
        assert!(disk.mistake().ends_with("must be the name of a file beside firmware-worker.toml"), "{elsewhere}");
    }
    disk.edit(settings("/etc/authority.pem"));
    assert!(disk.mistake().ends_with("there is no such file on the board"), "{}", disk.mistake());
    // As Windows' own editor once saved it.
    fs::write(disk.0.join("etc/authority.pem"), format!("\u{feff}{certificate}")).expect("writable");
    disk.good();
}

#[test]
fn what_editors_do_to_a_file_is_named() {
    let utf16: Vec<u8> = "[server]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(Disk::with([&[0xff, 0xfe][..], &utf16].concat()).mistake().contains("save it as UTF-8"));
    assert!(Disk::with(b"# a\n# caf\xe9\n").mistake().starts_with("firmware-worker.toml:2: holds a character"));
    assert!(Disk::with("[server\n").mistake().starts_with("firmware-worker.toml:1: "));
    assert!(Disk::with("x".repeat(300_000)).mistake().contains("longer than 256 kB"));
    assert!(Disk::with(SERVER).mistake().starts_with("no credentials: "));
}

#[test]
fn without_a_file_what_was_kept_is_used() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\naddress = \"192.168.1.20/24\"\n"));
    disk.good();
    fs::remove_file(disk.0.join("boot/firmware/firmware-worker.toml")).expect("there");
    fs::remove_dir_all(disk.0.join("run/systemd")).expect("there");
    let report = disk.good();
    assert!(report.notes[0].contains("the settings kept before are used"), "{report:?}");
    assert!(disk.read("run/systemd/network/10-wired.network").contains("Address=192.168.1.20/24\n"));
}

#[test]
fn a_wireless_network_is_iwds_with_its_password_kept_when_it_is_not_written() {
    let wifi = |rest: &str| format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n[wifi]\n{rest}");
    assert!(Disk::with(wifi("ssid = \"attic\"\n")).mistake().starts_with("wifi country: is missing"));
    let disk = Disk::with(wifi("country = \"DE\"\nssid = \"attic\"\n"));
    assert!(disk.mistake().starts_with("wifi password: none is kept for \"attic\""));
    disk.edit(wifi("country = \"DE\"\nssid = \"attic\"\npassword = \"back\\\\slash\"\n"));
    disk.good();
    assert_eq!(disk.read("data/iwd/attic.psk"), "[Security]\nPassphrase=back\\\\slash\n");
    assert_eq!(disk.read("etc/iwd/main.conf"), "[General]\nCountry=DE\n");
    assert!(disk.read("boot/firmware/firmware-worker.toml").contains("password = \"\"\n"));
    disk.good();
    // Another network, whose name is no file's, takes its place.
    disk.edit(wifi("country = \"DE\"\nssid = \"café/1\"\npassword = \" long enough \"\nhidden = true\n"));
    disk.good();
    let text = disk.read("data/iwd/=636166c3a92f31.psk");
    assert_eq!(text, "[Security]\nPassphrase=\\slong\\senough\\s\n[Settings]\nHidden=true\n");
    assert!(!disk.has("data/iwd/attic.psk"));
    disk.edit(wifi(
        "country = \"DE\"\nssid = \"guests\"\nopen = true\naddress = \"10.0.0.5/8\"\ngateway = \"10.0.0.1\"\n",
    ));
    disk.good();
    assert!(disk.has("data/iwd/guests.open"));
    assert!(disk.read("run/systemd/network/10-wifi.network").contains("Gateway=10.0.0.1\n"));
}

#[test]
fn where_there_is_networkmanager_the_network_is_its() {
    let disk = Disk::new();
    fs::create_dir_all(disk.0.join("etc/NetworkManager")).expect("writable");
    fs::write(disk.0.join("etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n").expect("writable");
    let server = format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n");
    disk.edit(format!(
        "{server}hostname = \"porch\"\naddress = \"192.168.1.20/24\"\ngateway = \"192.168.1.1\"\n\
         dns = [\"192.168.1.1\", \"fd00::1\"]\n\
         [wifi]\ncountry = \"DE\"\nssid = \"a;b\"\npassword = ' back\\slash'\nhidden = true\n"
    ));
    disk.good();
    let folder = "run/NetworkManager/system-connections/firmware-worker";
    let wired = disk.read(&format!("{folder}-wired.nmconnection"));
    let ends = "type=ethernet\nautoconnect-priority=100\n\n[ipv4]\nmethod=manual\naddress1=192.168.1.20/24\n\
                gateway=192.168.1.1\ndns=192.168.1.1;\n[ipv6]\nmethod=auto\n";
    assert!(wired.ends_with(ends), "{wired}");
    let wifi = disk.read(&format!("{folder}-wifi.nmconnection"));
    let ends = "[wifi]\nssid=97;59;98;\nhidden=true\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=\\sback\\\\slash\n\n\
                [ipv4]\nmethod=auto\n[ipv6]\nmethod=auto\n";
    assert!(wifi.ends_with(ends), "{wifi}");
    let mode = |path: &str| fs::metadata(disk.0.join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&format!("{folder}-wifi.nmconnection")), 0o600);
    assert_eq!(disk.read("run/firmware-worker-radio"), "COUNTRY=DE\n");
    assert_eq!(disk.read("etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tporch\n");
    assert!(!disk.has("run/systemd/network") && !disk.has("etc/iwd"), "nobody there reads it");
    // After a restart it comes from what was kept, and goes when it is no longer meant.
    fs::remove_dir_all(disk.0.join("run/NetworkManager")).expect("there");
    disk.good();
    assert_eq!(disk.read(&format!("{folder}-wifi.nmconnection")), wifi);
    disk.edit(format!("{server}address = \"fd00::5/64\"\n"));
    disk.good();
    assert!(!disk.has(&format!("{folder}-wifi.nmconnection")) && !disk.has("run/firmware-worker-radio"));
    let wired = disk.read(&format!("{folder}-wired.nmconnection"));
    assert!(wired.ends_with("[ipv4]\nmethod=disabled\n[ipv6]\nmethod=manual\naddress1=fd00::5/64\n"), "{wired}");
}

#[test]
fn no_key_no_ssh() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample me@desk";
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\nssh_keys = [\"{key}\"]\n"));
    disk.good();
    assert_eq!(disk.read("data/ssh/authorized_keys"), format!("{key}\n"));
    let written = || fs::metadata(disk.0.join("data/ssh/authorized_keys")).expect("there").ino();
    let before = written();
    disk.good();
    assert_eq!(written(), before, "what is the same is not written again");
    let held = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t me@desk";
    disk.edit(format!("{SERVER}[board]\nssh_keys = [\"{held}\"]\n"));
    disk.good();
    assert_eq!(disk.read("data/ssh/authorized_keys"), format!("{held}\n"));
    disk.edit(format!("{SERVER}[board]\nssh_keys = [\"-----BEGIN OPENSSH PRIVATE KEY-----\"]\n"));
    assert!(disk.mistake().contains("is no line of a file .pub"));
    disk.edit(SERVER);
    disk.good();
    assert!(!disk.has("data/ssh/authorized_keys"));
}

#[test]
fn a_boot_partition_that_cannot_be_written_keeps_its_secrets_and_is_named() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n"));
    let report = apply(&disk.0, DEFAULTS, &mut |_, _| Err("it is write-protected".into()));
    assert!(report.mistakes.is_empty() && report.undone.len() == 2, "{report:?}");
    assert!(report.undone.iter().all(|undone| undone.contains("it is write-protected")), "{report:?}");
    assert!(report.undone[0].starts_with("The secrets are still in firmware-worker.toml: "), "{report:?}");
    assert!(report.text().starts_with("The settings of this board are taken over, but something is left to mend:"));
    assert_eq!(
        disk.read("data/board/credentials"),
        format!("LIVEKIT_TOKEN={TOKEN}\n"),
        "the worker has it all the same"
    );
    assert!(disk.read("boot/firmware/firmware-worker.toml").contains(TOKEN));
}

#[test]
fn where_nothing_lasts_the_secrets_stay_on_the_boot_partition() {
    let disk = Disk::with(format!("{SERVER}[board]\ntoken = \"{TOKEN}\"\n"));
    fs::write(disk.0.join("run/data-error"), "/dev/vda3 cannot be repaired: e2fsck: bad magic number\n")
        .expect("writable");
    let report = disk.good();
    assert_eq!(
        report.notes[0],
        "Nothing lasts beyond this start: /dev/vda3 cannot be repaired: e2fsck: bad magic number"
    );
    assert_eq!(disk.read("data/board/credentials"), format!("LIVEKIT_TOKEN={TOKEN}\n"));
    assert!(disk.read("boot/firmware/firmware-worker.toml").contains(TOKEN), "the next start wants it too");
}
