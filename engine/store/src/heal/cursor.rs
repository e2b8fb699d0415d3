//! The scrub's cursor on the drives: a small file on each of them, written now and then.

use std::sync::Arc;

pub(super) use crate::format::scrub::Cursor;

use crate::drive::{Op, write_whole};
use crate::node::Node;

const NAME: &str = "scrub";

/// The furthest cursor that any drive has; the beginning when none can be read.
pub(super) async fn read(node: &Arc<Node>) -> Cursor {
    let mut furthest = Cursor::default();
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        let Some(Ok(bytes)) = drive.while_answering(rt::file::read(drive.dir.join(NAME))).await else { continue };
        if let Ok(cursor) = Cursor::decode(&bytes)
            && (cursor.rounds, cursor.next, cursor.partition) > (furthest.rounds, furthest.next, furthest.partition)
        {
            furthest = cursor;
        }
    }
    furthest
}

/// Writes it on every drive that is there. A full drive keeps its old one.
pub(super) async fn write(node: &Arc<Node>, cursor: Cursor) {
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        let (path, bytes) = (drive.dir.join(NAME), cursor.encode());
        if let Some(Err(error)) = drive.while_answering(write_whole(&path, bytes)).await {
            node.note_io_error(drive, &error, Op::Write);
        }
    }
}
