//! A string that must never reach a log: neither its `Debug` nor an error of reading it shows anything of it.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;

/// A token, key or secret. `Debug` prints `***`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value so that it cannot be printed by accident.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Formats that know their types may refuse others by themselves, quoting them, when one is asked for.
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(Text),
            false => deserializer.deserialize_string(Text),
        }
    }
}

/// Takes a text. Without an answer of its own to each other type, serde's error would quote what stands there: a password of
/// digits that was written without quotes is a number.
struct Text;

/// Answers to values of these types.
macro_rules! refuse {
    ($($visit:ident: $value:ty),*) => {
        $(fn $visit<E: de::Error>(self, _: $value) -> Result<Secret, E> {
            Err(no_text())
        })*
    };
}

impl<'de> Visitor<'de> for Text {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret(text))
    }

    refuse!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64);
    refuse!(visit_char: char, visit_bytes: &[u8]);

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(no_text())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(no_text())
    }
}

fn no_text<E: de::Error>() -> E {
    E::custom("a secret must be a text in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }
    #[test]
    fn a_text_is_read_and_written_as_it_is() {
        let secret: Secret = serde_json::from_str(r#""hunter\n2""#).unwrap();
        assert_eq!(
            (secret.expose(), serde_json::to_string(&secret).unwrap().as_str()),
            ("hunter\n2", r#""hunter\n2""#)
        );
    }

    #[test]
    fn what_is_no_text_is_refused_and_not_quoted() {
        let refusal = |json: &str| serde_json::from_str::<Secret>(json).unwrap_err().to_string();
        let numbers = [
            Secret::deserialize(IntoDeserializer::<Error>::into_deserializer(4711_i128)),
            Secret::deserialize(IntoDeserializer::<Error>::into_deserializer(4711_u128)),
            Secret::deserialize(IntoDeserializer::<Error>::into_deserializer(&b"4711"[..])),
        ];
        let numbers = numbers.map(|number| number.unwrap_err().to_string());
        for error in ["4711", "-4711", "47.11", "[4711]", r#"{"a": 4711}"#, "true"].map(refusal).iter().chain(&numbers)
        {
            assert!(error.starts_with("a secret must be a text in quotes"), "{error}");
        }
    }
}
