//! Each target's binary against what boards have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::package::{TARGETS, Target};
use tests::{package, paths};

/// What README.md promises; the oldest release that is tested, Debian 12, has 2.36.
const GLIBC: (u32, u32) = (2, 34);

/// All shared libraries that the package may ask for, but for the loader's own name.
const LIBRARIES: [&str; 4] = ["libasound.so.2", "libgcc_s.so.1", "libm.so.6", "libc.so.6"];

fn built() -> impl Iterator<Item = (&'static Target, PathBuf)> {
    TARGETS.iter().filter(|target| target.is_tested()).map(|target| {
        let tree = package::unpack(&package::deb(target));
        (target, tree.join("usr/bin/firmware-worker"))
    })
}

#[test]
fn the_targets_are_those_of_both_engines() {
    let cross = paths::root().join("cross");
    let entries = std::fs::read_dir(&cross).expect("part of the checkout").flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".env").map(str::to_owned));
    let tested: BTreeSet<_> = TARGETS.iter().map(|target| target.triple.to_owned()).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), tested);
    let containers = std::fs::read_to_string(cross.join("Cross.toml")).expect("part of the checkout");
    for Target { triple, architecture, .. } in &TARGETS {
        let section = containers.split(&format!("[target.{triple}.dockerfile]")).nth(1).expect("one for each");
        let section = section.split('[').next().unwrap_or_default();
        assert!(section.contains(&format!("ARCH = \"{architecture}\"")), "{triple}: {section}");
    }
}

#[test]
fn the_container_has_the_settings_of_the_other_engine() {
    let cross = paths::root().join("cross");
    let text = |name: &str| std::fs::read_to_string(cross.join(name)).expect("part of the checkout");
    let container = text("Dockerfile");
    for Target { triple, .. } in &TARGETS {
        let facts = text(&format!("{triple}.env"));
        let fact = |name: &str| {
            let line = facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{triple}: {name}"))
        };
        let (gnu, flags, lower) = (fact("gnu_triple"), fact("target_cflags"), triple.replace('-', "_"));
        let mut settings = vec![
            format!("CARGO_TARGET_{}_LINKER={gnu}-gcc", lower.to_uppercase()),
            format!("CC_{lower}={gnu}-gcc"),
            format!("CXX_{lower}={gnu}-g++"),
            format!("AR_{lower}={gnu}-ar"),
            format!("PKG_CONFIG_LIBDIR_{lower}=/usr/lib/{gnu}/pkgconfig:/usr/share/pkgconfig"),
        ];
        if !flags.is_empty() {
            settings.extend(["CFLAGS", "CXXFLAGS"].map(|name| format!("{name}_{lower}={flags}")));
        }
        for setting in settings {
            let found =
                container.lines().any(|line| line.trim_start_matches("ENV ").trim_matches([' ', '\\']) == setting);
            assert!(found, "cross/Dockerfile lacks {setting}");
        }
    }
}

#[test]
fn every_binary_is_small() {
    for (target, binary) in built() {
        let bytes = std::fs::metadata(&binary).expect("the package has it").len();
        eprintln!("{}: {bytes} bytes", target.triple);
        assert!(bytes <= target.binary_limit, "{}: {bytes} bytes", target.triple);
    }
}

#[test]
fn every_binary_wants_only_the_libraries_and_symbols_that_the_oldest_release_has() {
    for (target, binary) in built() {
        let needed = words(&readelf(&["--dynamic"], &binary), "(NEEDED)", |line| {
            line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name.to_owned())
        });
        let strange: Vec<_> =
            needed.iter().filter(|name| !LIBRARIES.contains(&name.as_str()) && !name.starts_with("ld-linux")).collect();
        assert!(needed.contains("libasound.so.2") && strange.is_empty(), "{}: {needed:?}", target.triple);
        let versions = words(&readelf(&["--version-info"], &binary), "Name: GLIBC_", |line| {
            line.split("Name: GLIBC_").nth(1)?.split_whitespace().next().map(str::to_owned)
        });
        let highest = versions.iter().filter_map(|version| parse(version)).max().expect("it links the C library");
        eprintln!("{}: GLIBC {highest:?}", target.triple);
        // Built on Debian 13 it runs there alone; releases are built on 12.
        assert!(highest <= GLIBC || package::debian_release() != "12", "{}: {highest:?}", target.triple);
    }
}

#[test]
fn every_binary_runs_on_this_machine_under_emulation_where_it_must() {
    for (target, binary) in built() {
        for arguments in [["--version"], ["devices"]] {
            let output = target.command(&binary).args(arguments).output().expect("tools/setup has installed it");
            assert!(
                output.status.success() && !output.stdout.is_empty(),
                "{} {arguments:?}: {output:?}",
                target.triple
            );
        }
    }
}

#[test]
#[ignore = "builds the package for PCs: `tools/test soak targets` runs it"]
fn the_binary_for_pcs_starts_on_a_debian_13() {
    let root = package::debian_13();
    let (_, binary) = built().find(|(target, _)| target.architecture == "amd64").expect("the long run builds it");
    let loader = root.join("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    let mut command = Command::new(&loader);
    command.arg("--inhibit-cache").arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu"));
    let output = command.arg(&binary).arg("devices").output().unwrap_or_else(|e| panic!("{}: {e}", loader.display()));
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "builds the tests for each board: `tools/test soak targets` runs it"]
fn the_machines_of_the_protocol_decide_alike_on_every_board() {
    for target in TARGETS.iter().filter(|target| target.is_tested() && target.emulator.is_some()) {
        let mut command = Command::new("timeout");
        // On an idle machine a tenth of this.
        command.arg("600").arg(paths::root().join("tools/cross")).args([
            target.triple,
            "test",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "protocol",
            "--lib",
        ]);
        let output = command.output().expect("part of the checkout");
        let text = String::from_utf8_lossy(&output.stdout);
        let passed = text.lines().any(|line| line.starts_with("test result: ok. ") && !line.contains(" 0 passed"));
        assert!(
            output.status.success() && passed,
            "{}:\n{text}{}",
            target.triple,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn readelf(arguments: &[&str], binary: &Path) -> String {
    let output = Command::new("readelf").arg("--wide").args(arguments).arg(binary).output();
    let output = output.expect("tools/setup has installed binutils");
    assert!(output.status.success(), "readelf {}", binary.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn words(text: &str, mark: &str, pick: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    text.lines().filter(|line| line.contains(mark)).filter_map(pick).collect()
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
