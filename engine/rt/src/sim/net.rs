//! The network of a world: listeners by address, and streams whose bytes arrive in random pieces after random times.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::rc::{Rc, Weak};

use super::core::Core;
use crate::buf::{Shared, Window, try_alloc};
use crate::net::{PICKED_BYTES, Picked};
use crate::sync::Event;
use crate::uring::Source;

/// Bytes that may be on their way in one direction; senders wait then.
const PIPE_BYTES_MAX: usize = 256 << 10;
/// Connections that may wait to be accepted; further ones are refused.
const BACKLOG: usize = 4096;
const FIRST_PORT: u16 = 40_000;

#[derive(Default)]
pub(super) struct Network {
    listeners: BTreeMap<SocketAddr, Vec<Rc<Accepting>>>,
    connections: Vec<Weak<Connection>>,
    ports: u16,
}

impl Network {
    fn next_port(&mut self) -> u16 {
        self.ports = (self.ports + 1) % (u16::MAX - FIRST_PORT);
        FIRST_PORT + self.ports
    }

    pub(super) fn take_connections(&mut self) -> Vec<Rc<Connection>> {
        self.connections.drain(..).filter_map(|connection| connection.upgrade()).collect()
    }

    /// The listeners an address reaches: those bound to it, or to its port on any address.
    fn reached_by(&self, address: SocketAddr) -> Vec<Rc<Accepting>> {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
        [address, any].iter().filter_map(|address| self.listeners.get(address)).flatten().cloned().collect()
    }
}

/// The queue of one listener.
#[derive(Default)]
struct Accepting {
    queue: RefCell<VecDeque<(Stream, SocketAddr)>>,
    arrived: Event,
}

pub(crate) struct Listener {
    core: Rc<Core>,
    address: SocketAddr,
    accepting: Rc<Accepting>,
}

impl Listener {
    pub(crate) fn bind(core: &Rc<Core>, mut address: SocketAddr, reuse: bool) -> io::Result<(Listener, SocketAddr)> {
        let mut network = core.network.borrow_mut();
        if address.port() == 0 {
            address.set_port(network.next_port());
        }
        let listeners = network.listeners.entry(address).or_default();
        if !listeners.is_empty() && !reuse {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let accepting = Rc::new(Accepting::default());
        listeners.push(accepting.clone());
        Ok((Listener { core: core.clone(), address, accepting }, address))
    }

    pub(crate) async fn accept(&self) -> (Stream, SocketAddr) {
        self.accepting.arrived.wait_for(|| self.accepting.queue.borrow_mut().pop_front()).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut network = self.core.network.borrow_mut();
        if let Some(listeners) = network.listeners.get_mut(&self.address) {
            listeners.retain(|listener| !Rc::ptr_eq(listener, &self.accepting));
            if listeners.is_empty() {
                network.listeners.remove(&self.address);
            }
        }
        drop(network);
        // Connections nobody accepted end like those of a closed socket.
        drop(self.accepting.queue.take());
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    arrived: RefCell<VecDeque<u8>>,
    on_the_way: Cell<usize>,
    /// When the last piece arrives: pieces never overtake each other.
    last_arrival: Cell<u64>,
    /// The end has been sent; it has arrived.
    closed: Cell<bool>,
    ended: Cell<bool>,
    /// Nobody reads at the other end any more.
    deaf: Cell<bool>,
    changed: Event,
}

pub(super) struct Connection {
    pipes: [Pipe; 2],
    broken: Cell<bool>,
}

impl Connection {
    pub(super) fn reset(&self) {
        self.broken.set(true);
        self.pipes[0].changed.notify();
        self.pipes[1].changed.notify();
    }
}

/// One end of a connection: reads from pipe `end`, writes to the other.
pub(crate) struct Stream {
    core: Rc<Core>,
    connection: Rc<Connection>,
    end: usize,
    local: SocketAddr,
}

impl Stream {
    pub(crate) async fn connect(core: &Rc<Core>, address: SocketAddr) -> io::Result<Stream> {
        let delay = core.within(&core.config().net_latency);
        core.note(&[u64::from(address.port())]);
        core.after(delay, move |core| {
            let reached = core.network.borrow().reached_by(address);
            if reached.is_empty() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let listener = &reached[core.below(reached.len() as u64) as usize];
            if listener.queue.borrow().len() >= BACKLOG {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let connection = Rc::new(Connection { pipes: Default::default(), broken: Cell::new(false) });
            let local = {
                let mut network = core.network.borrow_mut();
                network.connections.retain(|connection| connection.strong_count() > 0);
                network.connections.push(Rc::downgrade(&connection));
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), network.next_port())
            };
            let client = Stream { core: core.clone(), connection: connection.clone(), end: 0, local };
            let server = Stream { core: core.clone(), connection, end: 1, local: address };
            listener.queue.borrow_mut().push_back((server, local));
            listener.arrived.notify();
            Ok(client)
        })
        .await
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    fn incoming(&self) -> &Pipe {
        &self.connection.pipes[self.end]
    }

    fn outgoing(&self) -> &Pipe {
        &self.connection.pipes[1 - self.end]
    }

    pub(crate) async fn receive(&self, mut window: Window) -> (io::Result<usize>, Window) {
        let result = self.take(window.len()).await.map(|bytes| {
            window[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (result, window)
    }

    pub(crate) async fn receive_picked(&self, most: usize) -> io::Result<Picked> {
        self.readable().await;
        let Some(mut buf) = try_alloc(PICKED_BYTES) else { return Ok(Picked::NoBuffer) };
        let bytes = self.take(most.min(PICKED_BYTES)).await?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(if bytes.is_empty() { Picked::End } else { Picked::Bytes(buf, bytes.len()) })
    }

    pub(crate) async fn discard(&self, most: usize) -> io::Result<usize> {
        Ok(self.take(most).await?.len())
    }

    /// What has arrived, at least one byte and at most `most`; nothing at the end.
    async fn take(&self, most: usize) -> io::Result<Vec<u8>> {
        let pipe = self.incoming();
        let result = pipe
            .changed
            .wait_for(|| {
                if self.connection.broken.get() {
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
                if pipe.deaf.get() {
                    return Some(Ok(Vec::new()));
                }
                let mut arrived = pipe.arrived.borrow_mut();
                if arrived.is_empty() {
                    return pipe.ended.get().then(|| Ok(Vec::new()));
                }
                let count = most.min(arrived.len());
                let (first, second) = arrived.as_slices();
                let from_first = count.min(first.len());
                let taken = [&first[..from_first], &second[..count - from_first]].concat();
                arrived.drain(..count);
                Some(Ok(taken))
            })
            .await;
        pipe.changed.notify();
        result
    }

    pub(crate) async fn readable(&self) {
        let pipe = self.incoming();
        let ready = || {
            let over = self.connection.broken.get() || pipe.deaf.get() || pipe.ended.get();
            (over || !pipe.arrived.borrow().is_empty()).then_some(())
        };
        pipe.changed.wait_for(ready).await;
    }

    pub(crate) async fn send<S: Source>(&self, source: S, skip: usize) -> (io::Result<usize>, S) {
        let result = self.send_some(&source.bytes()[skip..]).await;
        (result, source)
    }

    pub(crate) async fn send_vectored(&self, parts: Vec<Shared>, skip: usize) -> (io::Result<usize>, Vec<Shared>) {
        let whole = parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat();
        (self.send_some(&whole[skip..]).await, parts)
    }

    /// Takes as many bytes as there is room for, at least one.
    async fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.core.strikes(self.core.config().net_reset) {
            self.connection.reset();
        }
        let pipe = self.outgoing();
        let room = pipe
            .changed
            .wait_for(|| {
                if self.connection.broken.get() {
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
                if pipe.closed.get() || pipe.deaf.get() {
                    return Some(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
                }
                let room = PIPE_BYTES_MAX.saturating_sub(pipe.on_the_way.get() + pipe.arrived.borrow().len());
                (room > 0).then_some(Ok(room))
            })
            .await?;
        let count = room.min(bytes.len());
        self.core.note_bytes(&bytes[..count]);
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let most = self.core.config().net_segment_bytes_max;
            let len = match most {
                usize::MAX => rest.len(),
                _ => 1 + self.core.below(rest.len().min(most) as u64) as usize,
            };
            let (segment, after) = rest.split_at(len);
            rest = after;
            let segment = segment.to_vec();
            pipe.on_the_way.set(pipe.on_the_way.get() + segment.len());
            self.deliver(move |pipe| {
                pipe.on_the_way.set(pipe.on_the_way.get() - segment.len());
                pipe.arrived.borrow_mut().extend(segment);
            });
        }
        Ok(count)
    }

    /// Lets something arrive at the other end, after everything sent before.
    fn deliver(&self, effect: impl FnOnce(&Pipe) + 'static) {
        let pipe = self.outgoing();
        let arrival = self.core.now() + self.core.within(&self.core.config().net_latency);
        let arrival = arrival.max(pipe.last_arrival.get());
        pipe.last_arrival.set(arrival);
        let (connection, number) = (self.connection.clone(), 1 - self.end);
        let event = Box::new(move |_: &Rc<Core>| {
            let pipe = &connection.pipes[number];
            effect(pipe);
            pipe.changed.notify();
        });
        self.core.schedule(arrival, event);
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Write {
            self.incoming().deaf.set(true);
            self.incoming().changed.notify();
        }
        if how != Shutdown::Read && !self.outgoing().closed.replace(true) {
            self.deliver(|pipe| pipe.ended.set(true));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
    }
}
