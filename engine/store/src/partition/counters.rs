//! What a partition counts: usage per bucket, live bytes per volume. Exact as of the last applied entry; written as
//! absolute values with each flush, so that an entry counts exactly once, whatever is replayed.

use std::collections::{BTreeSet, HashMap};

use types::BucketId;

use crate::format::batch::{Entry, UsageDelta};
use crate::format::{Invalid, Reader};
use crate::ids::VolumeId;
use crate::index::keys::{self, Counter};

/// What a bucket holds in one partition, or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Keys with a current object.
    pub(crate) objects: i64,
    /// Of all versions.
    pub(crate) bytes: i64,
    /// Versions beside the current ones, delete markers included.
    pub(crate) versions: i64,
}

impl Usage {
    /// Of one current object, or of one other version.
    pub(crate) fn of(size_bytes: u64, is_current: bool) -> Usage {
        Usage { objects: i64::from(is_current), bytes: size_bytes as i64, versions: i64::from(!is_current) }
    }

    fn add(&mut self, delta: &UsageDelta, times: i64) {
        self.objects += delta.objects * times;
        self.bytes += delta.bytes * times;
        self.versions += delta.versions * times;
    }

    fn is_zero(self) -> bool {
        self == Usage::default()
    }
}

/// What a partition keeps alive of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) bytes: i64,
    /// Small bodies, or extents.
    pub(crate) bodies: i64,
}

impl Live {
    /// One body of so many bytes; negative: one that was let go.
    pub(crate) fn one(bytes: i64) -> Live {
        Live { bytes, bodies: bytes.signum() }
    }
}

impl std::ops::AddAssign for Live {
    fn add_assign(&mut self, other: Live) {
        self.bytes += other.bytes;
        self.bodies += other.bodies;
    }
}

impl std::ops::Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            objects: self.objects + other.objects,
            bytes: self.bytes + other.bytes,
            versions: self.versions + other.versions,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    usage: HashMap<BucketId, Usage>,
    /// Of entries that are decided but not durable.
    pending: HashMap<BucketId, Usage>,
    live: HashMap<VolumeId, Live>,
    /// Changed since they were last written.
    changed: BTreeSet<Vec<u8>>,
}

impl Counters {
    /// Takes a counter as a flush wrote it.
    pub(super) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), Invalid> {
        let mut input = Reader::new(value);
        match keys::parse_counter(key).ok_or(Invalid::Field("counter key"))? {
            Counter::Usage(bucket) => {
                let (objects, bytes, versions) = (input.u64()?, input.u64()?, input.u64()?);
                let usage = Usage { objects: objects as i64, bytes: bytes as i64, versions: versions as i64 };
                self.usage.insert(bucket, usage);
            }
            Counter::Live(volume) => {
                let (bytes, bodies) = (input.u64()?, input.u64()?);
                self.live.insert(volume, Live { bytes: bytes as i64, bodies: bodies as i64 });
            }
        }
        input.end()
    }

    pub(super) fn decide(&mut self, usage: &[UsageDelta]) {
        for delta in usage {
            self.pending.entry(delta.bucket).or_default().add(delta, 1);
        }
    }

    /// Undoes `decide`: the entry has failed, or is about to be applied.
    pub(super) fn settle(&mut self, usage: &[UsageDelta]) {
        for delta in usage {
            let usage = self.pending.entry(delta.bucket).or_default();
            usage.add(delta, -1);
            if usage.is_zero() {
                self.pending.remove(&delta.bucket);
            }
        }
    }

    pub(super) fn apply(&mut self, entry: &Entry) {
        for delta in &entry.usage {
            let usage = self.usage.entry(delta.bucket).or_default();
            usage.add(delta, 1);
            if usage.is_zero() {
                self.usage.remove(&delta.bucket);
            }
            self.changed.insert(keys::counter(Counter::Usage(delta.bucket)));
        }
        for (volume, bytes) in &entry.live {
            self.add_live(*volume, *bytes);
        }
        if let Some(address) = entry.placed {
            self.add_live(address.volume, i64::from(address.len));
        }
    }

    fn add_live(&mut self, volume: VolumeId, bytes: i64) {
        let live = self.live.entry(volume).or_default();
        *live += Live::one(bytes);
        if *live == Live::default() {
            self.live.remove(&volume);
        }
        self.changed.insert(keys::counter(Counter::Live(volume)));
    }

    /// Absolute values of what changed since the last call; `None`: zero.
    pub(super) fn take_changed(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| (self.encode(&key), key)).map(|(value, key)| (key, value)).collect()
    }

    fn encode(&self, key: &[u8]) -> Option<Vec<u8>> {
        match keys::parse_counter(key).expect("made by keys::counter") {
            Counter::Usage(bucket) => self.usage.get(&bucket).map(|usage| {
                [usage.objects, usage.bytes, usage.versions].iter().flat_map(|value| value.to_le_bytes()).collect()
            }),
            Counter::Live(volume) => self
                .live
                .get(&volume)
                .map(|live| [live.bytes, live.bodies].iter().flat_map(|value| value.to_le_bytes()).collect()),
        }
    }

    /// Takes these as all there is.
    pub(super) fn replace(&mut self, live: HashMap<VolumeId, Live>, usage: HashMap<BucketId, Usage>) {
        let volumes = self.live.keys().chain(live.keys()).map(|volume| Counter::Live(*volume));
        let buckets = self.usage.keys().chain(usage.keys()).map(|bucket| Counter::Usage(*bucket));
        self.changed.extend(volumes.chain(buckets).map(keys::counter));
        (self.live, self.usage) = (live, usage);
    }

    pub(super) fn are(&self, live: &HashMap<VolumeId, Live>, usage: &HashMap<BucketId, Usage>) -> bool {
        (&self.live, &self.usage) == (live, usage)
    }

    pub(super) fn durable(&self, bucket: BucketId) -> Usage {
        self.usage.get(&bucket).copied().unwrap_or_default()
    }

    pub(super) fn decided(&self, bucket: BucketId) -> Usage {
        self.durable(bucket) + self.pending.get(&bucket).copied().unwrap_or_default()
    }

    pub(super) fn all_live(&self) -> impl Iterator<Item = (VolumeId, Live)> {
        self.live.iter().map(|(volume, live)| (*volume, *live))
    }
}
