use super::super::signal::{Request, lk};
use super::super::*;
use super::media::guest;
use super::world::{World, camera, microphone};
use crate::clock::Clocks;
use lk::leave_request::Action;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn rejoined(e: &Event) -> bool {
    matches!(e, Event::Rejoining(_))
}

fn resumed(e: &Event) -> bool {
    matches!(e, Event::Resumed)
}

#[test]
fn checks_that_come_before_the_answer_do_not_delay_the_nomination() {
    let mut world = World::new(vec![microphone()]);
    world.sfu.checks = true;
    world.slow_signal = SECOND;
    let begin = world.now;
    world.run(SECOND * 3);
    // The answer takes 1005 ms. Three checks of the SFU wait for it, one a turn; our own takes 10 ms there and back.
    let took = world.nominated.expect("a nomination") - begin;
    assert!(took <= Duration::from_millis(1035), "{took:?}");
}

#[test]
fn a_lost_signal_socket_is_resumed_while_media_go_on() {
    let mut world = World::live(vec![microphone()]);
    world.stream(1);
    world.drop_signal();
    world.stream(1);
    world.run(SECOND);
    assert_eq!((world.count(resumed), world.count(rejoined)), (1, 0));
    assert_eq!(world.sfu.packets.len(), 100);
    let resume = &world.sfu.joins[1];
    assert_eq!((resume.reconnect, resume.participant_sid.as_str()), (true, "PA_1"));
    let states = world.sfu.requests.iter().filter_map(|r| match r {
        Request::SyncState(state) => Some(state),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].publish_tracks[0].track.as_ref().map(|t| t.sid.as_str()), Some("TR_1"));
    assert!(states[0].offer.is_some() && states[0].answer.is_some());
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::Offer(_))), 1, "a resume offers again");
}

#[test]
fn the_newest_token_is_used_for_a_resume() {
    let mut world = World::live(vec![]);
    world.room.signal_closed(SignalError::Closed, world.now);
    let token = std::iter::from_fn(|| world.room.poll()).find_map(|o| match o {
        Output::Connect { token, .. } => Some(token),
        _ => None,
    });
    assert_eq!(token.as_ref().map(|t| t.expose()), Some("token-1"));
}

#[test]
fn requests_made_while_the_signal_is_away_are_sent_after_the_resume() {
    let mut world = World::live(vec![microphone()]);
    world.down = true;
    world.drop_signal();
    world.command(Command::Mute(microphone().id, true));
    world.run(SECOND);
    world.down = false;
    world.run(SECOND * 4);
    assert_eq!(world.count(resumed), 1);
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::Mute(m) if m.muted && m.sid == "TR_1")), 1);
}

#[test]
fn tracks_published_during_a_resume_are_announced_before_they_are_offered() {
    let mut world = World::live(vec![]);
    world.down = true;
    world.drop_signal();
    world.command(Command::Publish(camera()));
    world.run(SECOND);
    world.down = false;
    while world.sfu.sent(|r| matches!(r, Request::SyncState(_))) == 0 {
        world.run(Duration::from_millis(1));
    }
    world.command(Command::Publish(microphone()));
    world.run(SECOND * 2);
    assert_eq!((world.count(resumed), world.count(|e| matches!(e, Event::Published(..)))), (1, 2));
    let requests = &world.sfu.requests;
    let announced: Vec<_> = requests
        .iter()
        .enumerate()
        .filter_map(|(at, request)| match request {
            Request::AddTrack(track) => Some((at, track.cid.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(announced.len(), 2);
    for (at, cid) in announced {
        let offered = requests.iter().position(|r| matches!(r, Request::Offer(offer) if offer.sdp.contains(cid)));
        assert!(offered.is_some_and(|offered| at < offered), "{cid}: {requests:?}");
    }
}

#[test]
fn a_refused_resume_becomes_a_rejoin_that_publishes_once() {
    let mut world = World::live(vec![microphone(), camera()]);
    world.sfu.refuse_resume = true;
    world.drop_signal();
    world.run(SECOND * 2);
    assert_eq!((world.count(resumed), world.count(rejoined)), (0, 1));
    assert_eq!(world.sfu.sessions, 2);
    assert_eq!(world.sfu.joins[2].add_track_requests.len(), 2);
    assert_eq!(world.count(|e| matches!(e, Event::Published(..))), 4);
    assert_eq!(world.count(|e| matches!(e, Event::Connected)), 2);
    world.sfu.packets.clear();
    world.stream(1);
    world.run(SECOND);
    assert_eq!(world.sfu.packets.iter().filter(|p| p.payload == [1, 2, 3]).count(), 50);
    assert_eq!(world.room.stats().rejoins, 1);
}

#[test]
fn the_rejoin_is_told_before_its_socket_is_asked_for() {
    let mut world = World::live(vec![]);
    world.room.command(Command::Reconnect { full: true }, world.now);
    let outputs: Vec<_> = std::iter::from_fn(|| world.room.poll()).collect();
    let told = outputs.iter().position(|o| matches!(o, Output::Event(Event::Rejoining(_))));
    let asked = outputs.iter().position(|o| matches!(o, Output::Connect { .. }));
    assert!(told.is_some() && told < asked, "{outputs:?}");
}

#[test]
fn dead_media_give_the_signal_up_and_come_back_by_an_ice_restart() {
    let mut world = World::live(vec![microphone()]);
    world.cut = true;
    world.run(SECOND * 5);
    assert_eq!(world.sfu.joins.len(), 2, "the signal is given up within 4 s of silence");
    world.cut = false;
    world.run(SECOND * 6);
    assert_eq!((world.count(resumed), world.count(rejoined)), (1, 0));
    world.sfu.packets.clear();
    world.stream(1);
    world.run(SECOND);
    assert_eq!(world.sfu.packets.len(), 50);
}

#[test]
fn tcp_is_tried_with_a_candidate_that_only_the_answer_of_a_resume_holds() {
    let mut world = World::live(vec![microphone()]);
    world.sfu.candidate = Some("candidate:9 1 tcp 1671430143 10.0.0.1 7881 typ host tcptype passive".to_owned());
    world.cut = true;
    world.run(SECOND * 6);
    assert_eq!(world.streams, ["10.0.0.1:7881".parse().expect("literal")]);
}

#[test]
fn media_that_stay_dead_after_a_resume_lead_to_a_rejoin() {
    let mut world = World::live(vec![microphone()]);
    world.cut = true;
    world.run(SECOND * 13);
    assert_eq!((world.count(resumed), world.count(rejoined)), (0, 1));
    world.cut = false;
    world.run(SECOND * 20);
    assert_eq!(world.count(|e| matches!(e, Event::Connected)), 2);
}

#[test]
fn a_server_that_is_away_is_tried_until_it_is_back_and_joined_within_three_seconds() {
    let mut world = World::live(vec![microphone()]);
    world.down = true;
    world.cut = true;
    world.sfu.refuse_resume = true;
    world.drop_signal();
    world.run(SECOND * 60);
    (world.down, world.cut) = (false, false);
    world.events.clear();
    world.run(SECOND * 3);
    assert!(world.saw(|e| matches!(e, Event::Connected)), "{:?}", world.events);
    assert_eq!(world.end(), None);
}

#[test]
fn a_server_that_never_comes_back_ends_the_room() {
    let mut world = World::live(vec![]);
    world.down = true;
    world.cut = true;
    world.drop_signal();
    world.run(SECOND * 300);
    assert!(matches!(world.end(), Some(End::Unreachable(_))), "{:?}", world.end());
    assert_eq!(world.room.deadline(), None, "nothing is left to do");
}

#[test]
fn the_leave_decides_even_when_the_peer_connection_closes_first() {
    let mut world = World::live(vec![]);
    world.run(SECOND);
    world.sfu.close();
    world.run(Duration::from_millis(300));
    assert_eq!(world.count(rejoined), 0, "the Leave is waited for");
    world.sfu.leave(Action::Disconnect, "DUPLICATE_IDENTITY");
    world.run(SECOND * 3);
    assert_eq!(world.end(), Some(&End::DuplicateIdentity));
    assert_eq!(world.sfu.joins.len(), 1);
}

#[test]
fn a_closed_peer_connection_without_a_leave_is_a_rejoin() {
    let mut world = World::live(vec![]);
    world.sfu.close();
    world.run(SECOND * 3);
    assert_eq!((world.count(rejoined), world.end()), (1, None));
}

#[test]
fn each_disconnect_ends_the_room_for_its_reason_and_a_server_shutdown_does_not() {
    let cases = [
        ("ROOM_DELETED", Some(End::RoomClosed)),
        ("PARTICIPANT_REMOVED", Some(End::Removed)),
        ("USER_REJECTED", Some(End::Other("USER_REJECTED".to_owned()))),
        ("SERVER_SHUTDOWN", None),
    ];
    for (reason, end) in cases {
        let mut world = World::live(vec![]);
        world.sfu.leave(Action::Disconnect, reason);
        world.run(SECOND * 2);
        assert_eq!(world.end(), end.as_ref(), "{reason}");
        assert_eq!(world.count(rejoined), usize::from(end.is_none()), "{reason}");
    }
}

#[test]
fn a_refused_token_ends_the_room_in_plain_words_at_once() {
    let mut world = World::new(vec![]);
    world.room.signal_closed(SignalError::Refused { status: 401, clocks: None }, world.now);
    world.run(SECOND);
    assert!(matches!(world.end(), Some(End::Refused(why)) if why.contains("token")), "{:?}", world.end());
}

#[test]
fn a_refused_token_of_a_board_whose_clock_is_off_is_explained_by_it() {
    let mut world = World::new(vec![]);
    let clocks = Clocks::at(Duration::from_secs(1_700_000_000), "Wed, 25 Nov 2026 16:23:03 GMT");
    world.room.signal_closed(SignalError::Refused { status: 401, clocks }, world.now);
    world.run(SECOND);
    assert!(matches!(world.end(), Some(End::Refused(why)) if why.contains("3 years behind")), "{:?}", world.end());
}

#[test]
fn a_room_that_does_not_exist_at_the_first_join_is_an_error() {
    let mut world = World::new(vec![]);
    world.deleted = true;
    world.run(SECOND);
    assert!(matches!(world.end(), Some(End::Refused(why)) if why.contains("does not exist")), "{:?}", world.end());
}

#[test]
fn leaving_says_goodbye_before_the_end() {
    let mut world = World::live(vec![]);
    world.room.command(Command::Leave { within: SECOND }, world.now);
    let outputs: Vec<_> = std::iter::from_fn(|| world.room.poll()).collect();
    let leave = outputs.iter().position(|o| matches!(o, Output::Signal(_)));
    let end = outputs.iter().position(|o| matches!(o, Output::Event(Event::Ended(End::Left))));
    assert!(leave.is_some() && leave < end, "{outputs:?}");
}

#[test]
fn leaving_while_the_signal_is_away_waits_for_it() {
    let mut world = World::live(vec![]);
    world.down = true;
    world.drop_signal();
    world.command(Command::Leave { within: Duration::ZERO });
    assert_eq!(world.end(), None);
    world.down = false;
    world.run(SECOND * 2);
    assert_eq!(world.end(), Some(&End::Left));
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::Leave(_))), 1);
}

#[test]
fn a_silent_signal_socket_is_replaced() {
    let mut world = World::live(vec![]);
    world.sfu.silent = true;
    world.mute_signal();
    world.run(SECOND * 17);
    assert!(world.saw(|e| matches!(e, Event::Resuming(_))));
}

#[test]
fn who_left_during_a_resume_is_told() {
    let mut world = World::new(vec![]);
    world.sfu.others = vec![guest("TR_g")];
    world.run(SECOND);
    world.drop_signal();
    world.run(SECOND);
    let me = lk::ParticipantInfo { sid: "PA_1".to_owned(), ..Default::default() };
    world.sfu.say(lk::signal_response::Message::Update(lk::ParticipantUpdate { participants: vec![me] }));
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::ParticipantLeft(p) if p.identity == "guest")));
}

#[test]
fn only_tracks_that_are_still_there_are_named_in_a_resume_and_a_rejoin() {
    let mut world = World::new(vec![]);
    world.sfu.others = vec![guest("TR_stays")];
    world.run(SECOND * 3);
    let other =
        |state, track: &str| lk::ParticipantInfo { sid: "PA_2nd".to_owned(), state, version: 1, ..guest(track) };
    let update = |who| lk::signal_response::Message::Update(lk::ParticipantUpdate { participants: vec![who] });
    for n in 0..20 {
        let sid = format!("TR_{n}");
        world.sfu.say(update(other(lk::participant_info::State::Active.into(), &sid)));
        world.run(SECOND / 10);
        world.command(Command::Subscribe(TrackSid(sid.clone()), false));
        world.sfu.say(update(other(lk::participant_info::State::Disconnected.into(), &sid)));
        world.run(SECOND / 10);
    }
    world.command(Command::Subscribe(TrackSid("TR_stays".to_owned()), false));
    world.drop_signal();
    world.run(SECOND * 2);
    let named = world.sfu.requests.iter().find_map(|r| match r {
        Request::SyncState(state) => Some(state.subscription.clone().unwrap_or_default().track_sids),
        _ => None,
    });
    assert_eq!(named, Some(vec!["TR_stays".to_owned()]));
    for expected in [vec![vec!["TR_stays".to_owned()]], vec![]] {
        world.sfu.requests.clear();
        world.command(Command::Reconnect { full: true });
        world.run(SECOND * 3);
        let named = world.sfu.requests.iter().filter_map(|r| match r {
            Request::Subscription(update) => Some(update.track_sids.clone()),
            _ => None,
        });
        assert_eq!(named.collect::<Vec<_>>(), expected);
        world.sfu.others.clear();
    }
}

#[test]
fn a_resume_into_the_session_of_a_successor_ends_the_room_and_leaves_the_successor_alone() {
    let mut world = World::live(vec![]);
    world.drop_signal();
    world.run(SECOND);
    let successor = lk::ParticipantInfo { sid: "PA_9".to_owned(), identity: "board".to_owned(), ..Default::default() };
    world.sfu.say(lk::signal_response::Message::Update(lk::ParticipantUpdate { participants: vec![successor] }));
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::Ended(End::DuplicateIdentity))));
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::Leave(_))), 0, "a Leave would be the successor's");
}
