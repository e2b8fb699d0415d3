//! Forms a deployment on directories that hold nothing.
//!
//! The identity comes first, then the rest, then the first epoch. A crash in between leaves drives without an epoch or
//! with the first one only: no data was written by then, and the next start forms again with the same identities.

use std::io;
use std::path::Path;

use super::{IDENTITY_NAME, INDEX_NAME, LOCK_NAME, Looked, TOPOLOGY_NAME, VOLUMES_NAME, look, write_whole};
use crate::format::drive::Identity;
use crate::format::topology::COPY_BYTES;
use crate::ids::{DeploymentId, DriveId, Geometry};
use crate::topology::{self, Found, OpenError, Topology, default_parity};

/// Makes a drive of each directory and returns the first epoch. Every directory is locked afterwards.
pub(crate) async fn form(
    looked: &mut [Looked],
    parity: Option<u8>,
    partition_count: u16,
) -> Result<Topology, OpenError> {
    let count = looked.len();
    let parity = parity.unwrap_or_else(|| default_parity(count));
    if usize::from(parity) >= count || parity > Geometry::PARITY_MAX {
        return Err(OpenError::Parity { asked: parity, drives: count, formed_with: None });
    }
    for looked in looked.iter_mut() {
        lock(looked).await?;
    }
    let kept = looked.iter().find_map(identity_of);
    let deployment = kept.map_or_else(|| DeploymentId(random_u128()), |identity| identity.deployment);
    let mut drives = Vec::with_capacity(count);
    for looked in looked.iter() {
        let drive = identity_of(looked).map_or_else(|| DriveId(random_u128()), |identity| identity.drive);
        let identity = Identity { sequence: 1, deployment, drive };
        make_drive(&looked.seen.dir, &identity).await.map_err(failed(&looked.seen.dir))?;
        drives.push(drive);
    }
    let topology = topology::form(deployment, rt::random::u64(), &drives, parity, partition_count);
    for looked in looked.iter() {
        write_first(&looked.seen.dir, &topology).await?;
    }
    Ok(topology)
}

/// Creates the directory if need be and locks it; it must still hold nothing then.
async fn lock(looked: &mut Looked) -> Result<(), OpenError> {
    if looked.lock.is_some() {
        return Ok(());
    }
    let dir = looked.seen.dir.clone();
    rt::file::create_dir_all(&dir).await.map_err(failed(&dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        rt::file::sync_dir(parent).await.map_err(failed(parent))?;
    }
    let lock = rt::file::try_lock(dir.join(LOCK_NAME)).await.map_err(failed(&dir))?;
    let lock = lock.ok_or_else(|| OpenError::Locked { dir: dir.clone() })?;
    let again = look(&dir).await;
    match again {
        Ok(Looked { seen, .. }) if matches!(seen.found, Found::Empty) => {
            looked.lock = Some(lock);
            Ok(())
        }
        // Another process formed it between the first look and the lock.
        Ok(_) => Err(OpenError::Locked { dir }),
        Err(error) => Err(error),
    }
}

/// Makes a drive of one more directory, with an identity that was never used before and the epoch that counts now, which
/// does not list it. The directory is locked afterwards. What an admission that was broken off has left is replaced.
pub(crate) async fn equip(looked: &mut Looked, epoch: &Topology) -> Result<DriveId, OpenError> {
    lock(looked).await?;
    let dir = looked.seen.dir.clone();
    let identity = Identity { sequence: 1, deployment: epoch.deployment, drive: DriveId(random_u128()) };
    make_drive(&dir, &identity).await.map_err(failed(&dir))?;
    write_first(&dir, epoch).await?;
    Ok(identity.drive)
}

async fn write_first(dir: &Path, topology: &Topology) -> Result<(), OpenError> {
    let mut file = topology.encode();
    file.resize(2 * COPY_BYTES, 0);
    let path = dir.join(TOPOLOGY_NAME);
    write_whole(&path, file).await.map_err(failed(&path))
}

async fn make_drive(dir: &Path, identity: &Identity) -> io::Result<()> {
    let copies = [identity.encode(), Identity { sequence: identity.sequence + 1, ..*identity }.encode()].concat();
    write_whole(&dir.join(IDENTITY_NAME), copies).await?;
    rt::file::create_dir_all(dir.join(VOLUMES_NAME)).await?;
    rt::file::create_dir_all(dir.join(INDEX_NAME)).await?;
    rt::file::sync_dir(dir).await
}

fn identity_of(looked: &Looked) -> Option<Identity> {
    match &looked.seen.found {
        Found::Drive { identity, .. } => Some(*identity),
        Found::Absent | Found::Empty | Found::NotOurs { .. } | Found::Unreadable | Found::Invalid(_) => None,
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Io { path: path.to_owned(), doing: "form", error }
}

fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    rt::random::fill_secret(&mut bytes);
    u128::from_le_bytes(bytes)
}
