//! TOML text to [`Written`], with errors that name line and remedy.

use super::{Error, Written};
use std::path::Path;

/// Reads one file's text.
pub(super) fn parse(text: &str, path: &Path) -> Result<Written, Error> {
    toml::from_str(text).map_err(|error| explain(&error, text, path))
}

fn explain(error: &toml::de::Error, text: &str, path: &Path) -> Error {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.as_bytes().iter().take(start).filter(|&&byte| byte == b'\n').count() + 1;
    let path = path.to_owned();
    if let Some(message) = brackets(error.message(), text.lines().nth(line - 1).unwrap_or_default()) {
        return Error::Syntax { path, line, message };
    }
    match unknown_key(error.message()) {
        Some((key, known)) => Error::UnknownKey { path, line, hint: hint(&key, &known), key },
        None => Error::Syntax { path, line, message: in_words(error.message()) },
    }
}

/// What stands where a table belongs is not quoted: it may be a token (`board = "..."`).
fn in_words(message: &str) -> String {
    match message.strip_prefix("invalid type: ") {
        Some(rest) if rest.contains(", expected struct ") => "must be a table with keys of its own".into(),
        _ => message.replace('\n', ", "),
    }
}

/// Tables of which there may be several.
const SEVERAL: [&str; 3] = ["camera", "microphone", "speaker"];

/// Of a table that is written with one bracket where there may be several of it, or the other way round.
fn brackets(message: &str, line: &str) -> Option<String> {
    let one = line.split('#').next()?.trim().strip_prefix('[')?.strip_suffix(']')?;
    if !message.starts_with("invalid type") {
        return None;
    }
    match one.strip_prefix('[').and_then(|two| two.strip_suffix(']')) {
        Some(name) if !SEVERAL.contains(&name) => Some(format!("write [{name}], with one bracket")),
        None if SEVERAL.contains(&one) => Some(format!("write [[{one}]], with two brackets: there may be several")),
        _ => None,
    }
}

/// Key and known keys in serde's message: "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let key = quoted.next()?.to_owned();
    Some((key, quoted.map(str::to_owned).collect()))
}

fn hint(key: &str, known: &[String]) -> String {
    let nearest = known.iter().min_by_key(|candidate| distance(key, candidate));
    // `api_secret` must lead to `api_secret_file` although they are far apart.
    let near = |candidate: &&String| candidate.starts_with(key) || distance(key, candidate) <= key.len().div_ceil(3);
    match known.iter().find(|candidate| candidate.starts_with(key)).or(nearest).filter(near) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Single-byte edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
