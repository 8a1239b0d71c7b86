//! Access tokens for tests, made by hand so that wrong ones can be made too and the worker's own code is not its judge.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Valid for this long unless said otherwise.
const TTL_S: i64 = 3600;

/// Claims on the way to a token.
#[derive(Clone, Debug)]
pub struct Token(Value);

impl Token {
    /// May register as a worker.
    pub fn worker() -> Self {
        Self::grant(json!({"agent": true}))
    }

    /// May join a room.
    pub fn join(room: &str, identity: &str) -> Self {
        Self::grant(json!({"roomJoin": true, "room": room})).with("sub", json!(identity))
    }

    /// May do everything with one room.
    pub fn admin(room: &str) -> Self {
        Self::grant(json!({"roomAdmin": true, "roomCreate": true, "roomList": true, "room": room}))
    }

    /// Sets a claim.
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        self.0[claim] = value;
        self
    }

    /// Valid from `from` to `to`, seconds from now.
    pub fn valid(self, from: i64, to: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs() as i64;
        self.with("nbf", json!(now + from)).with("exp", json!(now + to))
    }

    /// Signs it.
    pub fn sign(self, key: &str, secret: &str) -> String {
        let claims = self.with("iss", json!(key)).0;
        let signed =
            [json!({"alg": "HS256", "typ": "JWT"}), claims].map(|part| BASE64.encode(part.to_string())).join(".");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(tag))
    }

    fn grant(video: Value) -> Self {
        Self(json!({"video": video})).valid(-10, TTL_S)
    }
}
