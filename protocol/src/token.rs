//! LiveKit access tokens (JWT, HS256): claims, minting, and what can be told of one without its secret.

use crate::room::Source;
use crate::secret::Secret;
use crate::worker::Permissions;
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A minted token is valid from this long before `now`, and [`Claims::unfit`] forgives as much either way: the server
/// allows the same on `nbf` and `exp`, and the clock of a board is seldom better.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Register as an agents worker (`video.agent`).
    Worker,
    /// Join one room.
    Join {
        /// Room name.
        room: String,
        /// Participant identity.
        identity: String,
        /// Participant name.
        name: String,
        /// Kind AGENT.
        agent: bool,
        /// What it may do there.
        permissions: Permissions,
    },
    /// Administer one room (`roomAdmin`): dispatch, list, remove.
    Admin {
        /// Room name.
        room: String,
    },
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// API key.
    pub issuer: String,
    /// Since 1970.
    pub expires: Duration,
    /// Since 1970.
    pub not_before: Duration,
    /// `video.agent`
    pub agent: bool,
    /// `video.roomJoin`
    pub join: bool,
}

/// Why a token cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three base64url parts with JSON in them.
    #[error("token: not a JWT ({0})")]
    Malformed(&'static str),
}

/// Why the server would refuse a token that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `exp` is over.
    #[error("token: expired {} s ago; get a new one, or set this board's clock if it is wrong", .0.as_secs())]
    Expired(Duration),
    /// `nbf` is to come.
    #[error("token: valid only in {} s; this board's clock is probably behind", .0.as_secs())]
    TooEarly(Duration),
    /// It does not allow to register a worker.
    #[error("token: lacks the grant `video.agent`, so it cannot register a worker")]
    NotForWorkers,
    /// It does not allow to join a room.
    #[error("token: lacks the grant `video.roomJoin`, so it cannot join a room")]
    NotForRooms,
}

/// Makes a token valid from `now` (since 1970) less a minute, for `ttl`.
pub fn mint(key: &str, secret: &Secret, grant: &Grant, now: Duration, ttl: Duration) -> Secret {
    let payload = Payload::new(key, grant, now, ttl);
    let payload = serde_json::to_vec(&payload).expect("a struct of strings, numbers and flags has a JSON form");
    let mut token = BASE64URL.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    BASE64URL.encode_string(payload, &mut token);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()), token.as_bytes());
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    Secret::new(token)
}

/// Reads claims without checking the signature.
pub fn inspect(token: &Secret) -> Result<Claims, Error> {
    let mut parts = token.expose().trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Error::Malformed("three parts with dots between them are expected"));
    };
    let payload = BASE64URL.decode(payload).map_err(|_| Error::Malformed("the second part is not base64url"))?;
    let payload: Payload =
        serde_json::from_slice(&payload).map_err(|_| Error::Malformed("the second part holds no claims"))?;
    Ok(Claims {
        issuer: payload.iss,
        expires: numeric_date(payload.exp.ok_or(Error::Malformed("no `exp`, which the server demands"))?)?,
        not_before: numeric_date(payload.nbf.unwrap_or_default())?,
        agent: payload.video.agent,
        join: payload.video.room_join,
    })
}

impl Claims {
    /// Why it cannot register a worker at `now` (since 1970).
    pub fn unfit_for_worker(&self, now: Duration) -> Option<Unfit> {
        if self.agent { self.unfit(now) } else { Some(Unfit::NotForWorkers) }
    }

    /// Why it cannot join a room at `now` (since 1970).
    pub fn unfit_for_room(&self, now: Duration) -> Option<Unfit> {
        if self.join { self.unfit(now) } else { Some(Unfit::NotForRooms) }
    }

    /// Why nothing at all can be done with it at `now` (since 1970).
    pub fn unfit(&self, now: Duration) -> Option<Unfit> {
        if now > self.expires.saturating_add(LEEWAY) {
            return Some(Unfit::Expired(now - self.expires));
        }
        (now.saturating_add(LEEWAY) < self.not_before).then(|| Unfit::TooEarly(self.not_before - now))
    }
}

/// NumericDate of RFC 7519: seconds, perhaps with a fraction.
fn numeric_date(seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds).map_err(|_| Error::Malformed("a date out of range"))
}

#[derive(Default, Serialize, Deserialize)]
struct Payload {
    #[serde(default)]
    iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sub: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(serialize_with = "whole_seconds")]
    nbf: Option<f64>,
    #[serde(serialize_with = "whole_seconds")]
    exp: Option<f64>,
    #[serde(default)]
    video: Video,
}

/// The server's `video` claim; publish and subscribe rights default to true when absent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Video {
    #[serde(skip_serializing_if = "is_false")]
    agent: bool,
    #[serde(skip_serializing_if = "is_false")]
    room_join: bool,
    #[serde(skip_serializing_if = "is_false")]
    room_admin: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    room: String,
    #[serde(skip_serializing_if = "is_false")]
    can_update_own_metadata: bool,
    #[serde(skip_serializing_if = "is_true", skip_deserializing)]
    can_publish: bool,
    #[serde(skip_serializing_if = "is_true", skip_deserializing)]
    can_subscribe: bool,
    #[serde(skip_serializing_if = "is_true", skip_deserializing)]
    can_publish_data: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    can_publish_sources: Vec<Source>,
    #[serde(skip_serializing_if = "is_false", skip_deserializing)]
    hidden: bool,
}

impl Default for Video {
    fn default() -> Self {
        Self {
            agent: false,
            room_join: false,
            room_admin: false,
            room: String::new(),
            can_update_own_metadata: false,
            can_publish: true,
            can_subscribe: true,
            can_publish_data: true,
            can_publish_sources: Vec::new(),
            hidden: false,
        }
    }
}

impl Payload {
    fn new(key: &str, grant: &Grant, now: Duration, ttl: Duration) -> Self {
        let mut payload = Self {
            iss: key.to_owned(),
            nbf: Some(now.saturating_sub(LEEWAY).as_secs_f64()),
            exp: Some(now.saturating_add(ttl).as_secs_f64()),
            ..Self::default()
        };
        match grant {
            Grant::Worker => payload.video.agent = true,
            Grant::Join { room, identity, name, agent, permissions } => {
                payload.sub.clone_from(identity);
                payload.name.clone_from(name);
                payload.kind = if *agent { "agent".to_owned() } else { String::new() };
                payload.video = Video {
                    agent: *agent,
                    room_join: true,
                    room: room.clone(),
                    can_update_own_metadata: permissions.update_metadata,
                    can_publish: permissions.publish,
                    can_subscribe: permissions.subscribe,
                    can_publish_data: permissions.publish_data,
                    can_publish_sources: permissions.sources.clone(),
                    hidden: permissions.hidden,
                    ..Video::default()
                };
            }
            Grant::Admin { room } => {
                payload.video = Video { room_admin: true, room: room.clone(), ..Video::default() };
            }
        }
        payload
    }
}

/// The server reads dates as whole numbers.
fn whole_seconds<S: serde::Serializer>(date: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(date.unwrap_or_default() as u64)
}

fn is_true(flag: &bool) -> bool {
    *flag
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests;
