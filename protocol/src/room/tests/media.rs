use super::super::signal::lk;
use super::super::*;
use super::world::{World, camera, microphone};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn tracks_and_offer_travel_in_the_first_upgrade() {
    let world = World::live(vec![microphone(), camera()]);
    let join = &world.sfu.joins[0];
    assert_eq!(join.add_track_requests.len(), 2);
    assert!(join.publisher_offer.is_some());
    assert_eq!(world.connects, 1);
    assert_eq!(world.count(|e| matches!(e, Event::Published(..))), 2);
    for track in &join.add_track_requests {
        let offer = &join.publisher_offer.as_ref().expect("checked").sdp;
        assert!(offer.contains(&format!(" {}\r\n", track.cid)), "msid of {} in {offer}", track.cid);
    }
}

#[test]
fn stereo_and_pauses_are_announced_and_their_absence_too() {
    let announced = |stereo, dtx| {
        let world = World::live(vec![LocalTrack { sound: Sound { stereo, dtx, ..Sound::default() }, ..microphone() }]);
        let features = &world.sfu.joins[0].add_track_requests[0].audio_features;
        features.iter().filter_map(|f| lk::AudioTrackFeature::try_from(*f).ok()).collect::<Vec<_>>()
    };
    use lk::AudioTrackFeature::{TfNoDtx, TfStereo};
    assert_eq!(announced(false, false), [TfNoDtx]);
    assert_eq!(announced(true, false), [TfStereo, TfNoDtx]);
    assert_eq!(announced(true, true), [TfStereo]);
}

#[test]
fn every_offer_says_of_each_track_how_its_opus_is_encoded() {
    let sound = Sound { stereo: true, dtx: true, fec: false, packet_ms: Some(10) };
    let music = LocalTrack { id: TrackId("music".to_owned()), sound, bitrate: 96_000, ..microphone() };
    let mut world = World::live(vec![music, microphone()]);
    world.command(Command::Publish(camera()));
    world.run(SECOND);
    let offers = world.sfu.joins.iter().filter_map(|join| join.publisher_offer.as_ref());
    let again = world.sfu.requests.iter().filter_map(|request| match request {
        lk::signal_request::Message::Offer(offer) => Some(offer),
        _ => None,
    });
    let offers: Vec<_> = offers.chain(again).map(|offer| offer.sdp.as_str()).collect();
    assert_eq!(offers.len(), 2);
    for offer in offers {
        let opus: Vec<_> =
            offer.lines().filter(|line| line.starts_with("a=fmtp:111") || line.starts_with("a=ptime")).collect();
        let stereo = "a=fmtp:111 minptime=10;usedtx=1;stereo=1;sprop-stereo=1;maxaveragebitrate=96000";
        let (mono, received) =
            ("a=fmtp:111 minptime=10;maxaveragebitrate=32000", "a=fmtp:111 minptime=10;useinbandfec=1");
        assert_eq!(opus, [stereo, "a=ptime:10", mono, received]);
    }
}

#[test]
fn the_first_packet_after_a_pause_is_marked() {
    let mut world = World::live(vec![microphone()]);
    // One frame of 20 ms in each packet; between the third and the fourth it was quiet for 400 ms.
    for count in [0, 1, 2, 23, 24] {
        let frame =
            Frame { data: &[31 << 3, 7], captured: world.now, samples: count * 960, discontinuity: false, level: 0 };
        world.room.write(&microphone().id, frame, world.now);
        world.run(Duration::from_millis(if count == 2 { 420 } else { 20 }));
    }
    world.run(SECOND);
    let marked: Vec<_> = world.sfu.packets.iter().map(|p| p.marker).collect();
    assert_eq!(marked, [true, false, false, true, false]);
    let steps: Vec<_> = world.sfu.packets.windows(2).map(|p| p[1].timestamp - p[0].timestamp).collect();
    assert_eq!(steps, [960, 960, 21 * 960, 960]);
}

#[test]
fn audio_and_video_arrive_whole_in_order_with_their_clocks() {
    let mut world = World::live(vec![microphone(), camera()]);
    world.stream(2);
    world.run(SECOND);
    let opus: Vec<_> = world.sfu.packets.iter().filter(|p| p.payload == [1, 2, 3]).collect();
    assert_eq!(opus.len(), 100);
    assert!(opus[0].marker && !opus[1].marker);
    for pair in opus.windows(2) {
        assert_eq!((pair[1].sequence - pair[0].sequence, pair[1].timestamp - pair[0].timestamp), (1, 960));
    }
    let video: Vec<_> = world.sfu.packets.iter().filter(|p| p.payload.len() > 100).collect();
    let pictures: Vec<_> = video.iter().filter(|p| p.marker).collect();
    assert_eq!(pictures.len(), 50);
    assert!(video.windows(2).all(|p| p[1].sequence == p[0].sequence + 1));
    assert!(pictures.windows(2).all(|p| (3590..3620).contains(&(p[1].timestamp - p[0].timestamp))));
    assert!(video.iter().all(|p| p.payload.len() <= 1150));
}

#[test]
fn video_begins_with_a_keyframe_and_asks_for_one_until_then() {
    let mut world = World::live(vec![camera()]);
    world.video(false, 500);
    world.run(Duration::from_millis(50));
    assert!(world.saw(|e| matches!(e, Event::KeyframeNeeded(id) if id.0 == "camera")));
    world.video(true, 500);
    world.run(SECOND);
    assert_eq!(world.sfu.packets.iter().filter(|p| p.marker).count(), 1);
    assert!(world.room.stats().frames_dropped >= 1);
}

#[test]
fn a_receivers_picture_loss_reaches_the_source() {
    let mut world = World::live(vec![camera()]);
    world.stream(1);
    world.events.clear();
    let ssrc = world.sfu.packets[0].ssrc;
    world.sfu.request_keyframe(ssrc);
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::KeyframeNeeded(id) if id.0 == "camera")));
}

#[test]
fn a_capture_stamp_in_the_future_is_clamped_and_counted() {
    let mut world = World::live(vec![microphone()]);
    let captured = world.now + SECOND;
    let frame = Frame { data: &[1], captured, samples: 960, discontinuity: false, level: 0 };
    world.room.write(&microphone().id, frame, world.now);
    assert_eq!(world.room.stats().stamps_clamped, 1);
}

#[test]
fn a_picture_whose_stamp_does_not_advance_is_sent_a_tick_later_and_counted() {
    let mut world = World::live(vec![camera()]);
    let start = world.now;
    for (ms, mended) in [(0, 0), (40, 0), (40, 1), (20, 2), (80, 2), (79, 3), (120, 3)] {
        let captured = start + Duration::from_millis(ms);
        world.now = start + Duration::from_millis(200);
        let data = &[0, 0, 0, 1, 0x65, 1, 2, 3];
        world.room.write(&camera().id, Frame { data, captured, samples: 0, discontinuity: false, level: 0 }, world.now);
        assert_eq!(world.room.stats().stamps_clamped, mended, "{ms} ms");
    }
    world.run(SECOND);
    let times: Vec<_> = world.sfu.packets.iter().map(|packet| packet.timestamp).collect();
    assert_eq!(times.len(), 7);
    assert!(times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) < 90_000 && pair[1] != pair[0]), "{times:?}");
}

#[test]
fn stamps_that_jump_back_spoil_no_sender_report() {
    for track in [microphone(), camera()] {
        let rate = if track.kind == Kind::Audio { 48_000.0 } else { 90_000.0 };
        let mut world = World::live(vec![track]);
        world.stream(10);
        let before = world.sfu.packets.len();
        world.behind = 5 * SECOND;
        world.stream(10);
        let reports: Vec<_> = world.sfu.packets.iter().map(|packet| packet.report).collect();
        let (first, last) = (reports[before - 1].expect("a report"), reports[reports.len() - 1].expect("a report"));
        let between = last.0.duration_since(first.0).expect("reports are in order").as_secs_f64();
        let counted = (last.1 - first.1) as f64 / rate;
        assert!(between > 5.0 && (counted - between).abs() < 0.05, "{counted} s of RTP time in {between} s");
    }
}

#[test]
fn a_muted_track_sends_nothing_and_its_sequence_goes_on_afterwards() {
    let mut world = World::live(vec![microphone()]);
    world.stream(1);
    world.command(Command::Mute(microphone().id, true));
    world.stream(1);
    world.command(Command::Mute(microphone().id, false));
    world.stream(1);
    world.run(SECOND);
    assert_eq!(world.sfu.packets.len(), 100);
    assert!(world.sfu.packets.windows(2).all(|p| p[1].sequence == p[0].sequence + 1));
    let jump = world.sfu.packets[50].timestamp - world.sfu.packets[49].timestamp;
    assert!((48_000..50_000).contains(&jump), "RTP time goes on while muted: {jump}");
}

#[test]
fn a_restarted_source_keeps_its_rtp_time_going_forward() {
    let mut world = World::live(vec![microphone()]);
    for samples in [960_000, 960_960, 0, 960] {
        let (captured, discontinuity) = (world.now, samples == 0);
        let frame = Frame { data: &[1, 2, 3], captured, samples, discontinuity, level: 0 };
        world.room.write(&microphone().id, frame, world.now);
        world.run(Duration::from_millis(20));
    }
    world.run(SECOND);
    let times: Vec<_> = world.sfu.packets.iter().map(|p| p.timestamp - world.sfu.packets[0].timestamp).collect();
    assert_eq!(times.len(), 4);
    assert_eq!((times[1], times[3] - times[2]), (960, 960));
    assert!((1900..2100).contains(&times[2]), "{times:?}");
}

#[test]
fn a_server_mute_stops_the_source() {
    let mut world = World::live(vec![microphone()]);
    let mute = lk::MuteTrackRequest { sid: "TR_1".to_owned(), muted: true };
    world.sfu.say(lk::signal_response::Message::Mute(mute));
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::Muted(id, true) if *id == microphone().id)));
    world.stream(1);
    assert!(world.sfu.packets.is_empty());
}

#[test]
fn a_track_can_be_unpublished_and_published_again_under_a_new_cid() {
    let mut world = World::live(vec![microphone()]);
    world.command(Command::Unpublish(microphone().id));
    world.run(SECOND);
    world.command(Command::Publish(microphone()));
    world.run(SECOND);
    world.stream(1);
    world.run(SECOND);
    assert_eq!(world.count(|e| matches!(e, Event::Published(..))), 2);
    assert_eq!(world.sfu.packets.len(), 50);
    let first = &world.sfu.joins[0].add_track_requests[0].cid;
    let again = world.sfu.requests.iter().find_map(|r| match r {
        signal::Request::AddTrack(add) => Some(&add.cid),
        _ => None,
    });
    assert_ne!(again, Some(first));
}

/// Somebody who publishes one audio track.
pub fn guest(track: &str) -> lk::ParticipantInfo {
    let track = lk::TrackInfo { sid: track.to_owned(), r#type: lk::TrackType::Audio.into(), ..Default::default() };
    lk::ParticipantInfo {
        sid: "PA_guest".to_owned(),
        identity: "guest".to_owned(),
        state: lk::participant_info::State::Active.into(),
        tracks: vec![track],
        ..Default::default()
    }
}

#[test]
fn a_section_is_used_by_one_remote_track_after_the_other() {
    let mut world = World::live(vec![microphone()]);
    for round in 0..4u32 {
        let sid = format!("TR_remote{round}");
        let mut who = guest(&sid);
        who.version = round + 1;
        world.sfu.downstream = vec![sid.clone()];
        world.sfu.say(lk::signal_response::Message::Update(lk::ParticipantUpdate { participants: vec![who] }));
        let again = lk::MediaSectionsRequirement::default();
        world.sfu.say(lk::signal_response::Message::MediaSectionsRequirement(again));
        world.run(SECOND);
        for n in 0..20 {
            let now = world.now;
            world.sfu.send(&sid, 1000 + round, 111, n, &[9, 9], now);
            world.run(Duration::from_millis(20));
        }
        world.run(SECOND);
        let heard = world.count(|e| matches!(e, Event::Audio { track, .. } if track.0 == sid));
        assert_eq!(heard, 20, "round {round}, {:?}", world.events.iter().map(std::mem::discriminant).count());
    }
    assert_eq!(world.count(|e| matches!(e, Event::Subscribed { .. })), 4);
    assert_eq!(world.count(|e| matches!(e, Event::Unsubscribed(_))), 3);
}

#[test]
fn data_flows_in_order_and_what_does_not_fit_is_refused() {
    let mut world = World::live(vec![]);
    let data = |n: u32, size: usize| Data {
        payload: [&n.to_be_bytes()[..], &vec![0; size]].concat(),
        topic: "t".to_owned(),
        reliable: true,
        to: Vec::new(),
        from: String::new(),
    };
    for n in 0..200 {
        world.command(Command::Send(data(n, 1000)));
    }
    world.command(Command::Send(data(0, 60_000)));
    world.run(SECOND * 5);
    assert_eq!(world.count(|e| matches!(e, Event::DataRefused(..))), 1);
    let sequences: Vec<_> = world.sfu.data.iter().map(|d| d.sequence).collect();
    assert_eq!(sequences, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_bandwidth_limit_is_told() {
    let mut world = World::live(vec![camera()]);
    world.stream(3);
    assert!(world.saw(|e| matches!(e, Event::Bandwidth(_))));
}
