//! TCP: listeners and streams.
//!
//! A read in flight is never dropped: a deadline shuts the socket down, so that the read returns. Dropping a stream
//! closes it as soon as the operations in flight on it have returned.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::buf::{Buf, CLASS_BYTES, Shared, Window};
use crate::time::{self, Instant};
use crate::{sys, uring};

/// Connections the kernel keeps for a listener that is busy.
const BACKLOG: i32 = 4096;
/// Parts one vectored send takes (IOV_MAX).
pub const VECTORED_PARTS_MAX: usize = 1024;

/// Length of the buffers of `Stream::recv_picked`.
pub const PICKED_BYTES: usize = CLASS_BYTES[1];

/// What `Stream::recv_picked` found.
#[derive(Debug)]
pub enum Picked {
    /// So many bytes, at least one, at the front of a buffer.
    Bytes(Buf, usize),
    /// The peer has finished.
    End,
    /// There are bytes, or the end, but no buffer was free.
    NoBuffer,
}

enum ListenerHandle {
    Real(Arc<OwnedFd>),
    #[cfg(feature = "sim")]
    Sim(crate::sim::Listener),
}

/// Accepts connections on one shard. With `reuse_port` each shard binds its own to the same address.
pub struct Listener {
    handle: ListenerHandle,
    local: SocketAddr,
}

impl Listener {
    /// Port 0 takes a free one; `local_addr` says which.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Listener> {
        #[cfg(feature = "sim")]
        if let Some(core) = crate::sim::core() {
            let (listener, local) = crate::sim::Listener::bind(&core, address, reuse_port)?;
            return Ok(Listener { handle: ListenerHandle::Sim(listener), local });
        }
        let fd = sys::tcp_socket(address.ip())?;
        sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if reuse_port {
            sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        sys::bind_and_listen(&fd, address, BACKLOG)?;
        let local = sys::local_address(&fd)?;
        Ok(Listener { handle: ListenerHandle::Real(Arc::new(fd)), local })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection and who opened it. Errors concern one connection, or the lack of descriptors: go on, but
    /// wait a little first.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.handle {
            ListenerHandle::Real(fd) => {
                let (fd, address) = uring::accept(fd).await?;
                let peer = address.parse()?;
                Ok((Stream { handle: StreamHandle::Real(Arc::new(fd)), peer, cut: Cell::new(false) }, peer))
            }
            #[cfg(feature = "sim")]
            ListenerHandle::Sim(listener) => {
                let (stream, peer) = listener.accept().await;
                Ok((Stream { handle: StreamHandle::Sim(stream), peer, cut: Cell::new(false) }, peer))
            }
        }
    }
}

enum StreamHandle {
    Real(Arc<OwnedFd>),
    #[cfg(feature = "sim")]
    Sim(crate::sim::Stream),
}

/// One TCP connection. One task may receive while another sends.
pub struct Stream {
    handle: StreamHandle,
    peer: SocketAddr,
    /// Set when a deadline has shut the socket down.
    cut: Cell<bool>,
}

impl Stream {
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        #[cfg(feature = "sim")]
        if let Some(core) = crate::sim::core() {
            let stream = crate::sim::Stream::connect(&core, address).await?;
            return Ok(Stream { handle: StreamHandle::Sim(stream), peer: address, cut: Cell::new(false) });
        }
        let fd = Arc::new(sys::tcp_socket(address.ip())?);
        uring::connect(&fd, sys::RawAddress::new(address)).await?;
        Ok(Stream { handle: StreamHandle::Real(fd), peer: address, cut: Cell::new(false) })
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Our end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.handle {
            StreamHandle::Real(fd) => sys::local_address(fd),
            #[cfg(feature = "sim")]
            StreamHandle::Sim(stream) => Ok(stream.local()),
        }
    }

    pub fn set_nodelay(&self) -> io::Result<()> {
        match &self.handle {
            StreamHandle::Real(fd) => sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
            #[cfg(feature = "sim")]
            StreamHandle::Sim(_) => Ok(()),
        }
    }

    /// Waits for bytes and puts what there is into the window: at least 1, or 0 when the peer has finished.
    pub async fn recv(&self, window: Window) -> (io::Result<usize>, Window) {
        debug_assert!(!window.is_empty(), "an empty window cannot tell data from the end");
        match &self.handle {
            StreamHandle::Real(fd) => uring::receive(fd, window).await,
            #[cfg(feature = "sim")]
            StreamHandle::Sim(stream) => stream.receive(window).await,
        }
    }

    /// Like `recv`, of at most `most` bytes, and at most `PICKED_BYTES`, into a buffer that is picked when they come.
    pub async fn recv_picked(&self, most: usize) -> io::Result<Picked> {
        debug_assert!(most > 0, "nothing cannot be told from the end");
        match &self.handle {
            StreamHandle::Real(fd) => uring::receive_picked(fd, most).await,
            #[cfg(feature = "sim")]
            StreamHandle::Sim(stream) => stream.receive_picked(most).await,
        }
    }

    /// Waits for bytes and throws away what there is, at most `most`: needs no memory and copies nothing. Returns how
    /// many, or 0 when the peer has finished.
    pub async fn discard(&self, most: usize) -> io::Result<usize> {
        debug_assert!(most > 0, "nothing to discard cannot be told from the end");
        match &self.handle {
            StreamHandle::Real(fd) => uring::discard(fd, most).await,
            #[cfg(feature = "sim")]
            StreamHandle::Sim(stream) => stream.discard(most).await,
        }
    }

    /// Like `recv`, but at the deadline the socket is shut down for good and the result is `TimedOut`.
    pub async fn recv_until(&self, window: Window, deadline: Instant) -> (io::Result<usize>, Window) {
        self.until(deadline, self.recv(window)).await
    }

    /// Waits until `recv` would return at once, without holding a buffer: for connections that are idle.
    /// At the deadline the socket is shut down for good and the result is `TimedOut`.
    pub async fn readable_until(&self, deadline: Instant) -> io::Result<()> {
        let readable = async {
            let result = match &self.handle {
                StreamHandle::Real(fd) => uring::readable(fd).await,
                #[cfg(feature = "sim")]
                StreamHandle::Sim(stream) => {
                    stream.readable().await;
                    Ok(())
                }
            };
            (result, ())
        };
        let (result, ()) = self.until(deadline, readable).await;
        result
    }

    /// Sends all bytes or fails. After a failure the connection is of no use.
    pub async fn send(&self, bytes: Shared) -> io::Result<()> {
        self.send_all(bytes).await.0
    }

    /// Like `send`; the window comes back.
    pub async fn send_window(&self, window: Window) -> (io::Result<()>, Window) {
        self.send_all(window).await
    }

    /// Like `send`, but at the deadline the socket is shut down for good and the result is `TimedOut`.
    pub async fn send_until(&self, bytes: Shared, deadline: Instant) -> io::Result<()> {
        let (result, ()) = self.until(deadline, async { (self.send(bytes).await, ()) }).await;
        result
    }

    /// Sends all parts, in order, with one operation. At most `VECTORED_PARTS_MAX` parts.
    pub async fn send_vectored(&self, parts: Vec<Shared>) -> io::Result<()> {
        assert!(parts.len() <= VECTORED_PARTS_MAX, "a vectored send takes at most VECTORED_PARTS_MAX parts");
        let mut parts = parts;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut done = 0;
        while done < len {
            let (result, back) = match &self.handle {
                StreamHandle::Real(fd) => uring::send_vectored(fd, parts, done).await,
                #[cfg(feature = "sim")]
                StreamHandle::Sim(stream) => stream.send_vectored(parts, done).await,
            };
            parts = back;
            done += sent(result)?;
        }
        Ok(())
    }

    /// Like `send_vectored`, but at the deadline the socket is shut down for good and the result is `TimedOut`.
    pub async fn send_vectored_until(&self, parts: Vec<Shared>, deadline: Instant) -> io::Result<()> {
        let (result, ()) = self.until(deadline, async { (self.send_vectored(parts).await, ()) }).await;
        result
    }

    async fn send_all<S: uring::Source>(&self, mut source: S) -> (io::Result<()>, S) {
        let len = source.bytes().len();
        let mut done = 0;
        while done < len {
            let (result, back) = match &self.handle {
                StreamHandle::Real(fd) => uring::send(fd, source, done).await,
                #[cfg(feature = "sim")]
                StreamHandle::Sim(stream) => stream.send(source, done).await,
            };
            source = back;
            match sent(result) {
                Ok(count) => done += count,
                Err(error) => return (Err(error), source),
            }
        }
        (Ok(()), source)
    }

    /// Awaits an operation on this socket to its end; when the deadline comes first, the end is brought about.
    async fn until<T, R>(
        &self,
        deadline: Instant,
        operation: impl Future<Output = (io::Result<T>, R)>,
    ) -> (io::Result<T>, R) {
        let mut operation = pin!(operation);
        let mut sleep = pin!(time::sleep_until(deadline));
        let mut cut = false;
        let (result, rest) = std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = operation.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !cut && sleep.as_mut().poll(cx).is_ready() {
                cut = true;
                self.cut.set(true);
                // It fails only when the connection is gone already; the operation returns in either case.
                let _gone = self.shutdown(Shutdown::Both);
            }
            Poll::Pending
        })
        .await;
        if cut { (Err(io::ErrorKind::TimedOut.into()), rest) } else { (result, rest) }
    }

    /// Whether a deadline has shut this connection down.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Ends one or both directions. Operations in flight return.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.handle {
            StreamHandle::Real(fd) => {
                let how = match how {
                    Shutdown::Read => libc::SHUT_RD,
                    Shutdown::Write => libc::SHUT_WR,
                    Shutdown::Both => libc::SHUT_RDWR,
                };
                sys::shutdown(fd, how)
            }
            #[cfg(feature = "sim")]
            StreamHandle::Sim(stream) => {
                stream.shutdown(how);
                Ok(())
            }
        }
    }
}

fn sent(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests;
