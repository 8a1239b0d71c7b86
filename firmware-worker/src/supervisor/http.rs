//! HTTP/1.1 for operators: `/` is alive, `/ready` is registered, `/worker` and `/jobs` as JSON, `/metrics` for
//! Prometheus.
//!
//! Meant for loopback or a trusted network: there is no authentication, and nothing here changes anything. One request
//! a connection; everything is bounded.

use super::peers::{Whose, whose};
use super::report::Report;
use super::{Event, Events};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Connections at a time; more wait in the kernel's backlog.
const CONNECTIONS: usize = 8;

/// Bytes of a request's head: a browser sends about 1 KiB.
const MAX_HEAD: usize = 4096;

/// For a whole request and its answer, so that an idle client cannot keep a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves on `address` for as long as the runtime lives; not to our `jobs`' users: what they run is no operator. A worker whose port is taken still works.
pub(super) async fn serve(address: SocketAddr, jobs: RangeInclusive<u32>, events: Events) {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let local = listener.local_addr().unwrap_or(address);
            info!("serving /, /ready, /worker, /jobs and /metrics on http://{local}");
            tokio::spawn(accept(listener, jobs, events));
        }
        Err(e) => warn!("no HTTP for operators: {address}: {e}"),
    }
}

async fn accept(listener: TcpListener, jobs: RangeInclusive<u32>, events: Events) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (events, jobs) = (events.clone(), jobs.clone());
                tokio::spawn(async move {
                    match timeout(PATIENCE, serve_one(stream, peer, &jobs, &events)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => debug!("operator's request: {e}"),
                        Err(_) => debug!("operator's request: not within {} s", PATIENCE.as_secs()),
                    }
                    drop(place);
                });
            }
            // Out of descriptors, most likely: give others the time to close some.
            Err(e) => {
                warn!("HTTP: accept: {e}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    jobs: &RangeInclusive<u32>,
    events: &Events,
) -> std::io::Result<()> {
    let local = stream.local_addr()?;
    // Off the loop: somebody who connects again and again must not make it read long tables.
    let whose = tokio::task::spawn_blocking(move || whose(peer, local)).await.unwrap_or(Whose::Unknown);
    answer(stream, is_told(whose, jobs), events).await
}

/// A job is told nothing, nor is anybody who may be one.
fn is_told(whose: Whose, jobs: &RangeInclusive<u32>) -> bool {
    match whose {
        Whose::Elsewhere => true,
        Whose::User(user) => !jobs.contains(&user),
        Whose::Unknown => false,
    }
}

async fn answer(mut stream: TcpStream, is_told: bool, events: &Events) -> std::io::Result<()> {
    if !is_told {
        // Unread, so that it takes no place from an operator.
        let refusal = Response::text(403, "Forbidden", "not for jobs\n");
        return stream.write_all(refusal.bytes().as_bytes()).await;
    }
    let response = match read_head(&mut stream).await? {
        Some(head) => respond(&head, events).await,
        None => Response::text(431, "Request Header Fields Too Large", "request too long\n"),
    };
    stream.write_all(response.bytes().as_bytes()).await?;
    stream.shutdown().await
}

/// The request up to its empty line; `None` if it is too long.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => head.extend_from_slice(&chunk[..n]),
        }
        if head.len() > MAX_HEAD {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

#[derive(Debug)]
struct Response {
    status: u16,
    reason: &'static str,
    kind: &'static str,
    body: String,
}

impl Response {
    fn text(status: u16, reason: &'static str, body: impl Into<String>) -> Self {
        Self { status, reason, kind: "text/plain; charset=utf-8", body: body.into() }
    }

    fn bytes(&self) -> String {
        let Self { status, reason, kind, body } = self;
        let length = body.len();
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

async fn respond(head: &[u8], events: &Events) -> Response {
    let line = head.split(|byte| *byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) = (words.next(), words.next(), words.next()) else {
        return Response::text(400, "Bad Request", "not HTTP/1.1\n");
    };
    if method != "GET" {
        return Response::text(405, "Method Not Allowed", "only GET\n");
    }
    let path = target.split('?').next().unwrap_or_default();
    if !matches!(path, "/" | "/ready" | "/worker" | "/jobs" | "/metrics") {
        return Response::text(404, "Not Found", "there are /, /ready, /worker, /jobs and /metrics\n");
    }
    // The loop answers between two inputs: an answer at all says that it turns.
    match ask(events).await {
        Some(report) => route(path, report),
        None => Response::text(503, "Service Unavailable", "shutting down\n"),
    }
}

async fn ask(events: &Events) -> Option<Report> {
    let (reply, answer) = oneshot::channel();
    events.send(Event::Report(reply)).await.ok()?;
    answer.await.ok()
}

fn route(path: &str, report: Report) -> Response {
    match (path, report.problem) {
        ("/worker", _) => Response { kind: "application/json", ..Response::text(200, "OK", report.worker) },
        ("/jobs", _) => Response { kind: "application/json", ..Response::text(200, "OK", report.jobs) },
        ("/metrics", _) => {
            Response { kind: "text/plain; version=0.0.4; charset=utf-8", ..Response::text(200, "OK", report.metrics) }
        }
        ("/ready", Some(problem)) => Response::text(503, "Service Unavailable", problem + "\n"),
        _ => Response::text(200, "OK", "OK"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// What a client gets for `request` from a worker with this problem.
    async fn get(request: &str, problem: Option<&str>) -> String {
        ask_beside(u32::MAX..=u32::MAX, request, problem).await
    }

    /// The same where jobs have these users.
    async fn ask_beside(jobs: RangeInclusive<u32>, request: &str, problem: Option<&str>) -> String {
        let (events, mut queue) = mpsc::channel(1);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(accept(listener, jobs, events));
        let problem = problem.map(str::to_owned);
        tokio::spawn(async move {
            while let Some(Event::Report(reply)) = queue.recv().await {
                let (worker, jobs, metrics) = ("{}".into(), "[1]".into(), "m 1\n".into());
                let report = Report { problem: problem.clone(), worker, jobs, metrics };
                reply.send(report).unwrap();
            }
        });
        client.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn liveness_readiness_worker_and_metrics_have_their_own_answers() {
        assert!(get("GET / HTTP/1.1\r\n\r\n", Some("server gone")).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get("GET /ready HTTP/1.1\r\n\r\n", None).await.starts_with("HTTP/1.1 200 OK\r\n"));
        let unready = get("GET /ready HTTP/1.1\r\n\r\n", Some("server gone")).await;
        assert!(unready.starts_with("HTTP/1.1 503 ") && unready.ends_with("server gone\n"), "{unready}");
        assert!(get("GET /worker?x HTTP/1.1\r\n\r\n", None).await.contains("application/json"));
        assert!(get("GET /jobs HTTP/1.1\r\n\r\n", None).await.ends_with("[1]"));
        assert!(get("GET /metrics HTTP/1.0\r\n\r\n", None).await.ends_with("m 1\n"));
    }

    #[tokio::test]
    async fn what_is_no_get_of_a_known_path_is_refused() {
        assert!(get("POST / HTTP/1.1\r\n\r\n", None).await.starts_with("HTTP/1.1 405 "));
        assert!(get("GET /etc HTTP/1.1\r\n\r\n", None).await.starts_with("HTTP/1.1 404 "));
        assert!(get("\u{1}\u{2}\r\n\r\n", None).await.starts_with("HTTP/1.1 400 "));
        assert!(get(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000)), None).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn a_job_is_told_nothing() {
        let own = hal::process::user();
        assert!(ask_beside(own..=own, "", None).await.starts_with("HTTP/1.1 403 "));
        assert!(ask_beside(own + 1..=own + 9, "GET / HTTP/1.1\r\n\r\n", None).await.starts_with("HTTP/1.1 200 "));
        assert!(!is_told(Whose::Unknown, &(7..=9)), "it may be one's");
    }
}
