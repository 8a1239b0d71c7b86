//! The bearer token of each connection: minted, or read again, so that a renewed file counts at the next attempt.

use crate::config::{Credentials, read_secret};
use crate::net::certificates;
use protocol::secret::Secret;
use protocol::token::{self, Grant, Unfit};
use protocol::worker::LinkError;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lifetime of a minted worker token. It is checked at the upgrade alone; a long one forgives a clock that is behind.
const WORKER_TTL: Duration = Duration::from_secs(6 * 3600);

/// 2025-01-01. No build of this worker is older, so an earlier time is a clock that was never set.
const CLOCK_SET_AFTER: Duration = Duration::from_secs(1_735_689_600);

/// The wall clock since 1970. Only tokens and displays need it.
pub(super) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A token to register with, or why there is none. What a clock that is behind stands against is told apart: it is set within
/// seconds of the network coming up.
pub(super) fn worker_token(credentials: &Credentials, now: Duration) -> Result<Secret, LinkError> {
    let ready = match credentials {
        Credentials::Key { key, secret } => {
            return match now {
                now if now < CLOCK_SET_AFTER => Err(LinkError::Clock(UNSET_CLOCK.into())),
                now => Ok(token::mint(key, secret, &Grant::Worker, now, WORKER_TTL)),
            };
        }
        Credentials::Token(token) => token.clone(),
        Credentials::TokenFile(path) => read_secret(path).map_err(|e| LinkError::Credentials(e.to_string()))?,
    };
    check(&ready, now)?;
    Ok(ready)
}

const UNSET_CLOCK: &str = "this board's clock is not set (before 2025), so no token of ours would be accepted; \
                           waiting for the time (NTP or a clock chip)";

/// Says locally what the server would answer with a bare 401. With an unset clock only the server can judge.
fn check(token: &Secret, now: Duration) -> Result<(), LinkError> {
    let claims = token::inspect(token).map_err(|e| LinkError::Credentials(e.to_string()))?;
    if now < CLOCK_SET_AFTER {
        return Ok(());
    }
    match claims.unfit_for_worker(now) {
        Some(unfit @ Unfit::TooEarly(_)) => Err(LinkError::Clock(unfit.to_string())),
        Some(unfit @ (Unfit::Expired(_) | Unfit::NotForWorkers | Unfit::NotForRooms)) => {
            Err(LinkError::Credentials(unfit.to_string()))
        }
        None => Ok(()),
    }
}

/// Certificates to trust beside the built-in roots; empty for none.
pub(super) fn extra_certificates(path: Option<&Path>) -> Result<String, String> {
    let Some(path) = path else { return Ok(String::new()) };
    certificates(path).map_err(|e| format!("certificates {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn minted(grant: &Grant, at: Duration) -> Secret {
        token::mint("key", &Secret::new("secret"), grant, at, Duration::from_secs(600))
    }

    fn reason(result: Result<Secret, LinkError>) -> String {
        match result.unwrap_err() {
            LinkError::Credentials(why) | LinkError::Clock(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn key_and_secret_mint_a_worker_token_that_forgives_a_slow_clock() {
        let credentials = Credentials::Key { key: "key".into(), secret: Secret::new("secret") };
        let claims = token::inspect(&worker_token(&credentials, NOW).unwrap()).unwrap();
        assert!(claims.agent && claims.issuer == "key");
        assert_eq!(claims.unfit_for_worker(NOW + Duration::from_secs(5 * 3600)), None);
    }

    #[test]
    fn an_unset_clock_mints_nothing_and_only_the_server_judges_a_ready_token_then() {
        let credentials = Credentials::Key { key: "key".into(), secret: Secret::new("secret") };
        let result = worker_token(&credentials, Duration::from_secs(5));
        assert!(matches!(&result, Err(LinkError::Clock(why)) if why.contains("not set")), "{result:?}");
        let ready = Credentials::Token(minted(&Grant::Worker, NOW));
        assert!(worker_token(&ready, Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn a_token_from_this_clocks_future_waits_for_the_clock() {
        let ready = Credentials::Token(minted(&Grant::Worker, NOW));
        let result = worker_token(&ready, NOW - Duration::from_secs(86_400));
        assert!(
            matches!(&result, Err(LinkError::Clock(why)) if why.contains("clock is probably behind")),
            "{result:?}"
        );
    }

    #[test]
    fn an_expired_token_and_one_without_the_grant_are_named_locally() {
        let expired = Credentials::Token(minted(&Grant::Worker, NOW - Duration::from_secs(3600)));
        assert!(reason(worker_token(&expired, NOW)).contains("expired"));
        let admin = Credentials::Token(minted(&Grant::Admin { room: "r".into() }, NOW));
        assert!(reason(worker_token(&admin, NOW)).contains("video.agent"));
    }

    #[test]
    fn a_token_file_is_read_again_each_time_and_named_when_missing() {
        let path = std::env::temp_dir().join(format!("fw-token-{}", std::process::id()));
        let credentials = Credentials::TokenFile(path.clone());
        assert!(reason(worker_token(&credentials, NOW)).contains(&path.display().to_string()));
        let token = minted(&Grant::Worker, NOW);
        std::fs::write(&path, format!("{}\n", token.expose())).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(reason(worker_token(&credentials, NOW)).contains("chmod 600"), "others could read it");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(worker_token(&credentials, NOW).unwrap(), token);
        std::fs::remove_file(&path).unwrap();
    }
}
