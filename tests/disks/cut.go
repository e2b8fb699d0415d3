package main

import (
	"math/rand/v2"
	"sort"
)

// Smallest piece of a write that is there or not there as a whole.
const sectorMin = 512

// recording is what happened to one disk, in order, from a known content on.
type recording struct {
	origin *layer
	events []event
}

// replay finds what a disk holds when the power fails, for one moment after the other.
type replay struct {
	recording
	durable *layer // of the events before `flushed`
	flushed int
	until   int64
}

func newReplay(r recording) *replay {
	return &replay{recording: r, durable: over(r.origin)}
}

// loss is how the writes since the last flush are treated.
type loss string

const (
	lossNone  loss = "none"  // nothing is lost
	lossAll   loss = "all"   // none of them is there
	lossSome  loss = "some"  // each is there or not
	lossTorn  loss = "torn"  // each sector of each is there or not
	lossOrder loss = "order" // the first ones are there, one is torn, the rest is not there
	lossAny   loss = "any"   // the seed chooses one of these
)

// fate counts what became of the writes since the last flush.
type fate struct {
	Kept int `json:"kept"`
	Lost int `json:"lost"`
	Torn int `json:"torn"`
}

// cut returns what the disk holds when the power fails at `at`: every write before the last flush, and what `how` leaves
// of those after it. With `lies` no flush counts. A later cut than the one before is cheap. What an earlier cut returned
// must not be used any more.
func (r *replay) cut(at int64, rng *rand.Rand, how loss, sector int64, lies bool) (*layer, fate) {
	end := sort.Search(len(r.events), func(i int) bool { return r.events[i].at > at })
	if lies {
		if how == lossAny {
			// Of so many writes in any other order nothing would be left that can be mounted.
			how = lossOrder
		}
		return r.lose(over(r.origin), r.events[:end], rng, how, sector)
	}
	if at < r.until {
		r.durable, r.flushed = over(r.origin), 0
	}
	r.until = at
	flushed := end
	for flushed > r.flushed && r.events[flushed-1].kind != kindFlush {
		flushed--
	}
	// In place: whatever stood on the layer of an earlier cut is over by now.
	for _, event := range r.events[r.flushed:flushed] {
		event.apply(r.durable)
	}
	r.flushed = flushed
	return r.lose(over(r.durable), r.events[r.flushed:end], rng, how, sector)
}

func (e event) apply(to *layer) {
	switch e.kind {
	case kindWrite:
		to.write(e.offset, e.data)
	case kindZero:
		to.zero(e.offset, e.length)
	case kindRead, kindFlush:
	}
}

// lose applies to `to` what is left of writes that were not flushed.
func (r *replay) lose(to *layer, events []event, rng *rand.Rand, how loss, sector int64) (*layer, fate) {
	if how == lossAny {
		kinds := []loss{lossNone, lossAll, lossSome, lossSome, lossTorn, lossTorn, lossOrder}
		how = kinds[rng.IntN(len(kinds))]
	}
	share := []float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	last := rng.IntN(len(events) + 1)
	var fate fate
	for i, event := range events {
		if event.kind == kindFlush {
			continue
		}
		var there float64 // share of the sectors that are there
		switch how {
		case lossNone:
			there = 1
		case lossAll:
			there = 0
		case lossSome:
			if rng.Float64() < share {
				there = 1
			}
		case lossTorn:
			there = share
		case lossOrder:
			if i < last {
				there = 1
			} else if i == last {
				there = share
			}
		}
		kept := keep(to, event, rng, there, sector)
		switch {
		case kept == event.length:
			fate.Kept++
		case kept == 0:
			fate.Lost++
		default:
			fate.Torn++
		}
	}
	return to, fate
}

// keep applies a share of the sectors of a write, and returns how many bytes.
func keep(to *layer, e event, rng *rand.Rand, share float64, sector int64) int64 {
	if share == 1 {
		e.apply(to)
		return e.length
	}
	if share == 0 {
		return 0
	}
	var kept int64
	for at := int64(0); at < e.length; {
		n := min(sector-(e.offset+at)%sector, e.length-at)
		if rng.Float64() < share {
			if e.kind == kindWrite {
				to.write(e.offset+at, e.data[at:at+n])
			} else {
				to.zero(e.offset+at, n)
			}
			kept += n
		}
		at += n
	}
	return kept
}
