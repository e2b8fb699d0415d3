use super::*;
use crate::ids::StartNumber;
use crate::topology::mix;

const GIB: u64 = 1 << 30;

fn volume(n: u32) -> VolumeId {
    VolumeId::new(StartNumber::new(1).expect("small"), 0, n)
}

/// Drives of these sizes in GiB, and volumes with slots of a GiB on the drives of these masks.
fn check(sizes: &[u64], volumes: &[u64]) -> (Vec<Load>, Vec<Movable>) {
    let movable: Vec<Movable> = (0..).zip(volumes).map(|(n, &on)| Movable { id: volume(n), bytes: GIB, on }).collect();
    let used = |place: usize| volumes.iter().filter(|on| *on & 1 << place != 0).count() as u64 * GIB;
    let loads = (0..).zip(sizes).map(|(place, size)| Load { size: size * GIB, used: used(place) }).collect();
    (loads, movable)
}

/// Makes moves, a few at a time, until there are none; how many it took.
fn even_out(loads: &mut [Load], movable: &mut [Movable]) -> usize {
    let mut count = 0;
    loop {
        let moves = choose(loads, movable, &BTreeSet::new(), 3);
        if moves.is_empty() {
            return count;
        }
        for Move { volume, from, to } in moves {
            let moved = movable.iter_mut().find(|movable| movable.id == volume).expect("it was chosen of these");
            assert!(moved.on & 1 << from != 0 && moved.on & 1 << to == 0, "a drive has one slot of a volume at most");
            moved.on = moved.on & !(1 << from) | 1 << to;
            loads[from].used -= moved.bytes;
            loads[to].used += moved.bytes;
            assert!(loads[to].used <= loads[to].size);
            count += 1;
        }
        assert!(count < 10_000, "it comes to an end");
    }
}

fn fills(loads: &[Load]) -> Vec<u64> {
    loads.iter().map(Load::permille).collect()
}

#[test]
fn a_new_drive_gets_its_share_and_no_more_moves_than_that() {
    let (mut loads, mut movable) = check(&[100; 7], &[0b11_1111; 70]);
    let count = even_out(&mut loads, &mut movable);
    assert!(is_even(&loads), "{:?}", fills(&loads));
    assert!((58..=60).contains(&count), "60 slots are a seventh of 420: {count}");
}

#[test]
fn targets_follow_the_sizes() {
    // The drive that was added is four times as large.
    let (mut loads, mut movable) = check(&[100, 100, 100, 100, 400], &[0b1111; 80]);
    assert_eq!(targets_of(&loads), [40, 40, 40, 40, 160].map(|gib| gib * GIB));
    even_out(&mut loads, &mut movable);
    // It may hold one slot of each volume: 80, and not the 160 of its size.
    assert_eq!(fills(&loads)[4], 200, "{:?}", fills(&loads));
    assert!(fills(&loads[..4]).iter().all(|fill| (595..=605).contains(fill)), "{:?}", fills(&loads));
}

#[test]
fn whatever_the_sizes_it_ends_and_is_as_even_as_can_be() {
    for seed in 0..40u64 {
        let random = |n: u64, of: u64| mix(seed * 1000 + n) % of;
        let drives = 7 + random(0, 6) as usize;
        let sizes: Vec<u64> = (0..drives as u64).map(|n| 300 + random(n + 1, 300)).collect();
        // Volumes of four slots on the first four drives at first, then anywhere.
        let on = |n: u64| {
            let mut places: Vec<u64> = (0..if n < 60 { 4 } else { drives as u64 }).collect();
            places.sort_by_key(|place| mix(seed ^ n << 20 ^ place << 40));
            places[..4].iter().fold(0, |mask, place| mask | 1 << place)
        };
        let volumes: Vec<u64> = (0..100).map(on).collect();
        let (mut loads, mut movable) = check(&sizes, &volumes);
        let before = fills(&loads);
        even_out(&mut loads, &mut movable);
        let after = fills(&loads);
        let spread = after.iter().max().unwrap() - after.iter().min().unwrap();
        // A slot is up to 3 thousandths.
        assert!(spread <= SPREAD_PERMILLE + 3, "seed {seed}: {before:?} {after:?}");
    }
}

#[test]
fn nothing_moves_where_every_volume_is_on_every_drive() {
    let (loads, movable) = check(&[50, 100, 100], &[0b111; 40]);
    assert!(!is_even(&loads) && choose(&loads, &movable, &BTreeSet::new(), 3).is_empty());
    let (loads, movable) = check(&[100, 100, 100], &[0b011; 1]);
    assert!(is_even(&loads) && choose(&loads, &movable, &BTreeSet::new(), 3).is_empty());
}

#[test]
fn a_volume_that_could_not_be_moved_is_left_out() {
    let (loads, movable) = check(&[100; 3], &[0b011; 10]);
    let first = choose(&loads, &movable, &BTreeSet::new(), 1);
    assert_eq!(first.len(), 1);
    let second = choose(&loads, &movable, &BTreeSet::from([first[0].volume]), 1);
    assert_ne!(first[0].volume, second[0].volume);
    assert!(choose(&loads, &movable, &movable.iter().map(|movable| movable.id).collect(), 1).is_empty());
}
