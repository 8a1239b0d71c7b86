//! One question to systemd's manager, in its own D-Bus over the socket that systemctl asks root's questions by: no program is
//! started, and no message bus has to be there.
//!
//! ```text
//! us: AUTH --> OK --> BEGIN, the property Job of shutdown.target --> (number, path), 0 where none is queued
//! ```
//! systemd keeps the socket for itself, so what goes wrong with it is no failure: systemctl is asked then.

use std::io::{self, Error, ErrorKind};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The way to it, for root.
pub(super) const SOCKET: &str = "/run/systemd/private";

/// Every way of a system's end starts this target, and stops us for it. The state of the manager as a whole would not do: it
/// stays `starting` where not everything has come up yet.
const TARGET: &str = "/org/freedesktop/systemd1/unit/shutdown_2etarget";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PROPERTY: [&str; 2] = ["org.freedesktop.systemd1.Unit", "Job"];

/// Type of the value: a number and a path, as a variant writes it.
const JOB: &[u8] = b"\x04(uo)\0";

/// Of a message: byte order, kind, flags, version, three numbers.
const HEADER: usize = 16;
/// Of little endian, as all our boards are.
const ORDER: u8 = b'l';
const VERSION: u8 = 1;
/// Kinds of messages.
const CALL: u8 = 1;
const REPLY: u8 = 2;
const FAILURE: u8 = 3;

/// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const SIGNATURE: u8 = 8;

/// Bytes of a line or a message: none that we ask for has more.
const LONGEST: usize = 4096;

/// Whether the system is going down, as the manager at this socket says.
pub(super) async fn goes_down(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    // As root, whose number is written "0": who we are the kernel says.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\n").await?;
    let line = read_line(&mut stream).await?;
    if !line.starts_with(b"OK ") {
        return Err(strange("refused"));
    }
    stream.write_all(&[b"BEGIN\r\n".as_slice(), &question()].concat()).await?;
    loop {
        let (kind, body) = read_message(&mut stream).await?;
        match kind {
            REPLY => return is_queued(&body).ok_or_else(|| strange("a job of another form")),
            FAILURE => return Err(strange("it has no such property")),
            // News that nobody has asked for.
            _ => {}
        }
    }
}

fn strange(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("systemd's manager: {what}"))
}

/// A call of `Get` for the property.
fn question() -> Vec<u8> {
    let mut fields = Vec::new();
    for (field, kind, value) in [(PATH, b'o', TARGET), (INTERFACE, b's', PROPERTIES), (MEMBER, b's', "Get")] {
        pad(&mut fields, 8);
        fields.extend([field, 1, kind, 0]);
        put_string(&mut fields, value);
    }
    pad(&mut fields, 8);
    fields.extend([SIGNATURE, 1, b'g', 0, 2, b's', b's', 0]);
    let mut body = Vec::new();
    PROPERTY.iter().for_each(|name| put_string(&mut body, name));
    let mut message = vec![ORDER, CALL, 0, VERSION];
    for number in [body.len(), 1, fields.len()] {
        message.extend((number as u32).to_le_bytes());
    }
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn put_string(to: &mut Vec<u8>, text: &str) {
    pad(to, 4);
    to.extend((text.len() as u32).to_le_bytes());
    to.extend(text.as_bytes());
    to.push(0);
}

/// Fills up to a multiple of `size`.
fn pad(bytes: &mut Vec<u8>, size: usize) {
    bytes.resize(bytes.len().next_multiple_of(size), 0);
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST {
            return Err(strange("a line without an end"));
        }
        line.push(stream.read_u8().await?);
    }
    Ok(line)
}

/// The next message's kind and body.
async fn read_message(stream: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let [order, kind, _, version, ..] = header;
    let (body, fields) = (number(&header, 4).unwrap_or(0), number(&header, 12).unwrap_or(0));
    if (order, version) != (ORDER, VERSION) || body.max(fields) as usize > LONGEST {
        return Err(strange("a message of another form"));
    }
    let fields = (fields as usize).next_multiple_of(8);
    let mut rest = vec![0; fields + body as usize];
    stream.read_exact(&mut rest).await?;
    Ok((kind, rest.split_off(fields)))
}

/// Whether a job is queued, by the property's value.
fn is_queued(value: &[u8]) -> Option<bool> {
    value.starts_with(JOB).then_some(())?;
    // A pair begins at a multiple of 8.
    Some(number(value, 8)? != 0)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    const OK: &[u8] = b"OK 0123456789abcdef0123456789abcdef\r\n";

    /// A manager that is asked by one connection after the other, and what it says to each: to the greeting, and to the
    /// question.
    pub fn serve(name: &str, sayings: Vec<(&'static [u8], Vec<u8>)>) -> PathBuf {
        let path = std::env::temp_dir().join(format!("manager-{}-{name}", std::process::id()));
        let (listener, place) = (UnixListener::bind(&path).unwrap(), path.clone());
        std::thread::spawn(move || {
            for (greeting, answer) in sayings {
                let (mut stream, _) = listener.accept().unwrap();
                let mut hello = [0; 19];
                stream.read_exact(&mut hello).unwrap();
                assert_eq!(&hello, b"\0AUTH EXTERNAL 30\r\n");
                stream.write_all(greeting).unwrap();
                let mut asked = vec![0; b"BEGIN\r\n".len() + question().len()];
                if stream.read_exact(&mut asked).is_ok() {
                    stream.write_all(&answer).unwrap();
                }
            }
            std::fs::remove_file(place).unwrap();
        });
        path
    }

    /// One that answers with the numbers of these jobs.
    pub fn of_jobs(name: &str, jobs: &[u32]) -> PathBuf {
        serve(name, jobs.iter().map(|id| (OK, message(REPLY, &job(*id)))).collect())
    }

    /// A message with a field that nobody reads, whose length is no multiple of 8.
    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let fields = [5, 1, b'u', 0, 1, 0, 0, 0, 6, 1, b's', 0];
        let mut message = vec![ORDER, kind, 1, VERSION];
        for number in [body.len(), 7, fields.len()] {
            message.extend((number as u32).to_le_bytes());
        }
        message.extend(fields);
        pad(&mut message, 8);
        message.extend(body);
        message
    }

    fn job(id: u32) -> Vec<u8> {
        let mut value = JOB.to_vec();
        pad(&mut value, 8);
        value.extend(id.to_le_bytes());
        put_string(&mut value, "/org/freedesktop/systemd1/job/7");
        value
    }

    #[tokio::test]
    async fn a_queued_job_of_the_target_of_all_ends_means_that_the_system_goes_down() {
        assert!(goes_down(&of_jobs("queued", &[7])).await.unwrap());
        assert!(!goes_down(&of_jobs("none", &[0])).await.unwrap());
        let news = [message(4, b"news"), message(REPLY, &job(7))].concat();
        assert!(goes_down(&serve("news", vec![(OK, news)])).await.unwrap());
    }

    #[tokio::test]
    async fn a_manager_that_says_anything_else_has_said_nothing() {
        let other = [
            (&b"REJECTED\r\n"[..], Vec::new()),
            (OK, message(FAILURE, &job(7))),
            (OK, message(REPLY, b"\x01s\0\0\x04\0\0\0stop\0")),
            (OK, message(REPLY, JOB)),
            (OK, message(REPLY, &job(7))[..20].to_vec()),
            (OK, vec![0xff; 64]),
            (OK, Vec::new()),
        ];
        for (n, saying) in other.into_iter().enumerate() {
            assert!(goes_down(&serve(&format!("other-{n}"), vec![saying])).await.is_err(), "{n}");
        }
        assert!(goes_down(Path::new("/no/such/manager")).await.is_err());
    }

    #[test]
    fn the_question_is_as_systemctl_writes_it() {
        let question = question();
        let text = String::from_utf8_lossy(&question);
        assert!(question.starts_with(b"l\x01\0\x01"), "{text:?}");
        assert!(text.contains("\x01\x01o\0\x30\0\0\0/org/freedesktop/systemd1/unit/shutdown_2etarget\0"), "{text:?}");
        assert!(text.ends_with("\x1d\0\0\0org.freedesktop.systemd1.Unit\0\0\0\x03\0\0\0Job\0"), "{text:?}");
    }
}
