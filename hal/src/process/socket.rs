//! SEQPACKET sockets: one message a packet, descriptors beside it.
//!
//! Whoever holds the other end may send descriptors, wanted or not, and who closes the last one of a TCP socket waits for as
//! long as its sender has set (SO_LINGER), unless he is about to end. So what a foreign end has sent is closed by a thread that
//! ends: see [`close_apart`].

use super::{check, check_size, uninterrupted};
use libc::c_void;
use std::io::{Error, ErrorKind, Result};
use std::mem::{ManuallyDrop, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::Builder;

/// Descriptors that we send beside one packet.
pub const MAX_FDS: usize = 4;

/// Descriptors that the kernel takes beside one packet (SCM_MAX_FD), all of which are received: it would close the others
/// in the receiver's call.
const MOST_FDS: usize = 253;

/// Bytes: a thread that closes descriptors calls the kernel and nothing else.
const CLOSER_STACK: usize = 64 * 1024;

/// Where [`super::Executable::spawn`] puts the control socket.
pub(super) const CONTROL_FD: RawFd = 3;

const FD_BYTES: u32 = (MOST_FDS * size_of::<RawFd>()) as u32;

// SAFETY: computes a size from a size.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(FD_BYTES) } as usize;

/// Room for the one control message, aligned for its header.
#[repr(C)]
union ControlBuffer {
    bytes: [u8; CONTROL_BYTES],
    _header: libc::cmsghdr,
}

/// A connected SEQPACKET socket, close-on-exec, non-blocking: one message a packet, descriptors beside it.
#[derive(Debug)]
pub struct Socket {
    /// Until it is given away.
    fd: Option<OwnedFd>,
    foreign: bool,
}

impl Socket {
    /// A connected pair.
    pub fn pair() -> Result<(Socket, Socket)> {
        let mut fds: [RawFd; 2] = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: `fds` has room for the two descriptors that the call writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        // SAFETY: the call has just made both and nobody else knows them.
        let [one, other] = fds.map(|fd| Socket { fd: Some(unsafe { OwnedFd::from_raw_fd(fd) }), foreign: false });
        Ok((one, other))
    }

    /// Takes over an inherited or received descriptor; sets it non-blocking and close-on-exec. Anything but a SEQPACKET
    /// socket is refused.
    pub fn from_fd(fd: OwnedFd) -> Result<Socket> {
        check_type(fd.as_raw_fd())?;
        // SAFETY: plain flag calls on a descriptor that we own.
        unsafe {
            check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
            let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
            check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK))?;
        }
        Ok(Socket { fd: Some(fd), foreign: false })
    }

    /// The other end is held by who may mean no good, and has no descriptors to give: if some come, they are an error. To
    /// receive from it and to close it takes no time, whatever it has sent.
    pub fn with_foreign_peer(mut self) -> Socket {
        self.foreign = true;
        self
    }

    /// Whether [`Socket::with_foreign_peer`] says so.
    pub fn has_foreign_peer(&self) -> bool {
        self.foreign
    }

    /// Sends one packet. `WouldBlock` when the peer does not read; never raises SIGPIPE. Empty packets are refused, as
    /// the receiver would take one for the end of the stream.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        if bytes.is_empty() || fds.len() > MAX_FDS {
            return Err(Error::new(ErrorKind::InvalidInput, "a packet is 1 byte or more, with at most 4 descriptors"));
        }
        let mut io = libc::iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() };
        let mut control = ControlBuffer { bytes: [0; CONTROL_BYTES] };
        let mut message = header(&mut io);
        if !fds.is_empty() {
            attach(&mut message, &mut control, fds);
        }
        // MSG_DONTWAIT beside O_NONBLOCK: whoever shares the open file can clear the flag, but not this.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `message` points to `io`, `bytes` and `control`, which all live until the call returns; it only reads.
        uninterrupted(|| check_size(unsafe { libc::sendmsg(self.as_raw_fd(), &message, flags) }))?;
        Ok(())
    }

    /// Receives one packet into `buffer`: length and descriptors (close-on-exec). Length 0 is the end of the stream; a packet
    /// longer than the buffer is an `InvalidData` error, and so are descriptors of a foreign peer.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
        let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer { bytes: [0; CONTROL_BYTES] };
        let mut message = header(&mut io);
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `message` points to writable memory of the lengths given, which outlives the call.
        let mut once = || uninterrupted(|| check_size(unsafe { libc::recvmsg(self.as_raw_fd(), &mut message, flags) }));
        // A peer that goes without having read everything leaves ECONNRESET in front of its last words. The call that
        // reports it clears it.
        let length = once().or_else(|e| if e.kind() == ErrorKind::ConnectionReset { once() } else { Err(e) })?;
        // SAFETY: the kernel has just filled `message`, whose control buffer is still alive.
        let fds = unsafe { received(&message) };
        if self.foreign && !fds.is_empty() {
            close_apart(fds);
            return Err(Error::new(ErrorKind::InvalidData, "descriptors came with it, and none are taken"));
        }
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(Error::new(ErrorKind::InvalidData, "a packet is longer than the buffer"));
        }
        Ok((length, fds))
    }

    /// The descriptor.
    pub fn into_fd(mut self) -> OwnedFd {
        self.fd.take().expect("given away once")
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("not given away").as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Packets may wait in it, and descriptors in them.
        close_apart(self.fd.take().filter(|_| self.foreign).into_iter().collect());
    }
}

/// Closes sockets, and those that wait in them, without waiting: neither here nor on the thread that does it, so that none is
/// left over. A device whose driver hangs in its last close would hold up that thread. Where there is no thread to be had they stay open, which is better than to wait.
fn close_apart(fds: Vec<OwnedFd>) {
    if fds.is_empty() {
        return;
    }
    let fds = ManuallyDrop::new(fds);
    let close = move || close_for_an_ending_thread(ManuallyDrop::into_inner(fds));
    let _ = closer().spawn(close);
}

/// A thread copies the table of descriptors, so that none of these is the last here, and ends: the last ones are then closed
/// by a thread that ends, which sockets do not keep waiting (`inet_release` in the kernel).
fn close_for_an_ending_thread(fds: Vec<OwnedFd>) {
    let (copied, copies) = mpsc::channel::<()>();
    let (closed, closing) = mpsc::channel::<()>();
    let last = closer().spawn(move || {
        if copy_descriptors().is_ok() {
            let _ = copied.send(());
            let _ = closing.recv();
        }
    });
    let _ = copies.recv();
    drop(fds);
    drop((closed, last));
}

fn closer() -> Builder {
    Builder::new().name("closer".into()).stack_size(CLOSER_STACK)
}

/// Gives this thread a table of its own. By close_range(2) over none of them, as children may not call unshare(2).
fn copy_descriptors() -> Result<()> {
    let none = libc::c_uint::MAX;
    // SAFETY: takes numbers only. What this thread owns by number is the same in both tables.
    check_size(unsafe { libc::syscall(libc::SYS_close_range, none, none, libc::CLOSE_RANGE_UNSHARE) as isize })?;
    Ok(())
}

/// Descriptor 3, in a child started by [`super::Executable::spawn`]; once per process, before it opens anything.
/// A process that was started by hand has no such socket and gets an error.
pub fn inherited_control() -> Result<Socket> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    check_type(CONTROL_FD)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::new(ErrorKind::AlreadyExists, "the control socket has been taken"));
    }
    // SAFETY: it is open, as the check shows, was inherited, and the flag makes us its only owner.
    Socket::from_fd(unsafe { OwnedFd::from_raw_fd(CONTROL_FD) })
}

fn check_type(fd: RawFd) -> Result<()> {
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the answer is an int and `length` says so.
    let answer =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast::<c_void>(), &mut length) };
    check(answer)?;
    match kind {
        libc::SOCK_SEQPACKET => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidInput, "the descriptor is no SEQPACKET socket")),
    }
}

fn header(io: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is an empty header; some libcs have private padding, so it cannot be written as a literal.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = io;
    message.msg_iovlen = 1;
    message
}

fn attach(message: &mut libc::msghdr, control: &mut ControlBuffer, fds: &[BorrowedFd<'_>]) {
    let bytes = std::mem::size_of_val(fds) as u32;
    message.msg_control = (&raw mut *control).cast();
    // SAFETY: the buffer is aligned for a header and holds one message of MAX_FDS descriptors; `fds` has no more, and a
    // BorrowedFd is an int.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let cmsg = libc::CMSG_FIRSTHDR(message);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(bytes) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(cmsg), bytes as usize);
    }
}

/// # Safety
/// `message` comes from a successful `recvmsg`, its control buffer is alive, and nobody has taken its descriptors.
unsafe fn received(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel wrote whole control messages, whose lengths the macros follow; data may be unaligned.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(message);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*cmsg).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
                for i in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            cmsg = libc::CMSG_NXTHDR(message, cmsg);
        }
    }
    fds
}
