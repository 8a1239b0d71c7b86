use super::*;

/// 2026-11-24, any will do.
const NOW: Duration = Duration::from_secs(1_795_478_400);
const HOUR: Duration = Duration::from_secs(3600);

fn minted(grant: &Grant) -> Secret {
    mint("devkey", &Secret::new("secret"), grant, NOW, HOUR)
}

fn payload(token: &Secret) -> serde_json::Value {
    let part = token.expose().split('.').nth(1).expect("three parts");
    serde_json::from_slice(&BASE64URL.decode(part).expect("base64url")).expect("JSON")
}

fn with_payload(payload: &str) -> Secret {
    Secret::new(format!("e30.{}.c2ln", BASE64URL.encode(payload)))
}

#[test]
fn a_worker_token_says_agent_and_when_it_is_valid_in_whole_seconds() {
    let expected = serde_json::json!({
        "iss": "devkey", "nbf": 1_795_478_340u64, "exp": 1_795_482_000u64, "video": { "agent": true }
    });
    assert_eq!(payload(&minted(&Grant::Worker)), expected);
}

#[test]
fn a_join_token_names_room_and_participant() {
    let grant = Grant::Join {
        room: "hall".to_owned(),
        identity: "cam-1".to_owned(),
        name: "Front door".to_owned(),
        agent: true,
        permissions: Permissions::default(),
    };
    let claims = payload(&minted(&grant));
    assert_eq!(
        (&claims["sub"], &claims["name"], &claims["kind"]),
        (&"cam-1".into(), &"Front door".into(), &"agent".into())
    );
    let video = serde_json::json!({ "agent": true, "roomJoin": true, "room": "hall", "canUpdateOwnMetadata": true });
    assert_eq!(claims["video"], video);
}

#[test]
fn a_join_token_allows_what_jobs_may_do() {
    let permissions = Permissions {
        subscribe: false,
        publish: true,
        sources: vec![Source::Camera, Source::ScreenShare],
        publish_data: false,
        update_metadata: false,
        hidden: true,
    };
    let (room, identity) = ("hall".to_owned(), "cam-1".to_owned());
    let grant = Grant::Join { room, name: identity.clone(), identity, agent: true, permissions };
    let video = serde_json::json!({
        "agent": true, "roomJoin": true, "room": "hall", "canSubscribe": false, "canPublishData": false,
        "canPublishSources": ["camera", "screen_share"], "hidden": true
    });
    assert_eq!(payload(&minted(&grant))["video"], video);
}

#[test]
fn an_admin_token_administers_one_room() {
    let claims = payload(&minted(&Grant::Admin { room: "hall".to_owned() }));
    assert_eq!(claims["video"], serde_json::json!({ "roomAdmin": true, "room": "hall" }));
}

#[test]
fn the_signature_is_the_one_other_implementations_compute() {
    // Computed with Python's hmac and hashlib over the first two parts.
    let token = minted(&Grant::Worker);
    let signature = token.expose().rsplit('.').next().expect("three parts");
    assert_eq!(signature, "bwYr0BOecshyT6CQGRWsxzH04q2X98Gwe-W2xJa1BXI");
}

#[test]
fn claims_are_read_back() {
    let claims = inspect(&minted(&Grant::Worker)).expect("well-formed");
    assert_eq!((claims.issuer.as_str(), claims.agent, claims.join), ("devkey", true, false));
    assert_eq!((claims.not_before, claims.expires), (NOW - LEEWAY, NOW + HOUR));
}

#[test]
fn a_token_with_fractions_unknown_claims_and_a_newline_behind_it_is_read() {
    let token = with_payload(
        r#"{"exp": 12.5, "sip": {"call": true}, "video": {"roomJoin": true, "x": [1],
                                "canPublish": null, "canPublishSources": ["camera", "a_new_one"]}}"#,
    );
    let claims = inspect(&Secret::new(format!("{}\n", token.expose()))).expect("well-formed");
    assert_eq!(claims.expires, Duration::from_millis(12_500));
    assert!(claims.join && !claims.agent);
}

#[test]
fn what_is_no_token_is_refused() {
    for bad in ["", "a.b", "a.b.c.d", "a.!.c", "a.e30.c"] {
        assert!(inspect(&Secret::new(bad)).is_err(), "{bad}");
    }
    for bad in ["[]", "{}", r#"{"exp": -1}"#, r#"{"exp": 1e300}"#, r#"{"exp": "soon"}"#, r#"{"exp": 1, "nbf": -5}"#] {
        assert!(inspect(&with_payload(bad)).is_err(), "{bad}");
    }
}

#[test]
fn an_unfit_token_is_told_before_the_server_is_asked() {
    let worker = inspect(&minted(&Grant::Worker)).expect("well-formed");
    assert_eq!(worker.unfit_for_worker(NOW), None);
    assert_eq!(worker.unfit_for_worker(NOW + HOUR + LEEWAY), None);
    assert_eq!(
        worker.unfit_for_worker(NOW + HOUR + LEEWAY * 2),
        Some(Unfit::Expired(LEEWAY * 2)),
        "the leeway is the server's"
    );
    assert_eq!(worker.unfit_for_worker(Duration::ZERO), Some(Unfit::TooEarly(NOW - LEEWAY)));
    assert_eq!(worker.unfit_for_room(NOW), Some(Unfit::NotForRooms));
    let admin = inspect(&minted(&Grant::Admin { room: "hall".to_owned() })).expect("well-formed");
    assert_eq!(admin.unfit_for_worker(NOW), Some(Unfit::NotForWorkers));
}
