//! Keys, secrets and tokens.

use super::*;

#[test]
fn credentials_of_a_higher_layer_replace_other_kinds_below() {
    let directory = Directory::new();
    let token = directory.file("token", "from.a.file\n", 0o600);
    let with_token = directory.file("token.toml", &format!("[server]\ntoken_file = {token:?}"), 0o644);
    let keys = load_from(Written::default(), &KEYS, Some(&with_token)).unwrap().server.credentials;
    assert!(matches!(keys, Credentials::Key { .. }), "{keys:?}");

    let mut flags = Written::default();
    flags.server.token_file = Some(token.clone());
    let token_file = load_from(flags, &KEYS, None).unwrap().server.credentials;
    assert!(matches!(token_file, Credentials::TokenFile(path) if path == token));

    let with_key = directory.file("key.toml", "[server]\napi_key = \"devkey\"", 0o644);
    let environment = [("LIVEKIT_URL", "ws://h"), ("LIVEKIT_TOKEN", "a.b.c")];
    let token = load_from(Written::default(), &environment, Some(&with_key)).unwrap().server.credentials;
    assert!(matches!(token, Credentials::Token(_)));
}

#[test]
fn key_and_secret_may_come_from_different_layers() {
    let directory = Directory::new();
    let secret = directory.file("secret", "s3cret\n", 0o400);
    let text = format!("[server]\nurl = \"wss://h\"\napi_key = \"filekey\"\napi_secret_file = {secret:?}");
    let file = directory.file("config.toml", &text, 0o644);
    let of =
        |environment: &[_]| match load_from(Written::default(), environment, Some(&file)).unwrap().server.credentials {
            Credentials::Key { key, secret } => (key, secret.expose().to_owned()),
            other => panic!("{other:?}"),
        };
    assert_eq!(of(&[]), ("filekey".into(), "s3cret".into()));
    assert_eq!(of(&[("LIVEKIT_API_SECRET", "other")]), ("filekey".into(), "other".into()));
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let directory = Directory::new();
    for mode in [0o644, 0o640, 0o604] {
        let path = directory.file("token", "a.b.c", mode);
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
        assert!(error.ends_with(&format!("chmod 600 {}", path.display())), "{error}");
    }
    assert!(read_secret(&directory.0.join("none")).unwrap_err().to_string().contains("cannot read the secret"));
}

#[test]
fn a_secret_file_holds_one_line() {
    let directory = Directory::new();
    assert_eq!(read_secret(&directory.file("s", " a.b.c \n", 0o600)).unwrap().expose(), "a.b.c");
    for text in ["", "\n", "two words", "two\nlines", &"x".repeat(20_000)] {
        let refused = read_secret(&directory.file("s", text, 0o600)).unwrap_err();
        assert!(matches!(refused, SecretFileError::NotOneLine { .. }), "{refused}");
    }
}
