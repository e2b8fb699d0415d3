//! Reading one log stream: its volumes in order, from where the checkpoints leave off to where it ends.
//!
//! Only what cannot be vouched for yet is held back: the last one or two batches, until a later header says that they
//! were durable, or until the stream turns out to end with them.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::behind;
use super::classify::{Verdict, classify, classify_empty};
use super::read::{Ahead, Behind, Stripe, fronts, probe, search};
use crate::error::{Error, Result};
use crate::format::batch::Entry;
use crate::format::volume::Closed;
use crate::ids::{SlotOffset, VolumeId};
use crate::planted::{self, Bug};
use crate::volume::Volume;

/// A stream and how much of it is known before it is read.
pub(super) struct Stream {
    /// In order. Nothing before the first one is needed.
    pub(super) volumes: Vec<Part>,
    /// Where reading begins in the first volume.
    pub(super) from: SlotOffset,
    /// Number of the first batch there.
    pub(super) sequence: u64,
    /// Checkpoints vouch for batches up to this number.
    pub(super) durable_upto: u64,
}

/// A volume of a stream.
pub(super) struct Part {
    pub(super) volume: Arc<Volume>,
    /// Its end, if a page records it.
    pub(super) end: Option<SlotOffset>,
}

/// Acknowledged batches that cannot be read, or cannot stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) volume: VolumeId,
    pub(super) at: SlotOffset,
    pub(super) sequences: RangeInclusive<u64>,
}

impl Hole {
    fn of(stripe: &Stripe) -> Hole {
        let sequences = stripe.sequence()..=stripe.sequence();
        Hole { volume: stripe.volume.id, at: stripe.at(), sequences }
    }
}

/// What was learned of a stream.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Ends of its volumes that were open.
    pub(super) ends: Vec<Closed>,
    /// Batches to be committed again, in order: where they were found, and their entries with their bodies.
    pub(super) recommit: Vec<(Hole, Vec<Entry>)>,
    pub(super) holes: Vec<Hole>,
    pub(super) stripes: u64,
}

/// Reads `stream`; entries that count come to `apply` in order.
pub(super) async fn read_stream(stream: Stream, apply: &mut impl FnMut(Entry)) -> Result<Outcome> {
    let mut reader = Reader {
        expected: stream.sequence,
        durable_upto: stream.durable_upto,
        held: VecDeque::new(),
        vouched_for: VecDeque::new(),
        ends: vec![Some(SlotOffset::FIRST_STRIPE); stream.volumes.len()],
        outcome: Outcome::default(),
    };
    let parts = &stream.volumes[..];
    let (mut part, mut at) = (0, stream.from);
    let mut ahead = Ahead::default();
    reader.ends[part] = Some(at);
    let end = loop {
        let Part { volume, end } = &parts[part];
        let limit = end.unwrap_or(volume.end());
        let stripe = if at < limit { ahead.probe(volume, at).await } else { None };
        if let Some(stripe) = stripe.filter(|stripe| stripe.sequence() == reader.expected) {
            at = stripe.end();
            reader.ends[part] = Some(at);
            reader.take(stripe, end.is_some());
            reader.release(apply).await?;
            continue;
        }
        if end.is_some() && at >= limit {
            if part + 1 == parts.len() {
                break Some((part, at));
            }
            (part, at) = (part + 1, SlotOffset::FIRST_STRIPE);
            continue;
        }
        let behind = reader.look_behind(parts, part, at).await;
        reader.durable_upto = reader.durable_upto.max(behind.durable_upto);
        reader.release(apply).await?;
        // Whatever lies before a recorded end was durable.
        let vouched_for = end.is_some() || reader.durable_upto >= reader.expected;
        let fronts = if at < limit { fronts(volume, at).await } else { Vec::new() };
        let damaged = classify_empty(&fronts, vouched_for) == Verdict::Damaged;
        match behind.nearest {
            // The volume was full and the stream goes on in the next one.
            Some((.., sequence)) if sequence == reader.expected => {}
            Some((.., sequence)) if damaged => reader.hole(volume.id, part, at, sequence - 1),
            Some(_) => break Some((part, at)),
            None if damaged => {
                reader.hole(volume.id, part, at, reader.durable_upto.max(reader.expected));
                break None;
            }
            None => break Some((part, at)),
        }
        if let Some((next_part, next_at, sequence)) = behind.nearest {
            (part, at) = (next_part, next_at);
            reader.expected = sequence;
        }
    };
    let vouched_for = std::mem::take(&mut reader.vouched_for).into();
    behind::look(vouched_for, &parts[0].volume, stream.from).await;
    reader.finish(parts, end, apply).await
}

struct Reader {
    /// Number of the next batch.
    expected: u64,
    durable_upto: u64,
    /// Batches that nothing vouches for yet, in order.
    held: VecDeque<Stripe>,
    /// The last batches that something vouches for.
    vouched_for: VecDeque<Stripe>,
    /// Where the batches of each volume end; `None` when others should follow there that cannot be read.
    ends: Vec<Option<SlotOffset>>,
    outcome: Outcome,
}

/// What lies behind a gap, in the same volume and the later ones.
struct After {
    /// The nearest stripe: part, place, number.
    nearest: Option<(usize, SlotOffset, u64)>,
    /// The highest durable end stated anywhere.
    durable_upto: u64,
}

impl Reader {
    fn take(&mut self, stripe: Stripe, before_recorded_end: bool) {
        self.expected = stripe.sequence() + 1;
        self.durable_upto = self.durable_upto.max(stripe.header.durable_upto);
        if before_recorded_end {
            // An end is recorded only after everything before it was durable on all drives.
            self.durable_upto = self.durable_upto.max(stripe.sequence());
        }
        self.outcome.stripes += 1;
        self.held.push_back(stripe);
    }

    /// Applies the batches that are vouched for by now.
    async fn release(&mut self, apply: &mut impl FnMut(Entry)) -> Result<()> {
        while let Some(stripe) = self.held.pop_front_if(|stripe| stripe.sequence() <= self.durable_upto) {
            self.keep(&stripe, apply).await?;
            if self.vouched_for.len() >= behind::STRIPES_MAX {
                self.vouched_for.pop_front();
            }
            self.vouched_for.push_back(stripe.bare());
        }
        Ok(())
    }

    /// Applies the entries of a stripe that stays where it is.
    async fn keep(&mut self, stripe: &Stripe, apply: &mut impl FnMut(Entry)) -> Result<()> {
        match stripe.entries().await {
            Ok(mut entries) => {
                if planted::is(Bug::RecoveryDropsLastEntry) {
                    entries.pop();
                }
                entries.into_iter().for_each(apply);
            }
            Err(Error::Corrupt { .. }) => {
                self.outcome.holes.push(Hole::of(stripe));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notes that the batches from the next one up to `last` are lost; the first of them should be at `at`.
    fn hole(&mut self, volume: VolumeId, part: usize, at: SlotOffset, last: u64) {
        self.ends[part] = None;
        let sequences = self.expected..=last.max(self.expected);
        self.outcome.holes.push(Hole { volume, at, sequences });
    }

    /// Searches behind a gap at `at`: the rest of the volume, then all later ones.
    async fn look_behind(&self, parts: &[Part], part: usize, at: SlotOffset) -> After {
        let mut after = After { nearest: None, durable_upto: 0 };
        for (index, Part { volume, end }) in parts.iter().enumerate().skip(part) {
            let from = if index == part { at } else { SlotOffset::FIRST_STRIPE };
            let to = end.unwrap_or(volume.end());
            let first = if index > part && from < to { probe(volume, from).await } else { None };
            let behind = match first {
                Some(stripe) => {
                    Behind { nearest: Some((from, stripe.sequence())), durable_upto: stripe.header.durable_upto }
                }
                None => search(volume, from, to).await,
            };
            after.durable_upto = after.durable_upto.max(behind.durable_upto);
            // A number that was read already cannot come again: such a header is none of this stream.
            let nearest = behind.nearest.filter(|(_, sequence)| *sequence >= self.expected);
            after.nearest = after.nearest.or(nearest.map(|(at, sequence)| (index, at, sequence)));
        }
        after
    }

    /// The stream ends at `end`, unless the batches that nothing vouches for say otherwise. `None`: it cannot be said
    /// where it ends, and it stays open.
    async fn finish(
        mut self,
        parts: &[Part],
        end: Option<(usize, SlotOffset)>,
        apply: &mut impl FnMut(Entry),
    ) -> Result<Outcome> {
        let mut close = end;
        let mut recommitting = false;
        for stripe in std::mem::take(&mut self.held) {
            let found = stripe.verify().await?;
            let place = (parts.iter().position(|part| part.volume.id == stripe.volume.id), stripe.at());
            let place = (place.0.expect("a held stripe lies in a volume of its stream"), place.1);
            let verdict = match classify(&found, stripe.header.needed(), false) {
                Verdict::Recommit if planted::is(Bug::RecoveryTrustsTail) => Verdict::Keep,
                verdict => verdict,
            };
            match verdict {
                Verdict::Keep if !recommitting => self.keep(&stripe, apply).await?,
                // Behind a stripe that is committed again, everything is: order is kept, and the stream ends before both.
                Verdict::Keep | Verdict::Recommit => {
                    if !recommitting {
                        recommitting = true;
                        close = Some(place);
                    }
                    let entries = stripe.entries_with_bodies().await?;
                    self.outcome.recommit.push((Hole::of(&stripe), entries));
                }
                Verdict::Torn => {
                    if !recommitting {
                        close = Some(place);
                    }
                    break;
                }
                Verdict::Damaged => {
                    // Its end stays open: when the absent drives come back, it can be read.
                    let sequences = stripe.sequence()..=self.expected - 1;
                    self.outcome.holes.push(Hole { volume: stripe.volume.id, at: stripe.at(), sequences });
                    close = None;
                    break;
                }
            }
        }
        // All open volumes are closed, not the last one alone: what vouches for one may be in the next one, beyond the end
        // that is recorded for it now.
        if let Some((last, at)) = close {
            for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.end.is_none()) {
                let end = match index.cmp(&last) {
                    Ordering::Less => self.ends[index],
                    Ordering::Equal => Some(at),
                    Ordering::Greater => Some(SlotOffset::FIRST_STRIPE),
                };
                self.outcome.ends.extend(end.map(|end| Closed { volume: part.volume.id, end }));
            }
        }
        Ok(self.outcome)
    }
}
