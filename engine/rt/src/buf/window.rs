//! Parts of buffers: `Window` is one owner's part, `Shared` a part that several may read.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use super::Buf;

/// A buffer and the part of it that an operation is about. Derefs to that part.
#[derive(Debug)]
pub struct Window {
    buf: Buf,
    range: Range<usize>,
}

impl Window {
    /// Panics when the range does not lie in the buffer.
    pub fn new(buf: Buf, range: Range<usize>) -> Window {
        assert!(range.start <= range.end && range.end <= buf.len(), "the window lies in its buffer");
        Window { buf, range }
    }

    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The same buffer, another part of it. Panics when the range does not lie in the buffer.
    pub fn with_range(self, range: Range<usize>) -> Window {
        Window::new(self.buf, range)
    }

    pub fn buf(&self) -> &Buf {
        &self.buf
    }

    pub fn buf_mut(&mut self) -> &mut Buf {
        &mut self.buf
    }

    pub fn into_buf(self) -> Buf {
        self.buf
    }
}

impl From<Buf> for Window {
    /// The whole buffer.
    fn from(buf: Buf) -> Window {
        let range = 0..buf.len();
        Window { buf, range }
    }
}

impl Deref for Window {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buf[self.range.clone()]
    }
}

impl DerefMut for Window {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.range.clone()]
    }
}

#[derive(Clone, Debug)]
enum Owner {
    Buf(Arc<Buf>),
    Vec(Arc<Vec<u8>>),
    Static(&'static [u8]),
}

/// Read-only bytes with several owners: a buffer that goes to disk while others send it. Cloning costs one atomic add.
#[derive(Clone, Debug)]
pub struct Shared {
    owner: Owner,
    start: usize,
    end: usize,
}

impl Shared {
    pub fn from_static(bytes: &'static [u8]) -> Shared {
        Shared { owner: Owner::Static(bytes), start: 0, end: bytes.len() }
    }

    /// A part of this part, sharing the same buffer. Panics when the range does not lie in it.
    pub fn slice(&self, range: Range<usize>) -> Shared {
        assert!(range.start <= range.end && range.end <= self.len(), "the slice lies in its bytes");
        Shared { owner: self.owner.clone(), start: self.start + range.start, end: self.start + range.end }
    }

    /// The pool buffer behind these bytes, if this was its last owner; otherwise the bytes again.
    pub fn into_buf(self) -> Result<Buf, Shared> {
        let Shared { owner, start, end } = self;
        match owner {
            Owner::Buf(buf) => Arc::try_unwrap(buf).map_err(|buf| Shared { owner: Owner::Buf(buf), start, end }),
            owner @ (Owner::Vec(_) | Owner::Static(_)) => Err(Shared { owner, start, end }),
        }
    }

    pub(crate) fn pool_buf(&self) -> Option<&Buf> {
        match &self.owner {
            Owner::Buf(buf) => Some(buf),
            Owner::Vec(_) | Owner::Static(_) => None,
        }
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole: &[u8] = match &self.owner {
            Owner::Buf(buf) => buf,
            Owner::Vec(vec) => vec,
            Owner::Static(bytes) => bytes,
        };
        &whole[self.start..self.end]
    }
}

impl From<Window> for Shared {
    fn from(window: Window) -> Shared {
        let Range { start, end } = window.range();
        Shared { owner: Owner::Buf(Arc::new(window.into_buf())), start, end }
    }
}

impl From<Buf> for Shared {
    fn from(buf: Buf) -> Shared {
        Shared::from(Window::from(buf))
    }
}

impl From<Vec<u8>> for Shared {
    fn from(vec: Vec<u8>) -> Shared {
        let end = vec.len();
        Shared { owner: Owner::Vec(Arc::new(vec)), start: 0, end }
    }
}
