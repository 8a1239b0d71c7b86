//! A file over HTTP/1.1, one byte after the other. A connection that breaks off is made again and asked for the rest.

use super::dial::{self, Transport};
use super::tls::{self, Tls};
use super::url::{Target, shown};
use protocol::backoff::Backoff;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{sleep, timeout};

/// Redirects in a row: a release page takes two.
const MAX_REDIRECTS: usize = 5;

/// Bytes of an answer's head, and lines in it.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// For the first byte of an answer from the first packet on, and for each read: a link that is silent for longer is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// First and longest wait before another try.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Tries in a row that bring no byte, after which it is given up: about four minutes without a network.
const MAX_FAILURES: u32 = 12;

/// Why there is nothing more to come.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Another try would bring the same.
    #[error("{url}: {why}")]
    Refused {
        /// Without query and password.
        url: String,
        /// In plain words.
        why: String,
    },
    /// The last of many tries.
    #[error("{url}: given up after {MAX_FAILURES} tries: {why}")]
    Unreachable {
        /// Without query and password.
        url: String,
        /// In plain words.
        why: String,
    },
    /// There are not so many bytes.
    #[error("{url}: has {length} bytes, and ends too early")]
    Ended {
        /// Without query and password.
        url: String,
        /// Bytes.
        length: u64,
    },
}

/// An open file on a server.
#[derive(Debug)]
pub struct Download {
    /// As it was given. Each connection begins here: what it redirects to may be for minutes only.
    first: String,
    /// Where that has led.
    url: String,
    tls: Tls,
    body: Option<BufReader<Box<dyn Transport>>>,
    length: Option<u64>,
    etag: Option<String>,
    position: u64,
    backoff: Backoff,
}

/// What one try brought.
enum Try {
    /// The body from `position` on follows.
    Open(BufReader<Box<dyn Transport>>),
    Redirect(String),
    /// Perhaps later.
    Failed(String),
    /// Never.
    Refused(String),
}

/// An answer's head, as far as it matters.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    length: Option<u64>,
    /// First byte, and bytes of the whole file.
    range: Option<(u64, u64)>,
    location: Option<String>,
    etag: Option<String>,
}

impl Download {
    /// Waits for the head of the answer.
    pub async fn open(url: &str, tls: Tls) -> Result<Self, DownloadError> {
        let backoff = Backoff::new(RETRY.0, RETRY.1);
        let (first, url) = (url.to_owned(), url.to_owned());
        let mut new = Self { first, url, tls, body: None, length: None, etag: None, position: 0, backoff };
        new.connect().await?;
        Ok(new)
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length.unwrap_or_default()
    }

    /// The next bytes, all of them.
    pub async fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DownloadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.position >= self.length() {
                return Err(DownloadError::Ended { url: self.shown(), length: self.length() });
            }
            let Some(body) = &mut self.body else {
                self.connect().await?;
                continue;
            };
            let why = match timeout(PATIENCE, body.read(&mut buffer[filled..])).await {
                Ok(Ok(0)) => "the connection broke off".to_owned(),
                Ok(Ok(n)) => {
                    filled += n;
                    self.position += n as u64;
                    self.backoff.reset();
                    continue;
                }
                Ok(Err(e)) => e.to_string(),
                Err(_) => format!("no data for {} s", PATIENCE.as_secs()),
            };
            self.body = None;
            self.failed(why).await?;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), DownloadError> {
        let mut redirects = 0;
        loop {
            if redirects == 0 {
                self.url.clone_from(&self.first);
            }
            match self.attempt().await {
                Try::Open(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Try::Redirect(_) if redirects == MAX_REDIRECTS => {
                    return Err(self.refused(format!("more than {MAX_REDIRECTS} redirects")));
                }
                Try::Redirect(to) => {
                    redirects += 1;
                    self.url = self.target(&to)?;
                }
                Try::Refused(why) => return Err(self.refused(why)),
                Try::Failed(why) => {
                    redirects = 0;
                    self.failed(why).await?;
                }
            }
        }
    }

    /// Waits before the next try, or gives up.
    async fn failed(&mut self, why: String) -> Result<(), DownloadError> {
        let wait = self.backoff.fail(RandomState::new().hash_one(0u8));
        if self.backoff.failures() >= MAX_FAILURES {
            return Err(DownloadError::Unreachable { url: self.shown(), why });
        }
        tracing::warn!("{}: {why}; once more in {:.0} s", self.shown(), wait.as_secs_f32());
        sleep(wait).await;
        Ok(())
    }

    async fn attempt(&mut self) -> Try {
        let target = match Target::parse(&self.url) {
            Ok(target) => target,
            Err(why) => return Try::Refused(why),
        };
        match timeout(PATIENCE, self.ask(&target)).await {
            Ok(Ok((head, body))) => self.judge(head, body).await,
            Ok(Err(failed)) => failed,
            Err(_) => Try::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn ask(&self, target: &Target) -> Result<(Head, BufReader<Box<dyn Transport>>), Try> {
        let found = tokio::net::lookup_host((&*target.host, target.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|e| Try::Failed(format!("{}: {e}", target.host)))?.collect();
        let tcp = dial::tcp(&addresses).await.map_err(Try::Failed)?;
        let stream: Box<dyn Transport> = match target.secure {
            true => Box::new(self.tls.handshake(&target.host, tcp).await.map_err(|failed| self.untrusted(failed))?),
            false => Box::new(tcp),
        };
        let mut stream = BufReader::new(stream);
        let Target { path, authority, .. } = target;
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\nConnection: close\r\n");
        if self.position > 0 {
            request += &format!("Range: bytes={}-\r\n", self.position);
            if let Some(etag) = &self.etag {
                request += &format!("If-Range: {etag}\r\n");
            }
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.map_err(|e| Try::Failed(e.to_string()))?;
        Ok((read_head(&mut stream).await.map_err(Try::Failed)?, stream))
    }

    /// A server that was trusted before has somebody else in its place for a while, such as a network that wants a login.
    fn untrusted(&self, failed: tls::Failed) -> Try {
        let first = self.length.is_none();
        if failed.lasts && first { Try::Refused(failed.why) } else { Try::Failed(failed.why) }
    }

    async fn judge(&mut self, head: Head, mut body: BufReader<Box<dyn Transport>>) -> Try {
        let (length, skip) = match (head.status, head.range) {
            (200, _) => (head.length, self.position),
            (206, Some((first, length))) if first == self.position => (Some(length), 0),
            (301 | 302 | 303 | 307 | 308, _) => {
                return head.location.map_or_else(|| Try::Refused("a redirect to nowhere".into()), Try::Redirect);
            }
            (408 | 429 | 500..=599, _) => return Try::Failed(format!("HTTP {}", head.status)),
            (status, _) => return Try::Refused(format!("HTTP {status}")),
        };
        let Some(length) = length else { return Try::Refused("the server does not say how long it is".into()) };
        if self.length.is_some_and(|before| before != length) {
            return Try::Refused("it has changed while it was fetched".into());
        }
        self.length = Some(length);
        self.etag = head.etag.filter(|etag| etag.starts_with('"'));
        match discard(&mut body, skip).await {
            Ok(()) => Try::Open(body),
            Err(e) => Try::Failed(e.to_string()),
        }
    }

    /// Where a redirect leads.
    fn target(&self, to: &str) -> Result<String, DownloadError> {
        let here = Target::parse(&self.url).map_err(|why| self.refused(why))?;
        let scheme = if here.secure { "https" } else { "http" };
        let there = match to {
            to if to.starts_with("//") => format!("{scheme}:{to}"),
            to if to.starts_with('/') => format!("{scheme}://{}{to}", here.authority),
            to => to.to_owned(),
        };
        match Target::parse(&there) {
            Ok(target) if here.secure && !target.secure => Err(self.refused("a redirect from https to http".into())),
            Ok(_) => Ok(there),
            Err(why) => Err(self.refused(format!("a redirect to {why}"))),
        }
    }

    fn refused(&self, why: String) -> DownloadError {
        DownloadError::Refused { url: self.shown(), why }
    }

    fn shown(&self) -> String {
        shown(&self.url)
    }
}

/// Of a server that knows no ranges: what is there already.
async fn discard(body: &mut BufReader<Box<dyn Transport>>, bytes: u64) -> io::Result<()> {
    let mut rest = body.take(bytes);
    let mut scratch = [0; 8 << 10];
    while rest.limit() > 0 {
        if timeout(PATIENCE, rest.read(&mut scratch)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

async fn read_head(stream: &mut BufReader<Box<dyn Transport>>) -> Result<Head, String> {
    let mut bytes = Vec::with_capacity(1024);
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() == MAX_HEAD {
            return Err("not HTTP: its head has no end".into());
        }
        bytes.push(stream.read_u8().await.map_err(|e| format!("no answer: {e}"))?);
    }
    parse_head(&bytes)
}

fn parse_head(bytes: &[u8]) -> Result<Head, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes).map_err(|e| format!("not HTTP: {e}"))?;
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    for header in response.headers {
        let Ok(value) = std::str::from_utf8(header.value).map(str::trim) else { continue };
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().ok(),
            "content-range" => head.range = range(value),
            "location" => head.location = Some(value.to_owned()),
            "etag" => head.etag = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(head)
}

/// `bytes 5-9/10`
fn range(value: &str) -> Option<(u64, u64)> {
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, length.parse().ok()?))
}

#[cfg(test)]
mod tests;
