//! What a start goes on with: one pure function over what was found in the directories.

use std::path::PathBuf;

use super::{FORMING, OpenError};
use crate::format::Invalid;
use crate::format::drive::Identity;
use crate::format::topology::{Member, Topology};
use crate::ids::{DeploymentId, DriveId};

/// What a directory holds.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// There is no such directory.
    Absent,
    /// Nothing but what a fresh file system has.
    Empty,
    /// No identity, but something else.
    NotOurs { entry: String },
    /// The drive answers with errors.
    Unreadable,
    /// An identity file of which no copy can be read.
    Invalid(Invalid),
    Drive {
        identity: Identity,
        topology: Result<Topology, Invalid>,
        /// Whether there is any volume file.
        has_volumes: bool,
    },
}

/// One directory, in the order in which they were given.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) dir: PathBuf,
    pub(crate) found: Found,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) parity: Option<u8>,
    pub(crate) accept_missing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing was ever stored here: form a deployment, keeping the identities that an earlier attempt left.
    Form,
    Start(Box<Chosen>),
}

/// The epoch to go on from and who is there. The vectors hold indices into the directories and drive ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) topology: Topology,
    /// Members of the in-set that are here.
    pub(crate) present: Vec<(usize, DriveId)>,
    /// Members of the in-set that are not here, or whose topology cannot be read.
    pub(crate) missing: Vec<DriveId>,
    /// Drives that are here but were taken out in an earlier epoch: their slots are not read. Healing takes over here:
    /// such a drive enters again as a new one.
    pub(crate) returned: Vec<(usize, DriveId)>,
    /// Directories of drives that carry the deployment's id and that no epoch which counts lists: what an admission that
    /// was broken off left behind. Nothing was ever stored there.
    pub(crate) strays: Vec<usize>,
    /// Directories that hold no usable drive.
    pub(crate) unused: Vec<usize>,
}

/// Whether a start that sees the newest epoch with `missing` of its `members` absent may go on by itself.
///
/// `missing < members - P`: any later epoch that counts keeps members - P of these, so at least one of those present
/// would know of it. `missing <= P`: everything can be read.
pub(crate) fn may_start(members: usize, missing: usize, parity: u8) -> bool {
    let parity = usize::from(parity);
    missing == 0 || (missing <= parity && missing < members.saturating_sub(parity))
}

/// Whether an epoch may follow that keeps `kept` of the `members` of the last one that counts.
pub(crate) fn may_shrink(members: usize, kept: usize, parity: u8) -> bool {
    kept >= members.saturating_sub(usize::from(parity)).max(1)
}

/// The same for a drive that an operator gives up, when nothing depends on it. Without parity one at a time may go: a start
/// that goes on from the epoch before must see all of its drives then, and so those that know of this one.
pub(crate) fn may_retire(members: usize, kept: usize, parity: u8) -> bool {
    kept >= members.saturating_sub(usize::from(parity.max(1))).max(1)
}

/// Decides what to do with what was found. The order of the directories does not matter: identity decides.
pub(crate) fn decide(seen: &[Seen], wanted: Wanted) -> Result<Decision, OpenError> {
    refuse_unusable(seen)?;
    let drives = drives_in(seen);
    let Some(deployment) = deployment_of(&drives) else {
        return decide_without_drives(seen);
    };
    refuse_foreign_and_cloned(seen, &drives, deployment)?;
    let held: Vec<Held<'_>> = drives
        .iter()
        .filter_map(|drive| {
            let topology = drive.topology.as_ref().ok().filter(|topology| topology.deployment == deployment)?;
            Some(Held { dir: drive.dir, drive: drive.identity.drive, topology })
        })
        .collect();
    // Data is written only in later epochs, each of which is on all drives of its in-set before that.
    let stored_nothing = held.iter().all(|held| held.topology.number <= FORMING)
        && drives.iter().all(|drive| !drive.has_volumes)
        && seen.iter().all(|seen| !matches!(seen.found, Found::Unreadable | Found::Invalid(_)));
    if stored_nothing {
        return Ok(Decision::Form);
    }
    // An epoch that does not list its holder was put there for an admission: it tells nothing new.
    let told: Vec<Held<'_>> = held.iter().copied().filter(|held| held.topology.member(held.drive).is_some()).collect();
    if told.is_empty() {
        return Err(OpenError::Damaged { dir: seen[drives[0].dir].dir.clone(), what: "the topology" });
    }
    let topology = choose(seen, &told)?.clone();
    let is_stranger = |drive: &&SeenDrive<'_>| topology.member(drive.identity.drive).is_none();
    if let Some(stranger) = drives.iter().filter(is_stranger).find(|drive| drive.has_volumes) {
        let dir = seen[stranger.dir].dir.clone();
        return Err(OpenError::Foreign { dir, deployment, expected: deployment });
    }
    if let Some(asked) = wanted.parity.filter(|&asked| asked != topology.parity) {
        let formed_with = Some(topology.parity);
        return Err(OpenError::Parity { asked, drives: topology.drives.len(), formed_with });
    }
    let chosen = sort_out(seen, &drives, &held, topology);
    refuse_wrong_number(&chosen)?;
    if !wanted.accept_missing || chosen.present.is_empty() {
        refuse_too_many_missing(seen, &held, &chosen)?;
    }
    Ok(Decision::Start(Box::new(chosen)))
}

struct SeenDrive<'a> {
    dir: usize,
    identity: &'a Identity,
    topology: &'a Result<Topology, Invalid>,
    has_volumes: bool,
}

/// A drive whose topology can be read.
#[derive(Clone, Copy)]
struct Held<'a> {
    dir: usize,
    drive: DriveId,
    topology: &'a Topology,
}

fn drives_in(seen: &[Seen]) -> Vec<SeenDrive<'_>> {
    seen.iter()
        .enumerate()
        .filter_map(|(dir, seen)| match &seen.found {
            Found::Drive { identity, topology, has_volumes } => {
                Some(SeenDrive { dir, identity, topology, has_volumes: *has_volumes })
            }
            Found::Absent | Found::Empty | Found::NotOurs { .. } | Found::Unreadable | Found::Invalid(_) => None,
        })
        .collect()
}

fn refuse_unusable(seen: &[Seen]) -> Result<(), OpenError> {
    for Seen { dir, found } in seen {
        let dir = dir.clone();
        match found {
            Found::NotOurs { entry } => return Err(OpenError::NotEmpty { dir, entry: entry.clone() }),
            Found::Invalid(Invalid::Newer { version }) => {
                return Err(OpenError::Newer { dir, what: "the drive identity", version: *version });
            }
            Found::Drive { topology: Err(Invalid::Newer { version }), .. } => {
                return Err(OpenError::Newer { dir, what: "the topology", version: *version });
            }
            Found::Absent | Found::Empty | Found::Unreadable | Found::Invalid(_) | Found::Drive { .. } => {}
        }
    }
    Ok(())
}

/// The deployment that most drives carry; of several the one that was named first.
fn deployment_of(drives: &[SeenDrive<'_>]) -> Option<DeploymentId> {
    let count = |id: DeploymentId| drives.iter().filter(|drive| drive.identity.deployment == id).count();
    let ids = drives.iter().rev().map(|drive| drive.identity.deployment);
    ids.max_by_key(|&id| count(id))
}

fn decide_without_drives(seen: &[Seen]) -> Result<Decision, OpenError> {
    // A drive that cannot be read may be one with data: a new deployment is formed only on directories that are
    // known to be empty.
    match seen.iter().find(|seen| matches!(seen.found, Found::Unreadable | Found::Invalid(_))) {
        Some(seen) => Err(OpenError::Damaged { dir: seen.dir.clone(), what: "the drive identity" }),
        None => Ok(Decision::Form),
    }
}

fn refuse_foreign_and_cloned(seen: &[Seen], drives: &[SeenDrive<'_>], expected: DeploymentId) -> Result<(), OpenError> {
    for (n, drive) in drives.iter().enumerate() {
        let dir = seen[drive.dir].dir.clone();
        if drive.identity.deployment != expected {
            return Err(OpenError::Foreign { dir, deployment: drive.identity.deployment, expected });
        }
        if let Some(first) = drives[..n].iter().find(|other| other.identity.drive == drive.identity.drive) {
            return Err(OpenError::Cloned { first: seen[first.dir].dir.clone(), second: dir });
        }
    }
    Ok(())
}

/// Whether `newer` is the epoch `older`, which `drive` holds, or builds on it.
///
/// Beyond what `newer` knows of its ancestors the drive list decides: a drive that left this line later than the epoch
/// it holds has held an epoch of this line.
fn builds_on(newer: &Topology, older: &Topology, drive: DriveId) -> bool {
    match newer.id_at(older.number) {
        Some(id) => id == older.id,
        None => {
            older.number < newer.number && newer.member(drive).is_some_and(|member| member.out_since > older.number)
        }
    }
}

/// The newest epoch, when all others are its ancestors or provably never counted.
fn choose<'a>(seen: &[Seen], held: &[Held<'a>]) -> Result<&'a Topology, OpenError> {
    let holders = |id: u64| held.iter().filter(move |held| held.topology.id == id);
    let covered = |tip: &Topology, by: &Topology| {
        tip.id != by.id && holders(tip.id).all(|holder| builds_on(by, tip, holder.drive))
    };
    let mut tips: Vec<&'a Topology> = Vec::new();
    for held_here in held {
        let topology = held_here.topology;
        let known = tips.iter().any(|tip| tip.id == topology.id);
        if !known && !held.iter().any(|other| covered(topology, other.topology)) {
            tips.push(topology);
        }
    }
    // `tip` never counted if one of its own in-set stands on the line of `by` and not on it. That drive joined before the
    // two lines parted, since it joined once and both list it, and a drive that is out never comes in again: so no epoch
    // between the parting and `tip` was ever on all of its in-set. Its holders must be out or unknown on the other line; a
    // holder that is in there has been written to by two lines.
    let abandoned = |tip: &Topology, by: &Topology| {
        tip.id != by.id
            && holders(tip.id).all(|holder| !by.is_in(holder.drive))
            && held.iter().any(|witness| {
                tip.is_in(witness.drive)
                    && witness.topology.id != tip.id
                    && builds_on(by, witness.topology, witness.drive)
            })
    };
    let standing: Vec<&'a Topology> =
        tips.iter().copied().filter(|tip| !tips.iter().any(|by| abandoned(tip, by))).collect();
    let candidates = if standing.is_empty() { &tips } else { &standing };
    let newest = candidates
        .iter()
        .copied()
        .max_by_key(|tip| (tip.number, tip.id))
        .expect("the caller holds at least one topology, and one of them is covered by no other");
    if let Some(other) = standing.iter().find(|tip| tip.id != newest.id) {
        let side = |tip: &Topology| {
            held.iter()
                .filter(|held| builds_on(tip, held.topology, held.drive))
                .map(|held| seen[held.dir].dir.clone())
                .collect()
        };
        return Err(OpenError::Fork { first: side(newest), second: side(other) });
    }
    Ok(newest)
}

fn sort_out(seen: &[Seen], drives: &[SeenDrive<'_>], held: &[Held<'_>], topology: Topology) -> Chosen {
    let is_stray = |drive: &&SeenDrive<'_>| topology.member(drive.identity.drive).is_none();
    let strays = drives.iter().filter(is_stray).map(|drive| drive.dir).collect();
    let mut chosen =
        Chosen { topology, present: Vec::new(), missing: Vec::new(), returned: Vec::new(), strays, unused: Vec::new() };
    for &Member { drive, .. } in &chosen.topology.drives {
        let is_in = chosen.topology.is_in(drive);
        let found = drives.iter().find(|seen| seen.identity.drive == drive);
        match (found, is_in) {
            (Some(found), true) if held.iter().any(|held| held.drive == drive) => {
                chosen.present.push((found.dir, drive));
            }
            (Some(found), false) => chosen.returned.push((found.dir, drive)),
            (_, true) => chosen.missing.push(drive),
            (None, false) => {}
        }
    }
    chosen.unused = (0..seen.len())
        .filter(|dir| chosen.present.iter().chain(&chosen.returned).all(|(used, _)| used != dir))
        .filter(|dir| !chosen.strays.contains(dir))
        .collect();
    chosen
}

/// Each member that is not here needs a directory that was named and holds no drive, so that one which was left out of the
/// list by mistake is not taken for lost. More such directories than members that are in or were taken out are a mistake,
/// too: a drive does not enter by being listed.
fn refuse_wrong_number(chosen: &Chosen) -> Result<(), OpenError> {
    let members = &chosen.topology.drives;
    let out = members.iter().filter(|member| !member.is_in()).count() - chosen.returned.len();
    let missing = chosen.missing.len();
    if (missing..=missing + out).contains(&chosen.unused.len()) {
        return Ok(());
    }
    let have = chosen.present.len() + chosen.unused.len();
    Err(OpenError::WrongNumber { have, want: chosen.topology.in_count() })
}

/// Applies the start rule to the newest epoch, and to each older one that a member still holds: as long as one does,
/// the newest is not known to count. For the older ones a drive that was taken out is here as well: what it knows of
/// later epochs has been seen.
fn refuse_too_many_missing(seen: &[Seen], held: &[Held<'_>], chosen: &Chosen) -> Result<(), OpenError> {
    let is_present = |drive: DriveId| chosen.present.iter().any(|&(_, present)| present == drive);
    let is_seen = |drive: DriveId| held.iter().any(|held| held.drive == drive);
    let refuse = |epoch: &Topology, missing: usize| {
        let members = epoch.in_count();
        if may_start(members, missing, epoch.parity) {
            return Ok(());
        }
        let allowed = (0..members).rev().find(|&missing| may_start(members, missing, epoch.parity)).unwrap_or(0);
        let dirs = chosen.unused.iter().map(|&dir| seen[dir].dir.clone()).collect();
        Err(OpenError::TooManyMissing { missing, members, allowed, dirs })
    };
    refuse(&chosen.topology, chosen.missing.len())?;
    for older in held.iter().filter(|held| is_present(held.drive) && held.topology.id != chosen.topology.id) {
        refuse(older.topology, older.topology.in_set().filter(|&drive| !is_seen(drive)).count())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
