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

#[test]
fn a_secret_that_is_written_wrong_is_not_quoted() {
    for key in ["[wifi]\npassword", "[board]\ntoken", "[board]\napi_secret"] {
        for value in
            ["47114711", "-47114711", "0x2cd_e9b7", "4711.4711", "4711-11-04", "true", "[\"4711\"]", "{ a = \"4711\" }"]
        {
            let error = error_of(&format!("{key} = {value}"));
            assert_eq!(error, "config.toml:2: a secret must be a text in quotes", "{value}");
        }
        let error = error_of(&format!("{key} = x4711"));
        assert!(error.starts_with("config.toml:2: ") && !error.contains("4711"), "{error}");
    }
    for table in ["wifi", "board", "server"] {
        assert_eq!(error_of(&format!("{table} = \"4711\"")), "config.toml:1: must be a table with keys of its own");
    }
    let odd = error_of("[board]\ntoken = \"47 11\"");
    assert!(odd.starts_with("board token: holds a space") && !odd.contains("11"), "{odd}");
    let short = error_of("[wifi]\ncountry = \"DE\"\nssid = \"x\"\npassword = \"4711\"");
    assert!(short.starts_with("wifi password: is not 8 to 63") && !short.contains("4711"), "{short}");
}

#[test]
fn a_secret_that_stands_where_its_file_belongs_is_not_quoted() {
    for secret in ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(), "s3cret/with+slash".into(), "x".repeat(400)] {
        let refused = read_secret(Path::new(&secret)).unwrap_err().to_string();
        let told = refused.contains("not the secret itself") || refused.contains("a token is given");
        assert!(told && !refused.contains(&secret), "{refused}");
    }
}

#[test]
fn a_secret_that_may_not_be_read_is_told_with_what_to_do() {
    let source = std::io::ErrorKind::PermissionDenied.into();
    let refused = SecretFileError::Read { path: "token".into(), source }.to_string();
    assert!(refused.ends_with("; run this as its owner or with sudo"), "{refused}");
}

#[test]
fn a_relative_path_in_a_file_starts_at_the_file() {
    let directory = Directory::new();
    let token = directory.file("token", "from.a.file\n", 0o600);
    let file = directory.file("token.toml", "[server]\nurl = \"wss://h\"\ntoken_file = \"token\"", 0o644);
    let credentials = load_from(Written::default(), &[], Some(&file)).unwrap().server.credentials;
    assert_eq!(credentials, Credentials::TokenFile(token));
}

#[test]
fn a_token_in_the_place_of_its_file_is_refused_and_not_repeated() {
    use protocol::token::{Grant, mint};
    let token =
        mint("key", &Secret::new("s".repeat(32)), &Grant::Worker, Duration::from_secs(1), Duration::from_secs(1));
    let directory = Directory::new();
    let text = format!("[server]\nurl = \"ws://h\"\ntoken_file = {:?}\n", token.expose());
    let error = load_from(Written::default(), &[], Some(&directory.file("c.toml", &text, 0o600))).unwrap_err();
    assert!(error.to_string().contains("LIVEKIT_TOKEN"), "{error}");
    assert!(!format!("{error} {error:?}").contains(token.expose()), "{error}");
}
