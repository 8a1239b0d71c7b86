mod board;
mod day;
mod hangs;

use super::*;
use crate::config::{Microphone, MicrophoneDevice};
use crate::device::tests::log::Log;
use std::os::fd::AsFd;
use std::time::Duration;

/// An owner of a tone, and its supervisor's end.
async fn start() -> (Owner, Link) {
    let microphone = Microphone { device: MicrophoneDevice::Tone, ..Microphone::default() };
    start_with(Device { name: "microphone".into(), kind: DeviceKind::Microphone(microphone) }).await
}

/// An owner, and its supervisor's end, which has been greeted.
async fn start_with(device: Device) -> (Owner, Link) {
    let (ours, theirs) = Socket::pair().unwrap();
    let mut supervisor = Link::new(ours).unwrap();
    let body = hal::process::sealed_memfd("setup", &postcard::to_stdvec(&device).unwrap()).unwrap();
    supervisor.send(&ToOwner::Setup, &[body.as_fd()]).unwrap();
    let owner = Owner::start(theirs).await.unwrap();
    assert!(matches!(supervisor.receive().await.unwrap().0, FromOwner::Hello { .. }));
    (owner, supervisor)
}

fn act(owner: &mut Owner) {
    while let Some(action) = owner.policy.poll() {
        owner.act(action);
    }
}

#[tokio::test]
async fn a_busy_device_is_told_with_who_holds_it_and_not_before_that_is_known() {
    let (mut owner, mut supervisor) = start().await;
    owner.handle(Input::Demand(ReaderId(1), wish(Demand::Armed)));
    act(&mut owner);
    owner.device_event(Event::Lost(Failure::Busy("hw:CARD=Mic,DEV=0".into())));
    act(&mut owner);
    let (asked, _) = supervisor.receive::<FromOwner>().await.unwrap();
    assert!(matches!(&asked, FromOwner::WhoHolds { device } if device == "hw:CARD=Mic,DEV=0"), "{asked:?}");
    assert_eq!(owner.policy.state(), State::Closed);
    let answer = || ToOwner::Holder { who: "in use by arecord (pid 812)".into() };
    owner.supervised(answer(), Vec::new());
    act(&mut owner);
    let expected = "hw:CARD=Mic,DEV=0: in use by arecord (pid 812)";
    let (told, _) = supervisor.receive::<FromOwner>().await.unwrap();
    assert!(matches!(&told, FromOwner::State(OwnerState::Lost(why)) if why == expected), "{told:?}");
    // Nobody asked again.
    owner.supervised(answer(), Vec::new());
    assert_eq!(owner.policy.poll(), None);
}

#[tokio::test]
async fn what_is_opened_after_a_slow_close_has_its_whole_time_to_open() {
    /// What a driver takes over a close.
    const SLOW: Duration = Duration::from_millis(300);
    let (mut owner, _supervisor) = start().await;
    owner.handle(Input::Demand(ReaderId(1), wish(Demand::Armed)));
    act(&mut owner);
    let slow = Pipeline::launch("slow", |wanted, _| {
        while !wanted.stop() {
            std::thread::park();
        }
        // The stimulus.
        std::thread::sleep(SLOW);
        Ok::<(), String>(())
    });
    owner.started(slow);
    let began = owner.now;
    owner.replace("a sound card has appeared");
    act(&mut owner);
    assert!(owner.pipeline.is_some(), "it was opened");
    assert!(owner.heartbeat.deadline() >= began + SLOW + policy::OPEN_LIMIT, "{:?}", owner.heartbeat);
}

#[tokio::test]
async fn what_a_devices_thread_has_no_time_to_log_is_logged_even_when_the_device_is_closed() {
    let (mut owner, _supervisor) = start().await;
    let log = Log::default();
    let speaks = |what: &'static str| {
        Pipeline::launch("speaks", move |_, events| {
            events.tell(Event::Warned(what.into()));
            Ok::<(), String>(())
        })
    };
    owner.started(speaks("hw:0: a gap"));
    let event = next_event(&mut owner.pipeline).await;
    log.of(|| owner.device_event(event));
    owner.started(speaks("hw:0: another gap"));
    log.of(|| owner.lost("unplugged"));
    let lines = log.lines("WARN");
    assert!(
        lines.len() == 2 && lines[0].ends_with(" hw:0: a gap") && lines[1].ends_with(" hw:0: another gap"),
        "{lines:?}"
    );
}
