//! Cameras, microphones and speakers.

use super::*;

#[test]
fn a_device_of_one_kind_alone_means_no_default_of_the_other() {
    let kinds = |text| load_text(text).unwrap().devices.len();
    assert_eq!(kinds("[[camera]]\ndevice = \"test-pattern\""), 1);
    assert_eq!(kinds("camera = []"), 0);
}

#[test]
fn a_speaker_is_there_if_it_is_written_and_takes_its_volume_in_percent_or_db() {
    let speaker = |text| match load_text(text).unwrap().devices.pop().unwrap() {
        Device { name, kind: DeviceKind::Speaker(speaker) } => (name, speaker),
        other => panic!("{other:?}"),
    };
    assert_eq!(load_text("").unwrap().devices.len(), 2);
    let (name, default) = speaker("[[speaker]]");
    assert_eq!((name.as_str(), default), ("speaker", Speaker::default()));
    let (_, percent) =
        speaker("[[speaker]]\ndevice = \"hw:1,0\"\nchannels = 1\nvolume = \"70 %\"\nmute = true\nwarm = true");
    let device = SpeakerDevice::Card("hw:1,0".into());
    assert_eq!(percent, Speaker { device, channels: 1, volume: Some(Volume::Percent(70)), mute: true, warm: true });
    assert_eq!(speaker("[[speaker]]\nvolume = \"-12.5dB\"").1.volume, Some(Volume::Decibel(-12.5)));
}

#[test]
fn the_default_bitrate_follows_the_pixels_a_second() {
    let config = load_text("[[camera]]\nwidth = 640\nheight = 360\nfps = 15").unwrap();
    assert!(matches!(&config.devices[0].kind, DeviceKind::Camera(camera) if camera.bitrate == 250_000));
}

#[test]
fn half_a_turn_is_both_flips_and_controls_keep_their_kinds() {
    let text = "[[camera]]\nrotate = 180\nhflip = true\n[camera.controls]\ngain = 3\nauto = true\nline = \"50 Hz\"";
    let config = load_text(text).unwrap();
    let DeviceKind::Camera(camera) = &config.devices[0].kind else { panic!("{config:?}") };
    assert_eq!((camera.hflip, camera.vflip), (false, true));
    let (number, text) = (ControlValue::Number, |text: &str| ControlValue::Text(text.into()));
    let expected = [("auto", number(1)), ("gain", number(3)), ("line", text("50 Hz"))];
    assert_eq!(camera.controls, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn what_is_passed_through_is_neither_converted_nor_mirrored() {
    let refused = |text: &str| load_text(&format!("[[camera]]\n{text}")).unwrap_err().to_string();
    let why = refused("encoder = \"passthrough\"\nformat = \"mjpeg\"");
    assert!(why.contains("camera \"camera\" format") && why.contains("leave it out"), "{why}");
    for turn in ["hflip = true", "vflip = true", "rotate = 180"] {
        let why = refused(&format!("device = \"pipe\"\ncommand = [\"rpicam-vid\"]\n{turn}"));
        assert!(why.contains("hflip, vflip, rotate") && why.contains("rpicam-vid --hflip"), "{why}");
    }
}

#[test]
fn every_key_of_a_microphone_is_meant_as_written() {
    let config = load_text(
        "[[microphone]]\ndevice = \"usb:046D:0825:A1\"\nchannels = 2\ninput_channels = [3, 4]\nvolume = \"12 dB\"\n\
         mute = true\nframe_ms = 10\ndtx = true\nfec = false\ncomplexity = 9\napplication = \"lowdelay\"",
    );
    let expected = Microphone {
        device: MicrophoneDevice::Card("usb:046d:0825:A1".into()),
        warm: false,
        channels: 2,
        input_channels: vec![3, 4],
        volume: Some(Volume::Decibel(12.0)),
        mute: true,
        bitrate: 96_000,
        frame_ms: 10,
        dtx: true,
        fec: false,
        complexity: 9,
        application: OpusApplication::LowDelay,
    };
    assert_eq!(config.unwrap().devices[0].kind, DeviceKind::Microphone(expected));
    let stereo = load_text("[[microphone]]\nchannels = 2").unwrap();
    assert!(matches!(&stereo.devices[0].kind, DeviceKind::Microphone(m) if m.application == OpusApplication::Audio));
}

#[test]
fn there_is_a_user_for_each_child_or_fewer_jobs_are_taken() {
    let text = |jobs: u32| format!("[worker]\nmax_jobs = {jobs}\n[isolation]\nuids = \"2000-2019\"\n");
    assert_eq!(load_text(&text(17)).unwrap().doubts, [""; 0]);
    let fewer = load_text(&text(18)).unwrap();
    let doubt = "isolation uids: 20 users are too few for 18 jobs and 2 devices, which need 21; 17 at a time are taken";
    assert_eq!((fewer.worker.max_jobs, fewer.doubts), (17, vec![doubt.to_owned()]));
}
