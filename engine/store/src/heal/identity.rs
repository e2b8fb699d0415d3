//! The small files that say which drive this is and which epoch it knows: each has two copies, and one alone is enough, so a
//! bad one is written again before the other goes bad, too.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rt::file::{File, OpenOptions, Sync};

use super::IDENTITIES_REPAIRED;
use crate::drive::{Drive, IDENTITY_NAME, Op};
use crate::format::Invalid;
use crate::format::drive::{COPY_BYTES, Identity};
use crate::node::{Node, mend_topology};
use crate::topology;

/// A drive that does not answer for so long is left for the next round.
const DRIVE_TIME_MAX: Duration = Duration::from_secs(20);
/// Slots that are asked for the identity of the drive they lie on.
const PROOFS_MAX: usize = 16;

/// Reads the identity and the topology of every drive that is used, and writes the copies again that are bad. What cannot be
/// read or written counts against the drive. On shard 0.
pub(super) async fn scrub(node: &Arc<Node>) {
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        let scrub = {
            let (node, drive) = (node.clone(), drive.clone());
            // A task of its own: what it has begun goes on when this gives up on it.
            rt::spawn(async move { scrub_drive(&node, &drive).await })
        };
        let error = match rt::time::timeout(DRIVE_TIME_MAX, scrub).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(rt::time::Elapsed) => io::ErrorKind::TimedOut.into(),
        };
        telemetry::warn!("identity and topology are not verified: {error}"; drive = drive.dir.display());
        node.note_io_error(drive, &error, Op::Read);
    }
}

async fn scrub_drive(node: &Arc<Node>, drive: &Arc<Drive>) -> io::Result<()> {
    {
        let _in_flight = drive.begin();
        scrub_identity(node, drive).await?;
        if topology::file::is_whole(&drive.dir, &node.topology()).await? {
            return Ok(());
        }
    }
    let mended = mend_topology(node, drive).await?;
    if mended > 0 {
        IDENTITIES_REPAIRED.add(mended);
        telemetry::warn!("bad copies of the epoch were written again"; drive = drive.dir.display());
    }
    Ok(())
}

async fn scrub_identity(node: &Arc<Node>, drive: &Drive) -> io::Result<()> {
    let file = File::open(drive.identity_path(), OpenOptions::READ_WRITE_DIRECT).await?;
    let (result, buffer) = file.read_at(rt::buf::alloc(2 * COPY_BYTES).await, 2 * COPY_BYTES, 0).await;
    let held = &buffer[..result?.min(2 * COPY_BYTES)];
    let states = [0, 1].map(|n| {
        let copy = held.get(n * COPY_BYTES..(n + 1) * COPY_BYTES).ok_or(Invalid::Short);
        copy.and_then(Identity::decode)
    });
    let identity = |sequence| Identity { sequence, deployment: node.deployment, drive: drive.id };
    let is_ours =
        |state: &Result<Identity, Invalid>| state.as_ref().is_ok_and(|found| *found == identity(found.sequence));
    if states.iter().all(is_ours) {
        return Ok(());
    }
    if !states.iter().any(is_ours) && !is_proved_by_volumes(node, drive).await {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no copy of {IDENTITY_NAME} is right")));
    }
    let sequence = states.iter().flatten().map(|found| found.sequence).max().unwrap_or(1);
    for (n, state) in states.iter().enumerate() {
        // What a later release wrote is not overwritten, whatever it is.
        if is_ours(state) || matches!(state, Err(Invalid::Newer { .. })) {
            continue;
        }
        let mut buffer = rt::buf::alloc(COPY_BYTES).await;
        buffer[..COPY_BYTES].copy_from_slice(&identity(sequence).encode());
        let (result, _) = file.write_at(buffer.window(0..COPY_BYTES), (n * COPY_BYTES) as u64, Sync::Data).await;
        result?;
        IDENTITIES_REPAIRED.add(1);
        telemetry::warn!("a bad copy of the identity was written again"; drive = drive.dir.display());
    }
    Ok(())
}

/// Whether the directory has a slot of a volume that is known to lie on this drive: then it is this drive's, whatever has become
/// of its identity.
async fn is_proved_by_volumes(node: &Arc<Node>, drive: &Drive) -> bool {
    let volumes = node.volumes();
    let slots = volumes.iter().flat_map(|volume| (0..volume.geometry.width()).map(move |slot| (volume, slot)));
    for (volume, slot) in slots.filter(|(volume, slot)| volume.drive(*slot).id == drive.id).take(PROOFS_MAX) {
        if volume.is_readable(slot) && volume.is_first_page_whole(slot).await {
            return true;
        }
    }
    false
}
