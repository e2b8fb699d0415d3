use super::*;

#[test]
fn rotation_uses_every_slot_once_and_spreads_evenly() {
    for width in 1..=24 {
        let mut first = vec![0; width];
        for at in (1..2000).map(SlotOffset) {
            let mut slots: Vec<usize> = (0..width).map(|fragment| rotate(at, fragment, width)).collect();
            slots.sort_unstable();
            assert!(slots.into_iter().eq(0..width));
            first[rotate(at, 0, width)] += 1;
        }
        let even = 1999 / width;
        assert!(first.iter().all(|&count| count > even / 2 && count < even * 3 / 2 + 2), "{first:?}");
    }
}

#[test]
fn rotation_is_part_of_the_format() {
    let slots: Vec<usize> = (1..=12).map(|at| rotate(SlotOffset(at), 0, 6)).collect();
    assert_eq!(slots, [5, 4, 3, 4, 2, 2, 3, 4, 4, 4, 3, 3]);
}
