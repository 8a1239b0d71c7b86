//! The settings that lie on the boot partition of an image.

use super::*;

const TEMPLATE: &str = include_str!("../../../../images/firmware-worker.toml");

/// The board as these settings make it.
fn board(text: &str) -> Result<Config, Error> {
    check(parse(text, Path::new("firmware-worker.toml"))?, &|_| None, BOARD)
}

#[test]
fn untouched_settings_are_a_file_without_credentials() {
    let error = board(TEMPLATE).unwrap_err().to_string();
    assert!(error.starts_with("no credentials: ") && error.contains("`token` under [board]"), "{error}");
}

#[test]
fn every_line_of_the_settings_that_is_meant_to_be_filled_in_is_a_key_that_is_known() {
    let meant =
        |line: &str| line.starts_with("#[") || line.strip_prefix('#').is_some_and(|rest| !rest.starts_with(' '));
    let lines = TEMPLATE.lines().map(|line| if meant(line) { &line[1..] } else { line });
    let text = lines.collect::<Vec<_>>().join("\n").replace("AAAA...", "AAAAC3Nz");
    let written = parse(&text, Path::new("firmware-worker.toml")).unwrap();
    for (table, of) in [("[board]", "BoardWritten"), ("[wifi]", "WifiWritten")] {
        let source = include_str!("../board.rs").lines().skip_while(|line| *line != format!("pub struct {of} {{"));
        let keys =
            source.take_while(|line| *line != "}").filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
        let shown = text.lines().skip_while(|line| *line != table).skip(1);
        let shown: Vec<_> = shown.take_while(|line| !line.starts_with('[')).collect();
        for (key, _) in keys {
            assert!(shown.iter().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not shown in {table}");
        }
    }
    // What excludes each other is left to choose.
    let choose = |text: &str| text.replace("open = true\n", "").replace("token = \"...\"\n", "");
    let config = board(&choose(&text).replace("password = \"...\"", "password = \"long enough\"")).unwrap();
    let (wired, wifi) = (config.board.wired.unwrap(), config.board.wifi.unwrap());
    assert_eq!((wired.address.1, wifi.country.as_str(), config.board.ssh_keys.len()), (24, "DE", 1));
    assert!(written.wifi.is_some_and(|wifi| wifi.open == Some(true)) && config.devices.len() == 2);
}
