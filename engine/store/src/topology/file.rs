//! The `topology` file of a drive: reading it is part of looking at the drive, this writes the next epoch.

use std::io;
use std::path::Path;

use rt::file::{File, OpenOptions, Sync};

use crate::drive::TOPOLOGY_NAME;
use crate::format::topology::{COPY_BYTES, FILE_BYTES, Topology};

/// Writes the epoch over the older of the two copies; durable when it returns.
///
/// Errors: also when the drive holds this or a later epoch already, or none that can be read.
pub(crate) async fn write(dir: &Path, topology: &Topology) -> io::Result<()> {
    let file = File::open(dir.join(TOPOLOGY_NAME), OpenOptions::READ_WRITE_DIRECT).await?;
    let (result, mut buf) = file.read_at(rt::buf::alloc(FILE_BYTES).await, FILE_BYTES, 0).await;
    let len = result?;
    let (held, newest_copy) = Topology::decode_file(&buf[..len.min(FILE_BYTES)])
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    if held.number >= topology.number || held.deployment != topology.deployment {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the drive holds another epoch than it should"));
    }
    let copy = topology.encode();
    assert_eq!(Topology::decode(&copy).as_ref(), Ok(topology), "what is written reads back");
    buf[..COPY_BYTES].copy_from_slice(&copy);
    let offset = (1 - newest_copy) * COPY_BYTES;
    let (result, _) = file.write_at(buf.window(0..COPY_BYTES), offset as u64, Sync::Data).await;
    result
}
