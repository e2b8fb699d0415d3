//! Finding a stripe by the header of one of its fragments.

use super::build::kind_of;
use crate::format::fragment::{Header, fragment_pages};
use crate::format::volume::VolumePage;
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::volume::rotate;

/// The header at the front of `bytes`, which were read at `at` from `slot` of the volume that `page` describes, if it belongs
/// exactly there: then it is right, since no place is written twice.
pub(crate) fn header_at(page: &VolumePage, slot: usize, at: SlotOffset, bytes: &[u8]) -> Option<Header> {
    let (header, _) = Header::decode(bytes, page.secret).ok()?;
    let here = header.kind == kind_of(page.class)
        && header.volume == page.volume
        && header.slot_offset == at
        && header.geometry == page.geometry
        && rotate(at, usize::from(header.index), page.geometry.width()) == slot;
    let end = page.slot_bytes / PAGE_BYTES as u64;
    let fits = u64::from(at.0) + u64::from(fragment_pages(header.fragment_len)) <= end;
    (here && fits).then_some(header)
}
