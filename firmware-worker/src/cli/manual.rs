//! The manual page and the shells' completions, as the command line itself tells them. They lie in the checkout, so that
//! a package is made without building for this machine; `UPDATE=1 cargo test -p firmware-worker manual` writes them anew.

use super::arguments::Arguments;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::path::PathBuf;

#[test]
fn the_manual_page_and_the_completions_are_those_of_the_command_line() {
    let mut files = vec![("man/firmware-worker.1", manual())];
    let shells = [
        ("completions/firmware-worker.bash", Shell::Bash),
        ("completions/_firmware-worker", Shell::Zsh),
        ("completions/firmware-worker.fish", Shell::Fish),
    ];
    for (file, shell) in shells {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "firmware-worker", &mut text);
        files.push((file, String::from_utf8(text).expect("clap writes UTF-8")));
    }
    // Of the checkout that is tested, which need not be the one that was compiled: cargo shares what is equal.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the package to its tests");
    let packaging = PathBuf::from(package).join("../packaging");
    for (file, wanted) in files {
        let path = packaging.join(file);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "packaging/{file} is old: UPDATE=1 cargo test -p firmware-worker --lib manual");
    }
}

/// Of a running `start`.
const SIGNALS: [(&str, &str); 3] = [
    (
        "SIGTERM, SIGINT",
        "The first drains: no new jobs, and running ones are waited for. The second ends them. `dev` and `connect` end them at \
         the first.",
    ),
    (
        "SIGHUP",
        "What `systemctl reload firmware-worker` sends: the configuration is read again, and no job ends. Slots, timeouts, \
         restart, prewarm, job limits and [job] count for new jobs; what has changed beside these is named in the log and \
         needs a restart. A wrong file changes nothing.",
    ),
    ("SIGUSR2", "The program that lies now where this one was started from takes its place, and no job ends."),
];

/// One page: a section for each subcommand with its options, then files.
fn manual() -> String {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).date("").source(concat!("firmware-worker ", env!("CARGO_PKG_VERSION")));
    let head =
        [Man::render_title, Man::render_name_section, Man::render_synopsis_section, Man::render_description_section];
    for section in head {
        section(&man, &mut page).expect("a vector takes everything");
    }
    for subcommand in command.get_subcommands() {
        describe(subcommand, "firmware-worker", &mut page);
    }
    man.render_extra_section(&mut page).expect("a vector takes everything");
    let mut signals = Roff::new();
    signals.control("SH", ["SIGNALS"]);
    for (signal, what) in SIGNALS {
        signals.control("TP", []).text([roman(signal)]).text([roman(what)]);
    }
    signals.to_writer(&mut page).expect("a vector takes everything");
    let mut files = Roff::new();
    files.control("SH", ["FILES"]);
    for (file, what) in [
        ("/etc/firmware-worker/config.toml", "Configuration."),
        (crate::board::SETTINGS, "The same on a flashed board: what it keeps of the file on its boot partition."),
        (crate::config::UNIT, "What holds for the package's unit where the configuration says nothing."),
        ("/usr/share/doc/firmware-worker/config.example.toml", "Every key with its default."),
    ] {
        files.control("TP", []).text([roman(file)]).text([roman(what)]);
    }
    files.to_writer(&mut page).expect("a vector takes everything");
    String::from_utf8(page).expect("clap writes UTF-8")
}

fn describe(command: &Command, parent: &str, page: &mut Vec<u8>) {
    let name = format!("{parent} {}", command.get_name());
    if !command.is_subcommand_required_set() {
        section(command, &name, page);
    }
    for subcommand in command.get_subcommands() {
        describe(subcommand, &name, page);
    }
}

/// Of what can be run as it is.
fn section(command: &Command, name: &str, page: &mut Vec<u8>) {
    let mut heading = Roff::new();
    heading.control("SH", [name.to_uppercase().as_str()]);
    heading.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    heading.to_writer(page).expect("a vector takes everything");
    let mut options = Vec::new();
    Man::new(command.clone()).render_options_section(&mut options).expect("a vector takes everything");
    let options = String::from_utf8(options).expect("clap writes UTF-8");
    // Part of the subcommand's section, so without a heading of its own.
    let lines =
        options.lines().filter(|line| !line.starts_with(".SH") && !line.starts_with(".ie") && !line.starts_with(".el"));
    page.extend(lines.flat_map(|line| [line, "\n"]).flat_map(str::bytes));
}
