//! Scenarios: what rots is repaired, what is lost is rebuilt, and what is reported is so.

use std::time::Duration;

use hafiz_store as store;
use rt::sim::Fault;

use super::healing::{
    Damage, OBJECTS, Run, census, check_all, check_rebuilt, damage, fill, placed, rebuilt, scrubbed, with_spare,
};

pub(crate) fn flipped_bits(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    for drive in [seed % 6, (seed + 2) % 6] {
        let dir = run.dirs[drive as usize].join("volumes");
        run.world.flip_bits(dir, 400);
    }
    assert!(run.world.fault_count(Fault::BitFlipAtRest) > 0);
    let before = run.run(async |_, _| census().await);
    assert!(before.fragments_bad > 0 && before.objects_short > 0 && !before.is_lossy(), "{before:?}");
    run.scrub = 1 << 30;
    run.run(async |store, bucket| {
        rebuilt().await;
        scrubbed().await;
        check_all(&store, bucket, 0..OBJECTS).await;
    });
    run.scrub = 0;
    let after = run.run(async |_, _| census().await);
    assert!(after.is_whole() && after.objects == OBJECTS, "seed {seed}: {after:?}");
    assert_eq!(after.objects_short, 0);
}

pub(crate) fn bad_fragment_read(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let fragments = placed(&store, bucket, 3).await;
        damage(&fragments[0], Damage::PayloadByte).await;
        let damaged = census().await;
        assert_eq!((damaged.fragments_bad, damaged.objects_short), (1, 1), "{damaged:?}");
        check_all(&store, bucket, [3]).await;
        let repaired = store::heal_status().fragments_repaired;
        rt::time::sleep(Duration::from_secs(1)).await;
        assert!(store::heal_status().fragments_repaired >= repaired);
        assert!(census().await.is_whole());
    });
}

pub(crate) fn planted_damage_counted(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let whole = census().await;
        assert!(whole.is_whole() && whole.objects == OBJECTS && whole.stripes > 0, "{whole:?}");
        // One bad fragment in object 3, two missing ones in object 8, and more bad ones than parity makes good in object 14.
        let (three, eight, fourteen) =
            (placed(&store, bucket, 3).await, placed(&store, bucket, 8).await, placed(&store, bucket, 14).await);
        damage(&three[0], Damage::PayloadByte).await;
        damage(&eight[0], Damage::Zeroed).await;
        damage(&eight[1], Damage::Zeroed).await;
        let last = fourteen.last().expect("it has fragments").stripe;
        let of_last: Vec<_> = fourteen.iter().filter(|fragment| fragment.stripe == last).collect();
        for fragment in of_last.iter().rev().take(4) {
            damage(fragment, Damage::HeaderByte).await;
        }
        let found = census().await;
        assert_eq!((found.fragments_bad, found.fragments_missing, found.fragments_absent), (1 + 4, 2, 0), "{found:?}");
        assert_eq!((found.objects_short, found.objects_lost), (2, 1), "{found:?}");
        assert_eq!((found.stripes, found.objects), (whole.stripes, whole.objects));
        assert_eq!(found.fragments_good, whole.fragments_good - 7);
        assert!(found.is_lossy() && !found.is_whole());
        let names: Vec<_> = found.lost.iter().map(|lost| lost.key.clone()).collect();
        assert_eq!(names, ["object/014"]);
    });
    // The scrub repairs what can be, tells what cannot, and touches none of that.
    run.scrub = 1 << 30;
    run.run(async |_, _| {
        scrubbed().await;
        let status = store::heal_status();
        assert_eq!(status.stripes_lost, 1, "{status:?}");
        assert!(!status.is_whole());
        let left = census().await;
        assert_eq!((left.fragments_bad, left.fragments_missing, left.objects_lost), (4, 0, 1), "{left:?}");
    });
}

pub(crate) fn lost_drive_rebuilt(seed: u64) {
    let mut run = with_spare(seed);
    let first = (seed % 6) as usize;
    run.remove(first);
    run.run(async |store, bucket| {
        check_rebuilt(&store, bucket).await;
    });
    run.remove((first + 1) % 6);
    run.remove((first + 2) % 6);
    run.run(async |store, bucket| {
        check_all(&store, bucket, 0..OBJECTS).await;
        let found = census().await;
        assert!(!found.is_lossy(), "{found:?}");
    });
}
