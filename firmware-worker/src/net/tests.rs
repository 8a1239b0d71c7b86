use super::*;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn connect(address: SocketAddr) -> Result<WebSocket, ConnectError> {
    let url = format!("ws://{address}/agent?access_token=hidden");
    WebSocket::connect(&url, &Secret::new("token-hidden"), &[address], &Tls::new("").unwrap()).await
}

/// Reads the request's head, answers with `response`, returns the head.
async fn answer_with(listener: TcpListener, response: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn frames_travel_both_ways_and_pings_are_answered_inside() {
    let (listener, address) = listener().await;
    let server = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        socket.send(Message::Ping("p".into())).await.unwrap();
        socket.send(Message::Text("ignored".into())).await.unwrap();
        socket.send(Message::Binary(vec![1, 2, 3].into())).await.unwrap();
        let (mut pong, mut binary) = (false, None);
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Pong(bytes) => pong = bytes.as_ref() == b"p",
                Message::Binary(bytes) => binary = Some(bytes.to_vec()),
                Message::Close(frame) => assert_eq!(frame.unwrap().code, CloseCode::Normal),
                _ => {}
            }
        }
        (pong, binary)
    };
    let client = async {
        let mut socket = connect(address).await.unwrap();
        assert_eq!(socket.receive().await.unwrap().unwrap(), [1, 2, 3]);
        socket.send(vec![9]).await.unwrap();
        socket.close().await;
    };
    let ((pong, binary), ()) = tokio::join!(server, client);
    assert!(pong);
    assert_eq!(binary, Some(vec![9]));
}

#[tokio::test]
async fn the_token_travels_in_the_header_and_a_refusal_tells_status_and_retry_after_but_not_the_body() {
    let (listener, address) = listener().await;
    let response = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 12\r\n\r\ntoken-hidden";
    let (head, result) = tokio::join!(answer_with(listener, response), connect(address));
    assert!(head.to_ascii_lowercase().contains("authorization: bearer token-hidden\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("user-agent"), "{head}");
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { status: 503, retry_after: Some(d), .. } if d.as_secs() == 7));
    assert!(!format!("{error} {error:?}").contains("hidden"), "{error:?}");
}

#[tokio::test]
async fn the_date_of_a_refusal_shows_how_far_our_clock_is_off() {
    let (listener, address) = listener().await;
    let response = "HTTP/1.1 401 No\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    let (_, result) = tokio::join!(answer_with(listener, response), connect(address));
    let Err(ConnectError::Refused { status: 401, clocks: Some(clocks), .. }) = result else { panic!("{result:?}") };
    let complaint = clocks.complaint().expect("decades");
    assert!(complaint.contains("years ahead of the server's (1994-11-06 08:49:37 UTC)"), "{complaint}");
}

#[tokio::test]
async fn a_dead_address_costs_only_its_turn() {
    let (dead, dead_address) = listener().await;
    drop(dead);
    let (listener, address) = listener().await;
    let server = async { accept_async(listener.accept().await.unwrap().0).await.map(drop) };
    let tls = Tls::new("").unwrap();
    let url = format!("ws://{address}/");
    let token = Secret::new("t");
    let addresses = [dead_address, address];
    let (client, _) = tokio::join!(WebSocket::connect(&url, &token, &addresses, &tls), server);
    assert!(client.is_ok(), "{client:?}");
}

#[tokio::test]
async fn failures_name_the_address_and_never_the_query() {
    let (listener, address) = listener().await;
    drop(listener);
    let error = connect(address).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && !error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_with_an_error() {
    let (listener, address) = listener().await;
    let server = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        let _ = socket.send(Message::Binary(vec![0; MAX_MESSAGE + 1].into())).await;
    };
    let client = async { connect(address).await.unwrap().receive().await };
    let (result, ()) = tokio::join!(client, server);
    assert!(result.unwrap().is_err());
}

#[tokio::test]
async fn tls_against_a_plain_server_says_so() {
    let (listener, address) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        stream
    };
    let url = format!("wss://{address}/");
    let token = Secret::new("t");
    let tls = Tls::new("").unwrap();
    let addresses = [address];
    let (result, _) = tokio::join!(WebSocket::connect(&url, &token, &addresses, &tls), server);
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("does not speak TLS") && text.contains("wants a login"), "{text}");
}
