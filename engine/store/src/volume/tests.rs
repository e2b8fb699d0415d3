use super::*;

#[test]
fn rotation_and_its_inverse_agree_and_spread_evenly() {
    for width in 1..=24 {
        let mut first = vec![0; width];
        for at in (1..2000).map(SlotOffset) {
            for fragment in 0..width {
                let slot = rotate(at, fragment, width);
                assert!(slot < width);
                assert_eq!(rotate_back(at, slot, width), fragment);
            }
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
