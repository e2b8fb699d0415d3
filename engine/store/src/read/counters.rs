//! What readers count.

use telemetry::Counter;

pub(crate) static FRAGMENTS_BAD: Counter =
    Counter::new("hafiz_fragments_bad_total", "Fragments that were read and are not what was written.");

pub(crate) static FRAGMENTS_LATE: Counter =
    Counter::new("hafiz_fragments_late_total", "Fragment reads that missed their deadline.");

pub(crate) static STRIPES_RECONSTRUCTED: Counter =
    Counter::new("hafiz_stripes_reconstructed_total", "Stripe reads that computed bytes from other fragments.");

pub(crate) static BODIES_REPAIRED: Counter = Counter::new(
    "hafiz_small_bodies_repaired_total",
    "Small bodies that were not right as read and went through their stripe's checksums.",
);

pub(crate) static CACHE_HITS: Counter =
    Counter::new("hafiz_body_cache_hits_total", "Bodies, or stripes of them, served from memory.");
