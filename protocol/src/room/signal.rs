//! The protobuf edge: URLs, requests and what is taken from responses.

use super::{Kind, LocalTrack, Participant, RemoteTrack, Source, TrackSid};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
pub(super) use livekit_protocol as lk;
pub(super) use lk::signal_request::Message as Request;
pub(super) use lk::signal_response::Message as Response;
use prost::{DecodeError, Message};

/// LeaveRequest.action and non-error RequestResponse are understood; RoomMoved (16) is not.
const PROTOCOL_VERSION: i32 = 15;

/// Encodes one request.
pub(super) fn encode(message: Request) -> Vec<u8> {
    lk::SignalRequest { message: Some(message) }.encode_to_vec()
}

/// Decodes one response; `None` when of a kind this build does not know.
pub(super) fn decode(frame: &[u8]) -> Result<Option<Response>, DecodeError> {
    Ok(lk::SignalResponse::decode(frame)?.message)
}

/// The complete WebSocket URL that carries `join`.
pub(super) fn join_url(base: &str, join: &lk::JoinRequest) -> String {
    let wrapped = lk::WrappedJoinRequest {
        compression: lk::wrapped_join_request::Compression::None.into(),
        join_request: join.encode_to_vec(),
    };
    let base = match base.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        _ => base.to_owned(),
    };
    // What a proxy in front of the server wants to see of us stays the query's.
    let (path, own) = base.split_once('?').map_or((&*base, String::new()), |(path, own)| (path, format!("&{own}")));
    let path = path.trim_end_matches('/');
    format!("{path}/rtc/v1?join_request={}{own}", URL_SAFE.encode(wrapped.encode_to_vec()))
}

/// A join with tracks and offer, so that one round trip publishes.
pub(super) fn join_request(
    version: &str,
    auto_subscribe: bool,
    tracks: Vec<lk::AddTrackRequest>,
    offer: lk::SessionDescription,
) -> lk::JoinRequest {
    lk::JoinRequest {
        client_info: Some(client_info(version)),
        connection_settings: Some(settings(auto_subscribe)),
        add_track_requests: tracks,
        publisher_offer: Some(offer),
        ..Default::default()
    }
}

/// Resumes the session of `sid`.
pub(super) fn resume_request(version: &str, auto_subscribe: bool, sid: &str) -> lk::JoinRequest {
    lk::JoinRequest {
        client_info: Some(client_info(version)),
        connection_settings: Some(settings(auto_subscribe)),
        reconnect: true,
        reconnect_reason: lk::ReconnectReason::RrSignalDisconnected.into(),
        participant_sid: sid.to_owned(),
        ..Default::default()
    }
}

fn settings(auto_subscribe: bool) -> lk::ConnectionSettings {
    lk::ConnectionSettings { auto_subscribe, ..Default::default() }
}

/// No SDK name: the server gives the named ones exceptions that do not fit this client.
fn client_info(version: &str) -> lk::ClientInfo {
    lk::ClientInfo {
        sdk: lk::client_info::Sdk::Unknown.into(),
        version: version.to_owned(),
        protocol: PROTOCOL_VERSION,
        os: "linux".to_owned(),
        ..Default::default()
    }
}

/// An offer.
pub(super) fn offer(sdp: String, id: u32) -> lk::SessionDescription {
    lk::SessionDescription { r#type: "offer".to_owned(), sdp, id, ..Default::default() }
}

/// Announces a track under `cid`. The codec is named, and it is the only one in the offer: the server takes the first
/// of the answer for what is sent.
pub(super) fn add_track(track: &LocalTrack, cid: &str) -> lk::AddTrackRequest {
    let mut request = lk::AddTrackRequest {
        cid: cid.to_owned(),
        name: track.name.clone(),
        muted: track.muted,
        source: source_out(track.source).into(),
        ..Default::default()
    };
    match track.kind {
        Kind::Audio => {
            request.r#type = lk::TrackType::Audio.into();
            request.disable_red = true;
            if track.sound.stereo {
                request.audio_features.push(lk::AudioTrackFeature::TfStereo.into());
            }
            if !track.sound.dtx {
                request.audio_features.push(lk::AudioTrackFeature::TfNoDtx.into());
            }
        }
        Kind::Video => {
            let layer = lk::VideoLayer {
                quality: lk::VideoQuality::High.into(),
                width: track.width,
                height: track.height,
                bitrate: track.bitrate,
                ..Default::default()
            };
            request.r#type = lk::TrackType::Video.into();
            request.width = track.width;
            request.height = track.height;
            request.layers = vec![layer.clone()];
            request.simulcast_codecs = vec![lk::SimulcastCodec {
                codec: "h264".to_owned(),
                cid: cid.to_owned(),
                layers: vec![layer],
                ..Default::default()
            }];
        }
    }
    request
}

/// The Leave of a client that goes for good.
pub(super) fn leave() -> Request {
    Request::Leave(lk::LeaveRequest {
        reason: lk::DisconnectReason::ClientInitiated.into(),
        action: lk::leave_request::Action::Disconnect.into(),
        ..Default::default()
    })
}

/// Makes the server tell the others of us now. Of participants without tracks it tells every three seconds only, but of
/// changed attributes at once; deleting one that is not there changes nothing.
pub(super) fn announcement() -> Request {
    Request::UpdateMetadata(lk::UpdateParticipantMetadata {
        attributes: [("announced".to_owned(), String::new())].into(),
        ..Default::default()
    })
}

/// Our picture of a participant.
pub(super) fn participant(info: &lk::ParticipantInfo) -> Participant {
    Participant {
        sid: info.sid.clone(),
        identity: info.identity.clone(),
        name: info.name.clone(),
        metadata: info.metadata.clone(),
        attributes: info.attributes.clone().into_iter().collect(),
        agent: info.kind() == lk::participant_info::Kind::Agent,
        tracks: info.tracks.iter().filter_map(remote_track).collect(),
    }
}

fn remote_track(info: &lk::TrackInfo) -> Option<RemoteTrack> {
    let kind = match info.r#type() {
        lk::TrackType::Audio => Kind::Audio,
        lk::TrackType::Video => Kind::Video,
        lk::TrackType::Data => return None,
    };
    Some(RemoteTrack {
        sid: TrackSid(info.sid.clone()),
        name: info.name.clone(),
        kind,
        source: source_in(info.source()),
        muted: info.muted,
    })
}

/// LiveKit's name of it.
pub(crate) fn source_out(source: Source) -> lk::TrackSource {
    match source {
        Source::Camera => lk::TrackSource::Camera,
        Source::Microphone => lk::TrackSource::Microphone,
        Source::ScreenShare => lk::TrackSource::ScreenShare,
        Source::Unknown => lk::TrackSource::Unknown,
    }
}

fn source_in(source: lk::TrackSource) -> Source {
    match source {
        lk::TrackSource::Camera => Source::Camera,
        lk::TrackSource::Microphone => Source::Microphone,
        lk::TrackSource::ScreenShare => Source::ScreenShare,
        lk::TrackSource::ScreenShareAudio | lk::TrackSource::Unknown => Source::Unknown,
    }
}

/// The candidate line of a trickle message, and whether it was the last.
pub(super) fn candidate(trickle: &lk::TrickleRequest) -> Option<String> {
    let init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).ok()?;
    let line = init.get("candidate")?.as_str()?;
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_path_is_joined_to_any_base_and_keeps_its_query() {
        let url = |base: &str| {
            let url = join_url(base, &lk::JoinRequest { reconnect: true, ..Default::default() });
            let (path, query) = url.split_once("?join_request=").expect("it carries the request");
            let own = query.find('&').map_or("", |at| &query[at..]);
            assert!(!query[..query.len() - own.len()].is_empty() && !query.contains('?'), "{url}");
            format!("{path} {own}")
        };
        assert_eq!(url("ws://h:7880"), "ws://h:7880/rtc/v1 ");
        assert_eq!(url("https://h/"), "wss://h/rtc/v1 ");
        assert_eq!(url("http://h/base/"), "ws://h/base/rtc/v1 ");
        assert_eq!(url("wss://h/base/?a=b&c=d/"), "wss://h/base/rtc/v1 &a=b&c=d/");
        assert_eq!(url("ws://h?a=b"), "ws://h/rtc/v1 &a=b");
    }
}
