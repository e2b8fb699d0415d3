//! Building a stripe: filling data fragments in place, then parity, checksums and headers.

use codec::erasure::Code;
use rt::buf::{self, Buf, Shared, Window};

use super::layout::{Layout, cut};
use crate::error::{Error, Result};
use crate::format::fragment::{Header, Kind, used_pages};
use crate::format::volume::Class;
use crate::ids::{PAGE_BYTES, SlotOffset, VolumeId};
use crate::volume::Volume;

/// What the headers of a stripe say besides its layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) volume: VolumeId,
    pub(crate) kind: Kind,
    pub(crate) at: SlotOffset,
    pub(crate) sequence: u64,
    pub(crate) durable_upto: u64,
    /// Seed of the header checksums: the volume's own random number.
    pub(crate) secret: u32,
}

impl Stamp {
    pub(crate) fn new(volume: &Volume, at: SlotOffset, sequence: u64, durable_upto: u64) -> Stamp {
        let kind = kind_of(volume.class);
        Stamp { volume: volume.id, kind, at, sequence, durable_upto, secret: volume.secret() }
    }
}

/// One fragment as it is written: header, payload, padding to a page.
#[derive(Clone)]
pub(crate) struct Fragment {
    /// `0..D` is data, `D..D + P` parity.
    pub(crate) index: usize,
    pub(crate) bytes: Shared,
}

/// The data fragments of a stripe that is being filled from its front.
///
/// Buffers are taken as they are needed. Whoever fills holds a permit for the whole stripe first, so that half-filled
/// stripes never wait for each other's buffers.
pub(crate) struct Fill {
    layout: Layout,
    fragments: Vec<Buf>,
    /// The last fragment is out in a window.
    lent: bool,
    filled: usize,
}

impl Fill {
    pub(crate) fn new(layout: Layout) -> Fill {
        Fill { layout, fragments: Vec::with_capacity(layout.geometry.width()), lent: false, filled: 0 }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of the linear space that were filled.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.layout.stripe_len as usize
    }

    /// Lends the free room of the current fragment; `fill` gives it back. Waits for a buffer when the pool is empty.
    pub(crate) async fn room(&mut self) -> Result<Window> {
        assert!(!self.is_full(), "a full stripe has no room");
        if self.lent {
            return Err(Error::Incomplete);
        }
        let fragment_len = self.layout.fragment_len as usize;
        let (index, from) = (self.filled / fragment_len, self.filled % fragment_len);
        let buffer = if from == 0 {
            allocate(self.layout.fragment_bytes()).await?
        } else {
            self.fragments.pop().expect("a begun fragment has a buffer")
        };
        self.lent = true;
        let header_len = self.layout.header_len();
        Ok(Window::new(buffer, header_len + from..header_len + self.layout.used(index)))
    }

    /// Takes a lent window back with `len` bytes filled from its start.
    pub(crate) fn fill(&mut self, window: Window, len: usize) {
        assert!(self.lent && len <= window.len(), "only what was lent comes back");
        self.lent = false;
        let fragment_len = self.layout.fragment_len as usize;
        let begun = len > 0 || !self.filled.is_multiple_of(fragment_len);
        if begun {
            self.fragments.push(window.into_buf());
        }
        self.filled += len;
    }

    /// Copies `bytes` in; returns how many found room.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut done = 0;
        while done < bytes.len() && !self.is_full() {
            let mut window = self.room().await?;
            let len = window.len().min(bytes.len() - done);
            window[..len].copy_from_slice(&bytes[done..done + len]);
            self.fill(window, len);
            done += len;
        }
        Ok(done)
    }

    /// A stripe that ends here: what was filled, moved into the layout of its true length.
    pub(crate) async fn shorten(self) -> Result<Fill> {
        let layout = Layout::for_len(self.layout.geometry, self.filled);
        let mut short = Fill::new(layout);
        let header_len = self.layout.header_len();
        // Each buffer goes back as soon as it was copied, so that both together hold hardly more than one stripe.
        for (fragment, (_, range)) in self.fragments.into_iter().zip(cut(self.layout.fragment_len, 0..self.filled)) {
            short.write(&fragment[header_len..][range]).await?;
        }
        assert!(short.is_full(), "the layout was chosen for these bytes");
        Ok(short)
    }

    /// Adds parity, checksums and headers. Must be full. Cost: a pass of the code and a CRC32C of all bytes.
    pub(crate) async fn seal(self, code: &Code, stamp: Stamp) -> Result<Vec<Fragment>> {
        assert!(self.is_full() && !self.lent, "only full stripes are sealed");
        let Fill { layout, mut fragments, .. } = self;
        let (data, width) = (usize::from(layout.geometry.data), layout.geometry.width());
        let payload = layout.header_len()..layout.header_len() + layout.fragment_len as usize;
        let mut parity = Vec::with_capacity(width - data);
        for _ in data..width {
            parity.push(allocate(layout.fragment_bytes()).await?);
        }
        // The pool's buffers hold what they last held: everything that is written and was not filled is zeroed.
        for (index, fragment) in fragments.iter_mut().enumerate() {
            fragment[payload.start + layout.used(index)..payload.end].fill(0);
        }
        if width > data {
            let sources: Vec<&[u8]> = (0..data)
                .map(|index| fragments.get(index).map_or(&[][..], |fragment| &fragment[payload.clone()]))
                .collect();
            let mut targets: Vec<&mut [u8]> =
                parity.iter_mut().map(|fragment| &mut fragment[payload.clone()]).collect();
            code.encode(&sources, &mut targets);
        }
        let indexed = fragments.into_iter().enumerate().chain((data..).zip(parity));
        let finished = indexed.map(|(index, fragment)| finish(index, fragment, layout, stamp));
        Ok(finished.collect())
    }
}

/// Builds a stripe from pieces of its linear space, which are copied. The pieces' lengths add up to `layout.stripe_len`.
pub(crate) async fn build(
    pieces: impl IntoIterator<Item = &[u8]>,
    layout: Layout,
    code: &Code,
    stamp: Stamp,
) -> Result<Vec<Fragment>> {
    let mut fill = Fill::new(layout);
    for piece in pieces {
        let written = fill.write(piece).await?;
        assert!(written == piece.len(), "the layout was chosen for these pieces");
    }
    fill.seal(code, stamp).await
}

/// The bytes of a sealed stripe's linear space: the used payload of each data fragment, in order.
pub(crate) fn payloads(layout: Layout, fragments: &[Fragment]) -> impl Iterator<Item = Shared> {
    let data = usize::from(layout.geometry.data);
    fragments.iter().filter(move |fragment| fragment.index < data).map(move |fragment| {
        let from = layout.header_len();
        fragment.bytes.slice(from..from + layout.used(fragment.index))
    })
}

/// Writes the header in front of the payload. Only the pages that hold used bytes are written.
fn finish(index: usize, mut fragment: Buf, layout: Layout, stamp: Stamp) -> Fragment {
    let header = Header {
        kind: stamp.kind,
        index: index as u8,
        geometry: layout.geometry,
        volume: stamp.volume,
        sequence: stamp.sequence,
        durable_upto: stamp.durable_upto,
        slot_offset: stamp.at,
        stripe_len: layout.stripe_len,
        fragment_len: layout.fragment_len,
    };
    let bytes = used_pages(layout.fragment_len, header.used()) as usize * PAGE_BYTES;
    header.seal(&mut fragment[..bytes], stamp.secret);
    Fragment { index, bytes: Shared::from(Window::new(fragment, 0..bytes)) }
}

/// What the fragments of a volume of this class say they are.
pub(crate) fn kind_of(class: Class) -> Kind {
    match class {
        Class::Log => Kind::Log,
        Class::Data => Kind::Data,
    }
}

/// A buffer of at least `len` bytes, when one is free.
pub(super) async fn allocate(len: usize) -> Result<Buf> {
    // Layouts never need more than the largest class: a machine set up with smaller ones cannot serve them.
    buf::alloc_checked(len).await.map_err(|_| Error::Unavailable("a fragment is larger than any buffer"))
}
