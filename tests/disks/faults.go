package main

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// rule is what a disk does wrong until it is told otherwise.
type rule struct {
	Kinds []string `json:"kinds"` // of read, write, zero, flush; none: all of them
	Share float64  `json:"share"` // of the operations that it meets; 0: all
	Error bool     `json:"error"` // EIO
	Torn  bool     `json:"torn"`  // EIO, and half of the write is there
	Hang  bool     `json:"hang"`  // no answer until the rules change
	Delay float64  `json:"delay"` // seconds
	Rate  float64  `json:"rate"`  // bytes per second, of the disk as a whole
}

// faults holds the rules of one disk, and counts how often each kind of fault struck.
type faults struct {
	mutex  sync.Mutex
	rules  []rule
	change chan struct{} // closed when the rules change
	free   time.Time     // when a disk that is limited in rate can take the next operation
	struck map[string]int
}

var kindNames = map[kind]string{kindRead: "read", kindWrite: "write", kindZero: "zero", kindFlush: "flush"}

func (f *faults) set(rules []rule) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.change != nil {
		close(f.change)
	}
	f.change, f.rules = make(chan struct{}), rules
}

func (f *faults) counts() map[string]int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	counts := map[string]int{}
	for name, count := range f.struck {
		counts[name] = count
	}
	return counts
}

// meet waits and fails as the rules say. With `torn`, half of a write has to be made before the error is returned.
func (f *faults) meet(what kind, length int) (torn bool, errno syscall.Errno) {
	f.mutex.Lock()
	rules, change := f.rules, f.change
	f.mutex.Unlock()
	for _, rule := range rules {
		if !rule.meets(what) {
			continue
		}
		name := kindNames[what]
		if rule.Delay > 0 {
			f.count("delay")
			wait(change, time.Duration(rule.Delay*float64(time.Second)))
		}
		if rule.Rate > 0 {
			f.count("rate")
			wait(change, f.turn(time.Duration(float64(length)/rule.Rate*float64(time.Second))))
		}
		if rule.Hang {
			f.count("hang " + name)
			<-change
			return f.meet(what, length)
		}
		if rule.Torn && what == kindWrite {
			f.count("torn")
			return true, syscall.EIO
		}
		if rule.Error {
			f.count("error " + name)
			return false, syscall.EIO
		}
	}
	return false, 0
}

func (r rule) meets(what kind) bool {
	is := len(r.Kinds) == 0
	for _, name := range r.Kinds {
		is = is || name == kindNames[what]
	}
	return is && (r.Share == 0 || rand.Float64() < r.Share)
}

// turn takes a slice of the time of a disk that does one thing after the other; it returns how long until it is over.
func (f *faults) turn(takes time.Duration) time.Duration {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	now := time.Now()
	if f.free.Before(now) {
		f.free = now
	}
	f.free = f.free.Add(takes)
	return f.free.Sub(now)
}

func (f *faults) count(name string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.struck == nil {
		f.struck = map[string]int{}
	}
	f.struck[name]++
}

func wait(change chan struct{}, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-change:
	}
}
