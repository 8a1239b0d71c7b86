//! Tokens that the room renews, in a room that says nothing else.

use super::*;
use crate::control::{MAX_REQUESTS, token::Parts};
use futures_util::SinkExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// A job whose room's signal connection is open, and that connection.
async fn connected() -> (Supervisor, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let entrypoint = async |context: JobContext| Ok(context.connect().await?);
    let mut supervisor = Supervisor::start(WorkerOptions::new(entrypoint)).await;
    supervisor.send_body(&ToJob::Spec, &JobSpec { url: Some(format!("ws://{address}")), ..spec() });
    assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
    assert!(matches!(supervisor.next().await, FromJob::Ready));
    let stream = timeout(PATIENCE, listener.accept()).await.expect("in time").expect("the job connects").0;
    (supervisor, accept_async(stream).await.expect("a WebSocket"))
}

/// `SignalResponse` with `refresh_token` (16) alone.
fn renewed(token: &str) -> Message {
    let mut frame = vec![0x82, 0x01];
    let mut length = token.len();
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend(token.as_bytes());
    Message::Binary(frame.into())
}

impl Supervisor {
    /// The next token that is told, and in how many messages.
    async fn token(&mut self) -> (String, usize) {
        let (mut parts, mut messages) = (Parts::default(), 0);
        loop {
            messages += 1;
            let token = match self.next().await {
                FromJob::Token(token) => Some(token),
                FromJob::TokenPart { at, part, last } => parts.take(at, &part, last),
                other => panic!("{other:?} instead of a token"),
            };
            if let Some(token) = token {
                return (token.expose().to_owned(), messages);
            }
        }
    }
}

/// As an entrypoint brings about that tells its participant's attributes often.
#[tokio::test]
async fn of_200_tokens_in_a_second_the_first_and_the_last_are_told_and_fewer_than_end_a_job() {
    let (mut supervisor, mut room) = connected().await;
    let server = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for number in 1..=200 {
            pace.tick().await;
            room.send(renewed(&number.to_string())).await.expect("the job reads");
        }
        room
    });
    let mut told = Vec::new();
    while told.last().is_none_or(|token| token != "200") {
        told.push(supervisor.token().await.0);
    }
    assert_eq!(told[0], "1");
    assert!(told.len() < MAX_REQUESTS as usize / 2, "{told:?}");
    drop(server.await.expect("no panic"));
}

#[tokio::test]
async fn a_token_with_much_metadata_comes_in_parts_and_one_without_bounds_is_left_out() {
    let (mut supervisor, mut room) = connected().await;
    let long = "x".repeat(60_000);
    for token in [&long, &"y".repeat(70_000), "short"] {
        room.send(renewed(token)).await.expect("the job reads");
    }
    assert_eq!(supervisor.token().await, (long, 15));
    assert_eq!(supervisor.token().await, ("short".to_owned(), 1));
}

#[tokio::test]
async fn a_token_that_comes_just_before_the_end_is_told_before_the_process_is_gone() {
    let (mut supervisor, mut room) = connected().await;
    room.feed(renewed("first")).await.expect("the job reads");
    room.send(renewed("last")).await.expect("the job reads");
    let mut told = Vec::new();
    loop {
        match supervisor.next().await {
            FromJob::Token(token) => {
                if told.is_empty() {
                    supervisor.send(&ToJob::Terminate { reason: "drained".into(), grace_ms: 500 });
                }
                told.push(token.expose().to_owned());
            }
            FromJob::Ending(_) => supervisor.send(&ToJob::Ack),
            FromJob::Left => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["first", "last"]);
}
