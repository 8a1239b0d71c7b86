use super::*;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Gives each connection the next of these answers and hangs up; what was asked comes back in the end.
async fn serve(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            asked.push(String::from_utf8(head).unwrap());
            // Whoever has heard enough hangs up.
            let _ = stream.write_all(&answer).await;
        }
        asked
    });
    (address, serving)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

async fn open(url: &str) -> Result<Download, DownloadError> {
    Download::open(url, Tls::new("").unwrap()).await
}

async fn refusal(head: &str) -> String {
    let (address, _serving) = serve(vec![answer(head, b"")]).await;
    open(&format!("http://{address}/x?token=hidden")).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_link_that_breaks_off_is_taken_up_where_it_broke() {
    let body: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
    let whole = "200 OK\r\nContent-Length: 1000\r\nETag: \"v1\"";
    let rest = "206 Partial Content\r\nContent-Length: 600\r\nContent-Range: bytes 400-999/1000\r\nETag: \"v1\"";
    let (address, serving) = serve(vec![answer(whole, &body[..400]), answer(rest, &body[400..])]).await;
    let mut download = open(&format!("http://{address}/a/b.fwu?x=1")).await.unwrap();
    assert_eq!(download.length(), 1000);
    let mut read = [0; 1000];
    let (first, second) = read.split_at_mut(300);
    download.fill(first).await.unwrap();
    download.fill(second).await.unwrap();
    assert_eq!(read[..], body);
    assert!(matches!(download.fill(&mut [0]).await, Err(DownloadError::Ended { length: 1000, .. })));
    let asked = serving.await.unwrap();
    assert!(asked[0].starts_with("GET /a/b.fwu?x=1 HTTP/1.1\r\n") && !asked[0].contains("Range"), "{}", asked[0]);
    assert!(asked[1].contains("Range: bytes=400-\r\n") && asked[1].contains("If-Range: \"v1\"\r\n"), "{}", asked[1]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_all_again_and_one_with_another_file_is_found_out() {
    let whole = "200 OK\r\nContent-Length: 6";
    let (address, _serving) = serve(vec![answer(whole, b"abc"), answer(whole, b"abcdef")]).await;
    let mut download = open(&format!("http://{address}/")).await.unwrap();
    let mut read = [0; 6];
    download.fill(&mut read).await.unwrap();
    assert_eq!(&read, b"abcdef");
    let other = answer("200 OK\r\nContent-Length: 7", b"ghijklm");
    let (address, _serving) = serve(vec![answer(whole, b"abc"), other]).await;
    let mut download = open(&format!("http://{address}/")).await.unwrap();
    let why = download.fill(&mut read).await.unwrap_err().to_string();
    assert!(why.contains("changed while it was fetched"), "{why}");
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_a_busy_server_is_asked_again() {
    let moved = answer("302 Found\r\nLocation: /there?key=hidden", b"");
    let busy = answer("503 Busy\r\nContent-Length: 0", b"");
    let whole = answer("200 OK\r\nContent-Length: 2", b"ok");
    let (address, serving) = serve(vec![moved.clone(), busy, moved, whole]).await;
    let mut download = open(&format!("http://{address}/here")).await.unwrap();
    let mut read = [0; 2];
    download.fill(&mut read).await.unwrap();
    assert_eq!(&read, b"ok");
    let asked = serving.await.unwrap();
    let places: Vec<_> = asked.iter().map(|head| head.split(' ').nth(1).unwrap()).collect();
    assert_eq!(places, ["/here", "/there?key=hidden", "/here", "/there?key=hidden"]);
    let (address, _serving) = serve(vec![answer("302 Found\r\nLocation: /", b""); 9]).await;
    let why = open(&format!("http://{address}/")).await.unwrap_err().to_string();
    assert!(why.contains("more than 5 redirects"), "{why}");
}

#[tokio::test]
async fn a_link_that_breaks_off_is_taken_up_where_a_redirect_that_has_expired_began() {
    let moved = |to: &str| answer(&format!("302 Found\r\nLocation: {to}"), b"");
    let rest = "206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/6";
    let answers = vec![
        moved("/signed?until=12:00"),
        answer("200 OK\r\nContent-Length: 6", b"ab"),
        moved("/signed?until=12:05"),
        answer(rest, b"cdef"),
    ];
    let (address, serving) = serve(answers).await;
    let mut download = open(&format!("http://{address}/release")).await.unwrap();
    let mut read = [0; 6];
    download.fill(&mut read).await.unwrap();
    assert_eq!(&read, b"abcdef");
    let asked = serving.await.unwrap();
    let places: Vec<_> = asked.iter().map(|head| head.split(' ').nth(1).unwrap()).collect();
    assert_eq!(places, ["/release", "/signed?until=12:00", "/release", "/signed?until=12:05"]);
    assert!(asked[3].contains("Range: bytes=2-\r\n"), "{}", asked[3]);
}

#[tokio::test]
async fn what_no_second_try_would_mend_is_refused_at_once_and_without_the_query() {
    for (head, words) in [
        ("404 Not Found", "HTTP 404"),
        ("200 OK\r\nTransfer-Encoding: chunked", "does not say how long"),
        ("301 Moved", "redirect to nowhere"),
        ("302 Found\r\nLocation: ftp://x/", "ftp"),
    ] {
        let why = refusal(head).await;
        assert!(why.contains(words) && why.contains("/x") && !why.contains("hidden"), "{why}");
    }
    let why = open("http://u:hid^den@h/x").await.unwrap_err().to_string();
    assert!(why.starts_with("http://***@h/x: ") && !why.contains("hid"), "{why}");
    let why = open("http:///x").await.unwrap_err().to_string();
    assert!(why.contains("URL") || why.contains("host"), "{why}");
}

#[tokio::test]
async fn what_is_not_http_is_no_download() {
    let (address, _serving) = serve(vec![b"SSH-2.0-x\r\n\r\n".to_vec()]).await;
    let mut download = Download {
        first: format!("http://{address}/"),
        url: format!("http://{address}/"),
        tls: Tls::new("").unwrap(),
        body: None,
        length: None,
        etag: None,
        position: 0,
        backoff: Backoff::new(RETRY.0, RETRY.1),
    };
    assert!(matches!(download.attempt().await, Try::Failed(why) if why.contains("not HTTP")));
}
