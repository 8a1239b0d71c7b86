//! What is in a package, and that it is the same each time.

use std::fs;
use std::process::Command;
use tests::package::{self, TARGETS};

/// Of the download, as a board's owner sees it.
const DEB_LIMIT: u64 = 3_500_000;

const FILES: [&str; 14] = [
    "./etc/firmware-worker/config.toml",
    "./usr/bin/firmware-worker",
    "./usr/lib/firmware-worker/unit.toml",
    "./usr/lib/systemd/system/firmware-worker-system-up.service",
    "./usr/lib/systemd/system/firmware-worker.service",
    "./usr/lib/sysusers.d/firmware-worker.conf",
    "./usr/lib/tmpfiles.d/firmware-worker.conf",
    "./usr/lib/udev/rules.d/60-firmware-worker.rules",
    "./usr/share/bash-completion/completions/firmware-worker",
    "./usr/share/doc/firmware-worker/config.example.toml",
    "./usr/share/doc/firmware-worker/copyright",
    "./usr/share/fish/vendor_completions.d/firmware-worker.fish",
    "./usr/share/man/man1/firmware-worker.1.gz",
    "./usr/share/zsh/vendor-completions/_firmware-worker",
];

#[test]
fn a_package_has_these_files_of_root_and_is_small() {
    for target in TARGETS.iter().filter(|target| target.is_tested()) {
        let deb = package::deb(target);
        let bytes = fs::metadata(&deb).expect("just made").len();
        eprintln!("{}: {bytes} bytes", deb.display());
        assert!(bytes <= DEB_LIMIT, "{}: {bytes} bytes", deb.display());
        let list = dpkg_deb("--contents", &deb, &[]);
        let lines = list.lines().filter(|line| !line.ends_with('/'));
        let mut files: Vec<_> = lines.clone().filter_map(|line| line.split_whitespace().last()).collect();
        files.sort_unstable();
        assert_eq!(files, FILES);
        assert!(lines.clone().all(|line| line.contains(" root/root ")), "{list}");
        // The tarball beside it has the same.
        let tarball = deb.with_extension("tar.xz");
        let output = Command::new("tar")
            .args(["--numeric-owner", "-tvf"])
            .arg(&tarball)
            .output()
            .expect("part of the base system");
        let list = String::from_utf8_lossy(&output.stdout);
        let lines = list.lines().filter(|line| !line.ends_with('/'));
        let mut files: Vec<_> = lines.clone().filter_map(|line| line.split_whitespace().last()).collect();
        files.sort_unstable();
        assert_eq!(files, FILES, "{}", tarball.display());
        assert!(lines.clone().all(|line| line.contains(" 0/0 ")), "{list}");
        let info = dpkg_deb("--info", &deb, &[]);
        assert!(info.contains(&format!("Architecture: {}", target.architecture)), "{info}");
        // What its owner changes is not replaced by an upgrade.
        assert_eq!(dpkg_deb("--info", &deb, &["conffiles"]), "/etc/firmware-worker/config.toml\n");
    }
}

#[test]
fn the_same_binary_gives_the_same_package() {
    let target = &TARGETS[0];
    let first = package::deb(target);
    let binary = package::unpack(&first).join("usr/bin/firmware-worker");
    let digest = |path: &std::path::Path| fs::read(path).expect("just made");
    let before = digest(&package::pack(&binary, target, "7"));
    // The times of files are not part of it, nor is what folders take: in memory they take other room than on a disk.
    let status = Command::new("touch").arg(&binary).status().expect("part of the base system");
    assert!(status.success());
    assert!(
        before == digest(&package::pack_by_way_of("/dev/shm".as_ref(), &binary, target, "7")),
        "two packages of one binary differ"
    );
}

fn dpkg_deb(verb: &str, deb: &std::path::Path, parts: &[&str]) -> String {
    let output = Command::new("dpkg-deb").arg(verb).arg(deb).args(parts).env("LC_ALL", "C").output();
    let output = output.expect("dpkg is part of Debian");
    assert!(output.status.success(), "dpkg-deb {verb} {} {parts:?}", deb.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
