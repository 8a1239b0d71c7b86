use super::*;

#[test]
fn an_images_defaults_hold_where_the_boards_settings_say_nothing() {
    let directory = Directory::new();
    let text = "[worker]\ndrain_timeout_s = 30\n[isolation]\nmode = \"strict\"\n";
    let below = directory.file("image.toml", text, 0o644);
    let get = |name: &str| KEYS.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let load = |file: Option<&Path>| load_over(Written::default(), &get, file, Some(&below), BOARD).unwrap();
    let config = load(None);
    assert_eq!((config.worker.drain_timeout.as_secs(), config.isolation.mode), (30, IsolationMode::Strict));
    let own = directory.file("config.toml", "[worker]\ndrain_timeout_s = 60\n", 0o644);
    let config = load(Some(&own));
    assert_eq!((config.worker.drain_timeout.as_secs(), config.isolation.mode), (60, IsolationMode::Strict));
}

#[test]
fn a_drain_that_a_stop_does_not_wait_for_is_doubted_with_the_remedy() {
    let doubts = |text: &str| load_text(text).unwrap().doubts;
    for text in ["", "[worker]\nstop_timeout_s = 0", "[worker]\ndrain_timeout_s = 30\nstop_timeout_s = 45"] {
        assert_eq!(doubts(text), [""; 0], "{text}");
    }
    for text in ["drain_timeout_s = 35\nstop_timeout_s = 45", "stop_timeout_s = 3610"] {
        let doubts = doubts(&format!("[worker]\n{text}"));
        assert!(doubts.len() == 1 && doubts[0].starts_with("worker drain_timeout_s: 3"), "{text}: {doubts:?}");
    }
    assert!(error_of("[worker]\nstop_timeout_s = 90000").contains("worker stop_timeout_s: 90000 is not within"));
}

#[test]
fn a_wrong_value_names_the_file_that_it_is_in() {
    let directory = Directory::new();
    let wrong = directory.file("wrong.toml", "[worker]\nmax_jobs = 0\n", 0o644);
    let right = directory.file("right.toml", "[worker]\nagent_name = \"door\"\n", 0o644);
    let error = |file: &Path, below: &Path, level: &str| {
        let get = |name: &str| match name {
            "LIVEKIT_LOG_LEVEL" => Some(level.to_owned()),
            _ => KEYS.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
        };
        load_over(Written::default(), &get, Some(file), Some(below), BOARD).unwrap_err().to_string()
    };
    let expected = format!("{}: worker max_jobs: 0 is not within 1 to 256", wrong.display());
    assert_eq!(error(&wrong, &right, ""), expected);
    assert_eq!(error(&right, &wrong, ""), expected);
    assert!(error(&right, &right, "loud").starts_with("log level: \"loud\""));
}
