//! Where things go: the geometry of a new volume and the drives that hold a partition's tables.

use std::cmp::Reverse;

use crate::format::topology::Topology;
use crate::ids::{DriveId, Geometry, PartitionId};

/// Wider stripes cost more per small batch than they save in parity.
pub(crate) const DATA_FRAGMENTS_MAX: u8 = 12;

/// P of a new deployment when none is asked for: none for one drive, one for 2 and 3, two for more.
pub(crate) fn default_parity(drives: usize) -> u8 {
    match drives {
        0 | 1 => 0,
        2 | 3 => 1,
        _ => 2,
    }
}

/// The geometry of a volume made now with `drives` drives: the same P and what is left for D; below P+1 drives copies
/// on all that are left. `None` without a drive.
pub(crate) fn geometry_for(drives: usize, parity: u8) -> Option<Geometry> {
    let parity_wanted = usize::from(parity);
    let (data, parity) = match drives {
        0 => return None,
        drives if drives <= parity_wanted => (1, drives - 1),
        drives => ((drives - parity_wanted).min(usize::from(DATA_FRAGMENTS_MAX)), parity_wanted),
    };
    Geometry::new(data as u8, parity as u8)
}

/// Of `drives` drives that take new volumes, how many must have room for one: the others may be full, and volumes are made
/// without them. Parity stays what it is, and at least every second drive is used: volumes on few drives store little.
pub(crate) fn drives_needed(drives: usize, parity: u8) -> usize {
    drives.div_ceil(2).max(usize::from(parity) + 1).min(drives)
}

/// Picks `width` of the drives with so much free room each, as places in that list and in its order. Each drive is picked in
/// proportion to its room, as far as one slot of each volume goes: so drives of all sizes are full at about the same time.
/// The same `seed` picks the same ones.
pub(crate) fn pick(free: &[u64], width: usize, seed: u64) -> Vec<usize> {
    if free.len() <= width {
        return (0..free.len()).collect();
    }
    // Without a byte anywhere all are alike.
    let weight = |place: usize| u128::from(free[place].max(1));
    let mut picked: Vec<usize> = Vec::with_capacity(width);
    let mut rest: Vec<usize> = (0..free.len()).collect();
    // Drives that would be picked more than once in proportion are in all volumes; the others share what is left.
    loop {
        let (left, total) = ((width - picked.len()) as u128, rest.iter().map(|&place| weight(place)).sum::<u128>());
        let (sure, others): (Vec<usize>, Vec<usize>) = rest.iter().partition(|&&place| weight(place) * left >= total);
        if sure.is_empty() || left == 0 {
            break;
        }
        picked.extend(sure);
        rest = others;
    }
    let (left, total) = ((width - picked.len()) as u128, rest.iter().map(|&place| weight(place)).sum::<u128>());
    if left > 0 {
        // Points at equal distances along all that is free: each drive is hit as its share says, and at most once.
        let (mut next, mut passed) = (u128::from(mix(seed)) % total, 0);
        for place in rest {
            passed += weight(place) * left;
            if passed > next {
                picked.push(place);
                next += total;
            }
        }
    }
    picked.sort_unstable();
    picked
}

/// The drives that shall hold the tables of `partition`, as indices into the drive list: P+1 drives of the in-set (or
/// all, if there are fewer), the primary first. Rendezvous hashing: when a drive goes, only its copies move.
///
/// Drives to `avoid` come last: those that shall go have their copies made elsewhere before. The hash is part of the format: another one would move every copy.
pub(crate) fn copies(topology: &Topology, partition: PartitionId, avoid: impl Fn(DriveId) -> bool) -> Vec<usize> {
    let mut ranked: Vec<(u64, usize)> = topology
        .drives
        .iter()
        .enumerate()
        .filter(|(_, member)| member.is_in())
        .map(|(index, member)| (weight(partition, member.drive), index))
        .collect();
    ranked.sort_unstable_by_key(|&(weight, index)| (avoid(topology.drives[index].drive), Reverse((weight, index))));
    ranked.truncate(usize::from(topology.parity) + 1);
    ranked.into_iter().map(|(_, index)| index).collect()
}

fn weight(partition: PartitionId, drive: DriveId) -> u64 {
    let seed = mix(u64::from(partition.0));
    mix(mix(seed ^ drive.0 as u64) ^ (drive.0 >> 64) as u64)
}

/// The finaliser of SplitMix64: every input bit changes about half of the output bits.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DeploymentId;

    #[test]
    fn geometry_follows_from_the_number_of_drives() {
        let of = |drives, parity| geometry_for(drives, parity).map_or("none".to_owned(), |g| g.to_string());
        let fresh: Vec<String> = (1..=8).map(|n| of(n, default_parity(n))).collect();
        assert_eq!(fresh, ["1+0", "1+1", "2+1", "2+2", "3+2", "4+2", "5+2", "6+2"]);
        let degraded: Vec<String> = (0..=6).map(|n| of(n, 2)).collect();
        assert_eq!(degraded, ["none", "1+0", "1+1", "1+2", "2+2", "3+2", "4+2"]);
        assert_eq!([of(14, 2), of(15, 2), of(64, 8)], ["12+2", "12+2", "12+8"]);
    }

    #[test]
    fn half_of_the_drives_are_enough_but_never_fewer_than_parity_takes() {
        let needed = |drives, parity| drives_needed(drives, parity);
        let table: Vec<usize> = (1..=8).map(|drives| needed(drives, 2)).collect();
        assert_eq!(table, [1, 2, 3, 3, 3, 3, 4, 4]);
        assert_eq!([needed(2, 1), needed(3, 1), needed(4, 0), needed(1, 0)], [2, 2, 2, 1]);
    }

    /// Makes volumes of `width` slots of 1 on drives of these sizes until a pick has no room; what is left on each.
    fn fill(sizes: &[u64], width: usize) -> Vec<u64> {
        let mut free = sizes.to_vec();
        for seed in 0.. {
            let picked = pick(&free, width, seed);
            assert!(picked.len() == width && picked.windows(2).all(|pair| pair[0] < pair[1]), "{picked:?}");
            if picked.iter().any(|&place| free[place] == 0) {
                return free;
            }
            picked.into_iter().for_each(|place| free[place] -= 1);
        }
        unreachable!("drives are finite")
    }

    #[test]
    fn drives_of_mixed_sizes_are_full_at_the_same_time() {
        let mixed = [vec![1_000; 3], vec![4_000; 5]].concat();
        let even = vec![1_000; 20];
        let one_small = [vec![500], vec![8_000; 19]].concat();
        for (sizes, width) in [(mixed, 4), (even, 14), (one_small, 14)] {
            let left: u64 = fill(&sizes, width).iter().sum();
            let all: u64 = sizes.iter().sum();
            assert!(left * 100 <= all * 2, "{left} of {all} are left on {sizes:?}");
        }
        // What is too large for one slot of each volume stays.
        assert_eq!(fill(&[100, 100, 900], 2), [0, 0, 700]);
    }

    #[test]
    fn a_drive_with_more_room_is_picked_more_often_from_the_first_volume_on() {
        let free = [vec![1_000; 3], vec![4_000; 5]].concat();
        let mut count = [0; 8];
        (0..2_300).for_each(|seed| pick(&free, 4, seed).into_iter().for_each(|place| count[place] += 1));
        assert!(count[..3].iter().all(|&count| (360..=440).contains(&count)), "4 x 1/23 of 2300 are 400: {count:?}");
        assert!(count[3..].iter().all(|&count| (1500..=1700).contains(&count)), "{count:?}");
    }

    #[test]
    fn a_drive_that_goes_moves_only_its_own_copies() {
        let drives: Vec<DriveId> = (1..=6).map(|n| DriveId(n * 0x1234_5678_9abc_def0_1111)).collect();
        let mut before = super::super::form(DeploymentId(1), 1, &drives, 2, 64);
        assert!(!before.tables_count());
        for partition in (0..64).map(PartitionId) {
            let mask = copies(&before, partition, |_| false).iter().fold(0, |mask, &index| mask | 1 << index);
            before.in_sync[usize::from(partition.0)] = mask;
        }
        let after = super::super::next(&before, 2, before.start, &drives[..1]);
        assert!(after.tables_count());
        let mut primaries = [0; 6];
        for partition in (0..64).map(PartitionId) {
            let (old, new) = (copies(&before, partition, |_| false), copies(&after, partition, |_| false));
            assert_eq!((old.len(), new.len()), (3, 3));
            let kept: Vec<usize> = old.iter().copied().filter(|&index| index != 0).collect();
            assert!(kept.iter().all(|index| new.contains(index)), "{old:?} became {new:?}");
            assert!(!new.contains(&0));
            assert_eq!(copies(&before, partition, |drive| drive == drives[0]), new, "one that shall go, as if it had");
            primaries[old[0]] += 1;
            for (index, &drive) in drives.iter().enumerate() {
                assert_eq!(before.is_in_sync(partition, drive), old.contains(&index));
                assert_eq!(after.is_in_sync(partition, drive), kept.contains(&index));
            }
        }
        assert!(primaries.iter().all(|&count| count >= 3), "primaries are spread: {primaries:?}");
    }
}
