package main

// What was asked and answered, by key, with times of one monotonic clock; and which keys are in use.
//
// Keys rotate: after `rotateAfter` or `opsMax` operations a slot goes on with a new key. So each history stays short
// enough for the checker to decide, and absent keys, for which many clients race, come up all the time.

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

type kind int

const (
	get kind = iota
	head
	put
	copyTo
	del
)

var kindNames = []string{"get", "head", "put", "copy", "delete"}

type condition int

const (
	always condition = iota
	// If-None-Match: *
	ifAbsent
	// If-Match
	ifMatch
)

type outcome int

const (
	done outcome = iota
	// 412
	failed
	// 404 for a write
	absent
	// May have happened, or not, until the process that had it is replaced.
	unknown
	// Surely without effect, and nothing is learnt from it.
	nothing
)

var outcomeNames = []string{"ok", "412", "404", "unknown", "no effect"}

// What a key holds: the number of the attempt that wrote it, and the ETag, which copies of one source share.
// The zero value: the key is absent.
type value struct {
	ID   int64
	Etag string
}

type input struct {
	Kind      kind
	Condition condition
	Match     string
	Writes    value
}

type output struct {
	Outcome outcome
	Reads   value
}

// One operation. Times are nanoseconds since the start of the run; `start`: which start of the server it was sent to.
type operation struct {
	Client int
	Call   int64
	Return int64
	Start  int
	In     input
	Out    output
}

const forever = math.MaxInt64 / 2

type history struct {
	mutex sync.Mutex
	began time.Time
	keys  map[string][]operation
	// Complaints that need no checker: torn bodies, answers that no request may get.
	problems []string
	counts   map[string]int
}

func newHistory() *history {
	return &history{began: time.Now(), keys: map[string][]operation{}, counts: map[string]int{}}
}

func (h *history) now() int64 {
	return int64(time.Since(h.began))
}

func (h *history) add(key string, each operation) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.counts[kindNames[each.In.Kind]]++
	h.counts[outcomeNames[each.Out.Outcome]]++
	if each.Out.Outcome == nothing || each.Out.Outcome == unknown && each.In.Kind <= head {
		return
	}
	h.keys[key] = append(h.keys[key], each)
}

func (h *history) count(name string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.counts[name]++
}

func (h *history) problem(format string, arguments ...any) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.problems = append(h.problems, fmt.Sprintf(format, arguments...))
}

// Gives operations with an unknown outcome their end: what a process was asked has happened when the next one listens,
// or never does.
func (h *history) bound(listening []int64) {
	for key, operations := range h.keys {
		for n := range operations {
			if each := &operations[n]; each.Out.Outcome == unknown {
				each.Return = forever
				if each.Start+1 < len(listening) {
					each.Return = listening[each.Start+1]
				}
			}
		}
		// Sent to a process that was gone already.
		h.keys[key] = slices.DeleteFunc(operations, func(each operation) bool { return each.Return < each.Call })
	}
}

// The key that a slot stands for now.
type slots struct {
	mutex       sync.Mutex
	rotateAfter time.Duration
	opsMax      int
	keys        []slot
}

type slot struct {
	generation int
	ops        int
	since      time.Time
}

func newSlots(count int, rotateAfter time.Duration, opsMax int) *slots {
	made := &slots{rotateAfter: rotateAfter, opsMax: opsMax, keys: make([]slot, count)}
	for n := range made.keys {
		made.keys[n].since = time.Now()
	}
	return made
}

func (s *slots) take(n int) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	each := &s.keys[n]
	if each.ops >= s.opsMax || time.Since(each.since) > s.rotateAfter {
		*each = slot{generation: each.generation + 1, since: time.Now()}
	}
	each.ops++
	return fmt.Sprintf("key%d/%d", n, each.generation)
}
