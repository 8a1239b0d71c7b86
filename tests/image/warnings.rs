//! What a board keeps of its log, by its own script with a journal of the test's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use tests::paths;

/// Prints the lines of `journal` after those that the cursor counts, as the option says, and counts on.
const JOURNALCTL: &str = r#"#!/bin/sh
for option; do case $option in --cursor-file=*) cursor=${option#*=} ;; esac; done
seen=$(cat "$cursor" 2>/dev/null || echo 0)
tail -n +$((seen + 1)) "${0%/*}/journal"
wc -l <"${0%/*}/journal" >"$cursor"
"#;

/// Stands for `/run` and `/data/log`. Removed on drop.
struct Board(PathBuf);

impl Board {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("fw-warnings-{}-{name}", std::process::id()));
        let board = Self(root);
        for directory in ["run", "log"] {
            fs::create_dir_all(board.0.join(directory)).expect("a temporary directory");
        }
        let journalctl = board.0.join("journalctl");
        fs::write(&journalctl, JOURNALCTL).expect("our own file");
        fs::set_permissions(&journalctl, fs::Permissions::from_mode(0o755)).expect("our own file");
        board
    }

    fn logs(&self, text: &str) {
        fs::write(self.0.join("journal"), text).expect("our own file");
    }

    /// Whether the script could keep what is new.
    fn keep(&self) -> bool {
        let script = paths::root().join("images/root/usr/lib/firmware-worker/keep-warnings");
        let text = fs::read_to_string(&script).expect("part of the image");
        let here = self.0.to_str().expect("plain");
        let text = text.replace("/data/log", &format!("{here}/log")).replace("=/run/", &format!("={here}/run/"));
        let path = format!("{here}:{}", std::env::var("PATH").unwrap_or_default());
        Command::new("sh").args(["-c", &text]).env("PATH", path).status().expect("a shell").success()
    }

    fn kept(&self, file: &str) -> String {
        fs::read_to_string(self.0.join("log").join(file)).unwrap_or_default()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn warnings_that_a_full_card_does_not_take_are_kept_once_there_is_room_and_none_twice() {
    let board = Board::new("full");
    board.logs("one\n");
    assert!(board.keep());
    board.logs("one\ntwo\n");
    let file = board.0.join("log/warnings");
    let aside = board.0.join("log/aside");
    fs::rename(&file, &aside).expect("it was kept");
    symlink("/dev/full", &file).expect("a name that is free");
    assert!(!board.keep(), "a write to a full card fails");
    fs::rename(&aside, &file).expect("over the link");
    board.logs("one\ntwo\nthree\n");
    assert!(board.keep());
    assert!(board.keep(), "nothing new is nothing to do");
    assert_eq!(board.kept("warnings"), "one\ntwo\nthree\n");
}

#[test]
fn no_more_than_the_last_4_mb_are_kept() {
    let board = Board::new("bounded");
    let line = |letter: &str| format!("{}\n", letter.repeat(1_199_999));
    let mut journal = String::new();
    for letter in ["a", "b", "c"] {
        journal.push_str(&line(letter));
        board.logs(&journal);
        assert!(board.keep());
    }
    assert_eq!((board.kept("warnings.old"), board.kept("warnings")), (line("b"), line("c")));
}
