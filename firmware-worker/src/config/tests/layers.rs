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
