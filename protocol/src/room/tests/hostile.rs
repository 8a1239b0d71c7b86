//! Whatever the server sends, the machine neither panics nor hangs.

use super::super::signal::{Response, lk};
use super::super::*;
use super::world::{World, camera, microphone};
use proptest::prelude::*;
use prost::Message;
use std::time::Duration;

fn message(response: Response) -> Vec<u8> {
    lk::SignalResponse { message: Some(response) }.encode_to_vec()
}

fn feed(frames: &[Vec<u8>]) {
    let mut world = World::live(vec![microphone(), camera()]);
    let source = world.sfu.address;
    for frame in frames {
        world.room.signal_message(frame, world.now);
        let local = "10.0.0.2:5000".parse().expect("literal");
        world.room.packet(Proto::Udp, source, local, frame, world.now);
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_secs(3));
}

#[test]
fn an_answer_that_is_not_sdp_leads_to_a_rejoin() {
    let mut world = World::live(vec![]);
    world.command(Command::Publish(microphone()));
    let answer = lk::SessionDescription { sdp: "v=0\r\nnonsense".to_owned(), id: 0, ..Default::default() };
    world.room.signal_message(&message(Response::Answer(answer)), world.now);
    world.run(Duration::from_secs(1));
    assert!(world.saw(|e| matches!(e, Event::Rejoining(_))));
}

#[test]
fn a_requirement_for_four_billion_sections_is_bounded() {
    let mut world = World::live(vec![]);
    let r = lk::MediaSectionsRequirement { num_audios: u32::MAX, num_videos: u32::MAX };
    world.room.signal_message(&message(Response::MediaSectionsRequirement(r)), world.now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.end(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn arbitrary_bytes_change_nothing(frames in proptest::collection::vec(any::<Vec<u8>>(), 1..20)) {
        feed(&frames);
    }

    #[test]
    fn known_messages_with_arbitrary_content_are_survived(
        sid in ".{0,20}", text in ".{0,80}", number in any::<i32>(), count in any::<u32>(),
    ) {
        let mids = std::collections::HashMap::from([(text.clone(), sid.clone()), (sid.clone(), text.clone())]);
        let candidate_init = format!("{{\"candidate\":\"candidate:1 1 {text} 1 {sid} {count} typ host\"}}");
        let participant = lk::ParticipantInfo { sid: sid.clone(), state: number, version: count, ..Default::default() };
        let track = lk::TrackInfo { sid: sid.clone(), r#type: number, ..Default::default() };
        feed(&[
            message(Response::Answer(lk::SessionDescription {
                sdp: text.clone(), id: count, mid_to_track_id: mids, ..Default::default()
            })),
            message(Response::Trickle(lk::TrickleRequest { candidate_init, target: number, r#final: true })),
            message(Response::Update(lk::ParticipantUpdate { participants: vec![participant] })),
            message(Response::TrackPublished(lk::TrackPublishedResponse { cid: text.clone(), track: Some(track) })),
            message(Response::Mute(lk::MuteTrackRequest { sid: sid.clone(), muted: true })),
            message(Response::PongResp(lk::Pong { last_ping_timestamp: i64::MIN, timestamp: i64::MAX })),
            message(Response::MediaSectionsRequirement(lk::MediaSectionsRequirement {
                num_audios: count % 5, num_videos: count % 3,
            })),
            message(Response::Join(lk::JoinResponse::default())),
            message(Response::Reconnect(lk::ReconnectResponse::default())),
            message(Response::Leave(lk::LeaveRequest { action: number, reason: number, ..Default::default() })),
        ]);
    }
}
