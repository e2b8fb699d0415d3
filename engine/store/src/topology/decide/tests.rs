use super::*;
use crate::topology::{form, next, with_member};

const DEPLOYMENT: DeploymentId = DeploymentId(0xd0);

fn drive_id(n: usize) -> DriveId {
    DriveId(0x100 + n as u128)
}

fn drive_ids(count: usize) -> Vec<DriveId> {
    (0..count).map(drive_id).collect()
}

fn formed(count: usize, parity: u8) -> Topology {
    form(DEPLOYMENT, 0xe1, &drive_ids(count), parity, 4)
}

/// The epoch after `previous` with that id, without those drives.
fn after(previous: &Topology, id: u64, out: &[usize]) -> Topology {
    let out: Vec<DriveId> = out.iter().map(|&n| drive_id(n)).collect();
    next(previous, id, previous.start, &out)
}

fn holds(n: usize, topology: &Topology) -> Seen {
    let identity = Identity { sequence: 1, deployment: DEPLOYMENT, drive: drive_id(n) };
    seen(n, Found::Drive { identity, topology: Ok(topology.clone()), has_volumes: true })
}

fn seen(n: usize, found: Found) -> Seen {
    Seen { dir: PathBuf::from(format!("/d{n}")), found }
}

fn absent(n: usize) -> Seen {
    seen(n, Found::Absent)
}

/// A deployment that was started once: epoch 2 on all drives.
fn running(count: usize, parity: u8) -> (Topology, Vec<Seen>) {
    let topology = after(&formed(count, parity), 0xe2, &[]);
    let seen = (0..count).map(|n| holds(n, &topology)).collect();
    (topology, seen)
}

/// In one line: the epoch's id and who is present, missing, returned; or the refusal's name.
fn outcome(seen: &[Seen], wanted: Wanted) -> String {
    let name = |id: &DriveId| (id.0 - 0x100).to_string();
    match decide(seen, wanted) {
        Ok(Decision::Form) => "form".to_owned(),
        Ok(Decision::Start(chosen)) => {
            let list = |ids: Vec<String>| ids.join(",");
            format!(
                "{:x} present {} missing {} returned {}",
                chosen.topology.id,
                list(chosen.present.iter().map(|(_, id)| name(id)).collect()),
                list(chosen.missing.iter().map(name).collect()),
                list(chosen.returned.iter().map(|(_, id)| name(id)).collect()),
            )
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let debug = format!("{error:?}");
            debug.split([' ', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

fn check(seen: &[Seen], expect: &str) {
    assert_eq!(outcome(seen, Wanted::default()), expect);
    let mut turned: Vec<Seen> = seen.to_vec();
    turned.reverse();
    let turned = outcome(&turned, Wanted::default());
    assert_eq!(turned.split(' ').next(), expect.split(' ').next(), "the order of the directories does not matter");
}

#[test]
fn a_start_goes_on_by_itself_with_as_many_missing_as_the_rule_says() {
    // Members, P, and how many may be missing.
    let table = [(1, 0, 0), (2, 1, 0), (3, 1, 1), (4, 2, 1), (5, 2, 2), (6, 2, 2), (7, 2, 2), (8, 2, 2)];
    for (members, parity, allowed) in table {
        for missing in 0..=members {
            assert_eq!(may_start(members, missing, parity), missing <= allowed, "{missing} of {members}");
            let (_, mut seen) = running(members, parity);
            for seen in &mut seen[..missing] {
                seen.found = Found::Absent;
            }
            let started = outcome(&seen, Wanted::default());
            let list = |range: std::ops::Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>().join(",");
            let expect = match missing {
                _ if missing == members => "form".to_owned(),
                _ if missing <= allowed => {
                    format!("e2 present {} missing {} returned ", list(missing..members), list(0..missing))
                }
                _ => "TooManyMissing".to_owned(),
            };
            assert_eq!(started, expect, "{missing} of {members}");
            if missing < members {
                let accepted = outcome(&seen, Wanted { accept_missing: true, parity: None });
                assert!(accepted.starts_with("e2 present"), "{missing} of {members} accepted: {accepted}");
            }
        }
    }
}

#[test]
fn an_in_set_that_has_shrunk_below_parity_starts_when_it_is_whole() {
    let full = running(6, 2).0;
    let shrunk = after(&after(&full, 0xe3, &[0, 1]), 0xe4, &[2, 3]);
    let mut seen: Vec<Seen> = (0..6).map(|n| if n < 4 { absent(n) } else { holds(n, &shrunk) }).collect();
    check(&seen, "e4 present 4,5 missing  returned ");
    seen[4] = absent(4);
    check(&seen, "TooManyMissing");
}

#[test]
fn an_epoch_may_keep_no_fewer_members_than_the_rule_says() {
    let kept_min = |members, parity| (0..=members).find(|&kept| may_shrink(members, kept, parity));
    let table = [(1, 0, 1), (1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (2, 2, 1), (6, 2, 4)];
    for (members, parity, expect) in table {
        assert_eq!(kept_min(members, parity), Some(expect), "{members} members, P = {parity}");
    }
}

#[test]
fn empty_directories_form_a_deployment() {
    check(&[absent(0), seen(1, Found::Empty)], "form");
    check(&[absent(0), seen(1, Found::Unreadable)], "Damaged");
    check(&[absent(0), seen(1, Found::Invalid(Invalid::Checksum))], "Damaged");
}

#[test]
fn a_forming_that_was_broken_off_is_done_again() {
    let identity = |n: usize| Identity { sequence: 1, deployment: DEPLOYMENT, drive: drive_id(n) };
    let bare =
        |n: usize| seen(n, Found::Drive { identity: identity(n), topology: Err(Invalid::Magic), has_volumes: false });
    let first = |n: usize, has_volumes: bool| {
        seen(n, Found::Drive { identity: identity(n), topology: Ok(formed(3, 1)), has_volumes })
    };
    check(&[bare(0), seen(1, Found::Empty), absent(2)], "form");
    check(&[first(0, false), bare(1), bare(2)], "form");
    check(&[first(0, false), first(1, false), first(2, false)], "form");
    // Anything that was stored, or that cannot be read, is no leftover.
    check(&[first(0, true), first(1, false), first(2, false)], "e1 present 0,1,2 missing  returned ");
    check(&[first(0, false), first(1, false), seen(2, Found::Unreadable)], "e1 present 0,1 missing 2 returned ");
}

#[test]
fn each_refusal_has_its_case() {
    let (topology, whole) = running(4, 2);
    let with = |n: usize, found: Found| {
        let mut seen = whole.clone();
        seen[n].found = found;
        seen
    };
    let identity =
        |deployment: u128, n: usize| Identity { sequence: 1, deployment: DeploymentId(deployment), drive: drive_id(n) };
    let drive = |identity: Identity, topology: Result<Topology, Invalid>| Found::Drive {
        identity,
        topology,
        has_volumes: true,
    };
    let newer = Invalid::Newer { version: 9 };
    check(&with(1, Found::NotOurs { entry: "photos".to_owned() }), "NotEmpty");
    check(&with(1, Found::Invalid(newer)), "Newer");
    check(&with(1, drive(identity(0xd0, 1), Err(newer))), "Newer");
    check(&with(1, drive(identity(0xbad, 1), Ok(topology.clone()))), "Foreign");
    check(&with(1, drive(identity(0xd0, 7), Ok(topology.clone()))), "Foreign");
    check(&with(1, drive(identity(0xd0, 0), Ok(topology.clone()))), "Cloned");
    check(&whole[..3], "WrongNumber");
    check(&[&whole[..], &[absent(4)]].concat(), "WrongNumber");
    let unreadable = |n| holds_nothing_readable(n);
    check(&[unreadable(0), unreadable(1), unreadable(2), unreadable(3)], "Damaged");
    assert_eq!(outcome(&whole, Wanted { parity: Some(1), accept_missing: false }), "Parity");
    assert!(outcome(&whole, Wanted { parity: Some(2), accept_missing: false }).starts_with("e2"));
}

fn holds_nothing_readable(n: usize) -> Seen {
    let identity = Identity { sequence: 1, deployment: DEPLOYMENT, drive: drive_id(n) };
    seen(n, Found::Drive { identity, topology: Err(Invalid::Checksum), has_volumes: true })
}

#[test]
fn the_order_of_the_directories_does_not_matter() {
    let (_, mut seen) = running(4, 2);
    seen.swap(0, 3);
    check(&seen, "e2 present 0,1,2,3 missing  returned ");
}

#[test]
fn a_drive_that_cannot_be_read_counts_as_missing() {
    let (_, whole) = running(4, 2);
    for found in [Found::Empty, Found::Unreadable, Found::Invalid(Invalid::Checksum), holds_nothing_readable(2).found] {
        let mut seen = whole.clone();
        seen[2].found = found;
        check(&seen, "e2 present 0,1,3 missing 2 returned ");
    }
}

#[test]
fn a_drive_that_was_taken_out_stays_out_when_it_comes_back() {
    let (old, mut seen) = running(6, 2);
    let new = after(&old, 0xe3, &[5]);
    for (n, seen) in seen[..5].iter_mut().enumerate() {
        *seen = holds(n, &new);
    }
    check(&seen, "e3 present 0,1,2,3,4 missing  returned 5");
    // Even if the epoch is many later and no longer knows the one it holds.
    let mut newest = new;
    for id in 0x1000..0x1400 {
        newest = after(&newest, id, &[]);
    }
    for (n, seen) in seen[..5].iter_mut().enumerate() {
        *seen = holds(n, &newest);
    }
    check(&seen, "13ff present 0,1,2,3,4 missing  returned 5");
}

#[test]
fn a_member_that_holds_an_older_epoch_is_a_member() {
    let (old, mut seen) = running(6, 2);
    let new = after(&old, 0xe3, &[]);
    seen[1] = holds(1, &new);
    check(&seen, "e3 present 0,1,2,3,4,5 missing  returned ");
}

#[test]
fn an_epoch_that_is_not_known_to_count_is_judged_with_the_one_before_it() {
    // Of four drives two were being taken out when the process died: only drive 0 has the new epoch. Drives 2 and 3 may
    // have done the same to the others, so neither pair goes on by itself.
    let (old, whole) = running(4, 2);
    let new = after(&old, 0xe3, &[2, 3]);
    check(&[holds(0, &new), whole[1].clone(), absent(2), absent(3)], "TooManyMissing");
    check(&[absent(0), absent(1), whole[2].clone(), whole[3].clone()], "TooManyMissing");
    check(&[holds(0, &new), holds(1, &new), absent(2), absent(3)], "e3 present 0,1 missing  returned ");
    // With all of them here it is plain that nobody did.
    let all = [holds(0, &new), whole[1].clone(), whole[2].clone(), whole[3].clone()];
    check(&all, "e3 present 0,1 missing  returned 2,3");
}

#[test]
fn an_epoch_that_was_broken_off_and_passed_over_is_no_fork() {
    // Drive 0 has an epoch that died with the process before any other drive had it; the next start was without drive 0.
    let (old, _) = running(6, 2);
    let broken_off = after(&old, 0xe3, &[]);
    let later = after(&after(&old, 0xf3, &[0]), 0xf4, &[]);
    let mut seen: Vec<Seen> = (0..6).map(|n| holds(n, &later)).collect();
    seen[0] = holds(0, &broken_off);
    check(&seen, "f4 present 1,2,3,4,5 missing  returned 0");
    // The same with a later epoch of the same start that died as well.
    seen[0] = holds(0, &after(&broken_off, 0xe4, &[]));
    check(&seen, "f4 present 1,2,3,4,5 missing  returned 0");
    // It may even be the newer one by its number.
    let mut newer = broken_off;
    for id in 0xe4..0xe9 {
        newer = after(&newer, id, &[]);
    }
    seen[0] = holds(0, &newer);
    check(&seen, "f4 present 1,2,3,4,5 missing  returned 0");
}

#[test]
fn two_lines_that_both_may_count_are_a_fork() {
    // Each half was started with --accept-missing.
    let (old, _) = running(6, 2);
    let (left, right) = (after(&old, 0xe3, &[3, 4, 5]), after(&old, 0xf3, &[0, 1, 2]));
    let all: Vec<Seen> = (0..6).map(|n| holds(n, if n < 3 { &left } else { &right })).collect();
    check(&all, "Fork");
    // However far one of them went on.
    let later = after(&after(&right, 0xf4, &[]), 0xf5, &[]);
    let all: Vec<Seen> = (0..6).map(|n| holds(n, if n < 3 { &left } else { &later })).collect();
    check(&all, "Fork");
    // One drive of the other side is enough: its side may have gone on without it.
    let mut some = all.clone();
    some[1] = absent(1);
    some[2] = absent(2);
    check(&some, "Fork");
    // One side alone goes on.
    let one_side: Vec<Seen> = (0..6).map(|n| if n < 3 { absent(n) } else { holds(n, &later) }).collect();
    check(&one_side, "f5 present 3,4,5 missing  returned ");
}

#[test]
fn a_member_written_to_by_two_lines_is_a_fork() {
    let (old, _) = running(6, 2);
    let (one, other) = (after(&old, 0xe3, &[]), after(&old, 0xf3, &[]));
    let seen: Vec<Seen> = (0..6).map(|n| holds(n, if n == 0 { &one } else { &other })).collect();
    check(&seen, "Fork");
}

/// `old` with one member more: drive 4 of 4.
fn grown(old: &Topology) -> Topology {
    with_member(after(old, 0xe3, &[]), drive_id(4))
}

/// A drive that was being admitted: no volume was ever on it.
fn applicant(n: usize, topology: &Topology) -> Seen {
    let identity = Identity { sequence: 1, deployment: DEPLOYMENT, drive: drive_id(n) };
    seen(n, Found::Drive { identity, topology: Ok(topology.clone()), has_volumes: false })
}

fn strays(seen: &[Seen]) -> Vec<usize> {
    match decide(seen, Wanted::default()) {
        Ok(Decision::Start(chosen)) => chosen.strays,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_admission_that_was_broken_off_is_gone_on_with_or_passed_over() {
    let (old, whole) = running(4, 2);
    let new = grown(&old);
    // Before its epoch was written anywhere else: it is known, and all are here.
    check(&[&whole[..], &[applicant(4, &new)]].concat(), "e3 present 0,1,2,3,4 missing  returned ");
    // Before its own epoch: nobody knows it.
    let bare = [&whole[..], &[applicant(4, &old)]].concat();
    check(&bare, "e2 present 0,1,2,3 missing  returned ");
    assert_eq!(strays(&bare), [4]);
    // One of the others has its epoch and it has not: it is a member that lags, and the old epoch is judged, too.
    let mut some: Vec<Seen> = [&[holds(0, &new)], &whole[1..], &[applicant(4, &old)]].concat();
    check(&some, "e3 present 0,1,2,3,4 missing  returned ");
    some[3] = absent(3);
    check(&some, "e3 present 0,1,2,4 missing 3 returned ");
    some[2] = absent(2);
    check(&some, "TooManyMissing");
    // The others went on without it.
    let later = after(&old, 0xf3, &[]);
    let seen: Vec<Seen> = (0..4).map(|n| holds(n, &later)).chain([applicant(4, &new)]).collect();
    check(&seen, "f3 present 0,1,2,3 missing  returned ");
    assert_eq!(strays(&seen), [4]);
    // And without the one drive that had heard of it.
    let later = after(&old, 0xf3, &[0]);
    let mut seen: Vec<Seen> = (0..4).map(|n| holds(n, &later)).chain([applicant(4, &new)]).collect();
    seen[0] = holds(0, &new);
    check(&seen, "f3 present 1,2,3 missing  returned 0");
    assert_eq!(strays(&seen), [4]);
    // With data on it, it was no applicant.
    let seen: Vec<Seen> = (0..4).map(|n| holds(n, &later)).chain([holds(4, &new)]).collect();
    check(&seen, "Foreign");
}

#[test]
fn a_larger_deployment_wants_all_its_directories_and_those_of_drives_that_are_out_are_free() {
    let (old, _) = running(4, 2);
    let new = grown(&old);
    let whole: Vec<Seen> = (0..5).map(|n| holds(n, &new)).collect();
    check(&whole[..4], "WrongNumber");
    check(&[&whole[..4], &[absent(4)]].concat(), "e3 present 0,1,2,3 missing 4 returned ");
    let replaced = after(&new, 0xe4, &[0]);
    let seen: Vec<Seen> = (1..5).map(|n| holds(n, &replaced)).collect();
    check(&seen, "e4 present 1,2,3,4 missing  returned ");
    check(&[&[absent(0)], &seen[..]].concat(), "e4 present 1,2,3,4 missing  returned ");
    check(&[&[holds(0, &new)], &seen[..]].concat(), "e4 present 1,2,3,4 missing  returned 0");
    check(&[&[absent(0), absent(7)], &seen[..]].concat(), "WrongNumber");
    // The directory of the one that is out does not stand for one that is forgotten.
    check(&[&[holds(0, &new)], &seen[1..]].concat(), "WrongNumber");
}

#[test]
fn no_two_starts_go_on_apart_after_an_admission_was_broken_off() {
    for members in 1..=12usize {
        for parity in 0..members.min(9) as u8 {
            // One start sees some drives with the old epoch, the other one the rest and the new drive.
            for with_old in 1..=members {
                let old_goes_on = may_start(members, members - with_old, parity);
                let new_goes_on = may_start(members + 1, with_old, parity);
                assert!(
                    !(old_goes_on && new_goes_on),
                    "{members} members, P = {parity}, {with_old} with the old epoch"
                );
            }
        }
    }
}
