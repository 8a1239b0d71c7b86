//! Rules of the source that a compiler does not keep.

mod unit;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::paths;

/// A file that is longer has more than one purpose.
const MAX_LINES: usize = 400;

/// Which member may use which: the arrows of the architecture.
const ARROWS: [(&str, &[&str]); 4] = [
    ("protocol", &[]),
    ("hal", &[]),
    ("firmware-worker", &["protocol", "hal"]),
    ("tests", &["firmware-worker", "protocol", "hal"]),
];

#[test]
fn dependencies_between_members_point_one_way() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let members: BTreeSet<&str> = packages.iter().map(name).collect();
    assert_eq!(members, ARROWS.iter().map(|(member, _)| *member).collect());
    for package in packages {
        let (_, allowed) = ARROWS.iter().find(|(member, _)| *member == name(package)).expect("checked above");
        let used = package["dependencies"].as_array().expect("cargo lists dependencies").iter().map(name);
        let wrong: Vec<_> = used.filter(|used| members.contains(used) && !allowed.contains(used)).collect();
        assert!(wrong.is_empty(), "{} must not depend on {wrong:?}", name(package));
    }
}

#[test]
fn one_cryptography_is_built_and_no_openssl() {
    let tree = cargo(&["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(used.contains("aws-lc-rs"), "cargo tree lists what is built");
    for unwanted in ["ring", "openssl", "openssl-sys", "native-tls"] {
        assert!(!used.contains(unwanted), "{unwanted} came in as a dependency");
    }
}

#[test]
fn what_handshakes_offer_is_set_in_the_library_that_makes_them() {
    let lock = fs::read_to_string(paths::root().join("Cargo.lock")).expect("it is committed");
    let count = lock.lines().filter(|line| *line == "name = \"dimpl\"").count();
    assert_eq!(count, 1, "str0m and protocol have dimpl of two versions: take that of str0m in protocol/Cargo.toml");
}

#[test]
fn unsafe_code_lives_in_hal_alone() {
    for (path, text) in sources(&["rs"]) {
        let outside = path.strip_prefix(paths::root()).is_ok_and(|path| !path.starts_with("hal"));
        let found = text.lines().position(|line| code(line).split(|c: char| !is_word(c)).any(|word| word == "unsafe"));
        if let Some(line) = found.filter(|_| outside) {
            panic!("{}:{}: unsafe code outside hal", path.display(), line + 1);
        }
    }
}

#[test]
fn no_file_is_longer_than_one_purpose_needs() {
    let long: Vec<_> = sources(&["rs", "py", "sh"])
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {MAX_LINES} lines:\n{}", long.join("\n"));
}

fn metadata() -> Value {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&text).expect("cargo metadata is JSON")
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let output = command.current_dir(paths::root()).arg("--offline").args(arguments).output();
    let output = output.expect("cargo starts: it started this test");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("packages and dependencies have names")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A line without its comment and its strings, well enough for a word search.
fn code(line: &str) -> String {
    let without_comment = line.split("//").next().unwrap_or_default();
    without_comment.split('"').step_by(2).collect()
}

/// Files with these extensions and their text.
fn sources(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(paths::root(), extensions, &mut files);
    assert!(files.len() > 20, "the search found only {} files", files.len());
    files
}

fn collect(directory: &Path, extensions: &[&str], files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).expect("the checkout is readable").flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.') || path.ends_with("target");
        if path.is_dir() && !hidden {
            collect(&path, extensions, files);
        } else if path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push((path, text));
        }
    }
}
