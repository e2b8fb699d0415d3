//! The `topology` file of a drive: reading it is part of looking at the drive, this writes the next epoch, and mends what has
//! rotted.

use std::io;
use std::path::Path;

use rt::file::{File, OpenOptions, Sync};

use crate::drive::TOPOLOGY_NAME;
use crate::format::Invalid;
use crate::format::topology::{COPY_BYTES, FILE_BYTES, Topology};

/// Whether both copies can be read, and the newer one is of this epoch or a later one.
pub(crate) async fn is_whole(dir: &Path, topology: &Topology) -> io::Result<bool> {
    let (_, states) = read_copies(dir).await?;
    Ok(to_mend(&states, topology).is_empty())
}

/// Writes the copies again that are bad: as the other one is, or with this epoch if that is older. Only in a turn, and only for a
/// drive that is in. How many; durable when it returns. What a later release wrote is left alone.
pub(crate) async fn mend(dir: &Path, topology: &Topology) -> io::Result<u64> {
    let (file, states) = read_copies(dir).await?;
    let newest = states.iter().flatten().max_by_key(|held| held.number);
    let copy = newest.filter(|held| held.number >= topology.number).unwrap_or(topology).encode();
    let to_mend = to_mend(&states, topology);
    for &n in &to_mend {
        let mut buf = rt::buf::alloc(COPY_BYTES).await;
        buf[..COPY_BYTES].copy_from_slice(&copy);
        let (result, _) = file.write_at(buf.window(0..COPY_BYTES), (n * COPY_BYTES) as u64, Sync::Data).await;
        result?;
    }
    Ok(to_mend.len() as u64)
}

type States = [Result<Topology, Invalid>; 2];

async fn read_copies(dir: &Path) -> io::Result<(File, States)> {
    let file = File::open(dir.join(TOPOLOGY_NAME), OpenOptions::READ_WRITE_DIRECT).await?;
    let (result, buf) = file.read_at(rt::buf::alloc(FILE_BYTES).await, FILE_BYTES, 0).await;
    let held = &buf[..result?.min(FILE_BYTES)];
    let states = [0, 1].map(|n| {
        let copy = held.get(n * COPY_BYTES..(n + 1) * COPY_BYTES).ok_or(Invalid::Short);
        copy.and_then(Topology::decode)
    });
    Ok((file, states))
}

/// The copies to be written again. One at least must know the epoch that counts.
fn to_mend(states: &States, topology: &Topology) -> Vec<usize> {
    match states {
        [Ok(first), Ok(second)] if first.number.max(second.number) < topology.number => {
            vec![usize::from(second.number < first.number)]
        }
        states => {
            let is_bad = |n: &usize| matches!(&states[*n], Err(why) if !matches!(why, Invalid::Newer { .. }));
            (0..2).filter(is_bad).collect()
        }
    }
}

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
