use super::*;
use hal::audio::SampleFormat;
use hal::video::{Identity, Usb};
use std::time::Duration;

fn camera() -> Camera {
    let mode = |format, width, height, milli_fps| Mode { format, width, height, milli_fps };
    let usb = Usb { vendor: 0x46d, product: 0x825, serial: Some("A1".into()), port: "1-1.2".into(), interface: 0 };
    Camera {
        path: "/dev/video0".into(),
        card: "HD Cam".into(),
        driver: "uvcvideo".into(),
        bus: "usb-1.2".into(),
        identity: Identity { usb: Some(usb), ..Identity::default() },
        obstacle: None,
        controls: vec![ControlState { name: "gain".into(), value: Some(7), range: "0 to 100".into() }],
        modes: vec![
            mode(PixelFormat::Yuyv, 640, 480, 15_000),
            mode(PixelFormat::Yuyv, 640, 480, 30_000),
            mode(PixelFormat::Mjpeg, 1920, 1080, 30_000),
            mode(PixelFormat::Mjpeg, 1280, 720, 29_970),
        ],
    }
}

fn encoder() -> Encoder {
    let (card, driver) = ("bcm2835-codec-encode".into(), "bcm2835-codec".into());
    let (inputs, outputs) = (vec!["YU12".into(), "NV12".into()], vec!["H264".into()]);
    Encoder { path: "/dev/video11".into(), card, driver, inputs, outputs }
}

fn card() -> (Option<Result<Offer, String>>, Card) {
    let usb = hal::audio::Usb { vendor: "046d".into(), product: "0825".into(), serial: None, port: "1-1.2".into() };
    let card = Card {
        name: "hw:CARD=Mic,DEV=0".into(),
        description: "USB Mic".into(),
        id: "Mic".into(),
        card: "USB Mic".into(),
        usb: Some(usb),
        number: 1,
        by_path: Some("/dev/snd/by-path/platform-usb-0:1.2:1.0".into()),
        capture: true,
        playback: false,
    };
    let formats = vec![SampleFormat::S16, SampleFormat::S24Packed];
    (Some(Ok(Offer { formats, rates: vec![44_100, 48_000], channels: (1, 2) })), card)
}

#[test]
fn the_table_names_devices_as_the_configuration_takes_them() {
    let expected = "/dev/video0  HD Cam  (uvcvideo, usb-1.2)\n    \
                    device usb:046d:0825:A1  or  usb-port:1-1.2  or  card:HD Cam\n    \
                    MJPEG  1920x1080@30  1280x720@29.97\n    \
                    YUYV   640x480@30\n    \
                    controls (--json tells what they take) gain\n\
                    /dev/video11  encoder bcm2835-codec-encode  (bcm2835-codec)\n    \
                    YU12, NV12 -> H264\n\
                    auto takes /dev/video0, the first that gives pictures by itself\n\
                    encoder = \"auto\" encodes pictures in hardware, as /dev/video11 (bcm2835-codec) gives H.264 of \
                    YU12, NV12\n";
    assert_eq!(video_table(&[camera()], &[encoder()]), expected);
    let expected = "hw:CARD=Mic,DEV=0  USB Mic  (capture)\n    usb:046d:0825  usb-port:1-1.2  \
                    path:/dev/snd/by-path/platform-usb-0:1.2:1.0  card:Mic\n    \
                    S16_LE S24_3LE  44100 48000 Hz  1 to 2 ch\n\
                    auto of a microphone takes hw:CARD=Mic,DEV=0, the first that captures and is no digital connector\n\
                    auto of a speaker takes nothing, as no sound card plays\n";
    assert_eq!(sound_table(&[card()]), expected);
}

#[test]
fn a_camera_that_encodes_is_said_to_be_passed_through() {
    let mut camera = camera();
    assert!(!video_table(std::slice::from_ref(&camera), &[]).contains("passed through"));
    camera.modes.push(Mode { format: PixelFormat::H264, width: 1280, height: 720, milli_fps: 30_000 });
    let table = video_table(&[camera], &[]);
    assert!(table.contains("H264   1280x720@30\n") && table.contains("gives H.264: passed through"), "{table}");
}

fn attic() -> Device {
    let command = vec!["rpicam-vid".into(), "-n".into()];
    let device = CameraDevice::Pipe { command, latency_offset: Duration::from_millis(40) };
    Device { name: "attic".into(), kind: DeviceKind::Camera(config::Camera { device, ..config::Camera::default() }) }
}

#[test]
fn a_configured_command_is_listed_with_what_its_stamps_are() {
    let expected = "pipe  attic  (rpicam-vid -n)\n    \
                    H264 as it is written; stamped with the time of its first byte less 40 ms\n";
    assert_eq!(pipe_table(&pipes(&[attic()])), expected);
}

#[test]
fn an_empty_board_says_what_may_be_missing() {
    let video = video_table(&[], &[]);
    assert!(video.contains("group `video`"));
    let auto = "auto takes the test pattern, as no camera is connected\n\
                encoder = \"auto\" encodes pictures in software, as no encoder here gives H.264\n";
    assert!(video.ends_with(auto), "{video}");
    let sound = sound_table(&[]);
    assert!(sound.contains("group `audio`"), "{sound}");
    let auto = "auto of a microphone takes the tone, as no sound card captures\n\
                auto of a speaker takes nothing, as no sound card plays\n";
    assert!(sound.ends_with(auto), "{sound}");
}

/// A display's sound, and a card that another program has.
fn others() -> [(Option<Result<Offer, String>>, Card); 2] {
    let (_, mic) = card();
    let named =
        |name: &str, description: &str| Card { name: name.into(), description: description.into(), ..mic.clone() };
    let display = Card { capture: false, playback: true, ..named("hw:CARD=vc4hdmi,DEV=0", "vc4-hdmi") };
    [(None, display), (Some(Err("hw:CARD=Mic2,DEV=0: in use".into())), named("hw:CARD=Mic2,DEV=0", "Mic 2"))]
}

#[test]
fn text_and_json_say_the_same_of_what_is_left_to_choose_and_of_what_stands_in_the_way() {
    let sensor = Camera { obstacle: Some("its sensor is set up by libcamera"), ..camera() };
    let cases = [(vec![camera()], vec![card()]), (vec![sensor], others().to_vec()), (Vec::new(), Vec::new())];
    for (cameras, cards) in cases {
        let text = video_table(&cameras, &[]) + &sound_table(&cards);
        let json = to_json(&cameras, &[], &[], &cards);
        for why in ["auto_why", "auto_microphone_why", "auto_speaker_why"] {
            let why = json[why].as_str().expect(why);
            assert!(text.contains(why), "{why:?} is not in\n{text}");
        }
        for obstacle in
            ["cameras", "sound_cards"].map(|list| &json[list]).into_iter().flat_map(|list| list.as_array().unwrap())
        {
            let obstacle = obstacle["obstacle"].as_str().unwrap_or("");
            assert!(
                text.contains(&format!("    {obstacle}")) || text.contains(&format!("by auto, as {obstacle}")),
                "{text}"
            );
        }
    }
    let (cameras, cards) = ([Camera { obstacle: Some("it turns"), ..camera() }], others());
    let text = video_table(&cameras, &[]) + &sound_table(&cards);
    assert!(text.contains("    not taken by auto, as it turns\n"), "{text}");
    assert!(text.contains("auto takes the test pattern, as no camera that works by itself"), "{text}");
    assert!(text.contains("auto of a speaker takes nothing, as no sound card plays but displays"), "{text}");
    assert_eq!(to_json(&cameras, &[], &[], &cards)["sound_cards"][1]["obstacle"], "hw:CARD=Mic2,DEV=0: in use");
}

#[test]
fn json_has_every_mode() {
    let value = to_json(&[camera()], &pipes(&[attic()]), &[encoder()], &[card()]);
    assert_eq!(value["cameras"][0]["modes"][3], json!({"format":"MJPEG","width":1280,"height":720,"fps":29.97}));
    assert_eq!(value["cameras"][0]["names"][0], "usb:046d:0825:A1");
    assert_eq!(value["cameras"][0]["controls"][0], json!({"name":"gain","value":7,"takes":"0 to 100"}));
    assert_eq!(value["pipes"][0]["latency_offset_ms"], 40);
    assert_eq!(value["auto"], "/dev/video0");
    assert_eq!(value["encoders"][0]["outputs"], json!(["H264"]));
    assert!(value["encoders"][0]["quirks"][0].as_str().is_some_and(|why| why.contains("level 4.0")));
    assert_eq!(value["auto_encoder"]["encoder"], "hardware");
    assert_eq!((&value["auto_microphone"], &value["auto_speaker"]), (&json!("hw:CARD=Mic,DEV=0"), &Value::Null));
    assert_eq!(value["sound_cards"][0]["device"], "hw:CARD=Mic,DEV=0");
    assert_eq!(value["sound_cards"][0]["identities"][1], "usb-port:1-1.2");
    assert_eq!(value["sound_cards"][0]["formats"], json!(["S16_LE", "S24_3LE"]));
}
