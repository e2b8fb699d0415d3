package main

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

type kind byte

const (
	kindRead kind = iota
	kindWrite
	kindZero
	kindFlush
)

// event is one thing that changed a disk, or made what came before durable.
type event struct {
	kind   kind
	at     int64 // nanoseconds of CLOCK_MONOTONIC: one order for all disks, and for who writes a journal beside them
	offset int64
	length int64
	data   []byte
}

// disk is one emulated drive with a volatile write cache. Every change is recorded with the moment it took effect; an
// answer is given only after that moment, so what somebody learnt by it happened later.
type disk struct {
	size   int64
	faults faults

	mutex  sync.Mutex
	now    *layer
	origin *layer // what the disk held when this recording began
	events []event
}

func newDisk(size int64) *disk {
	d := &disk{size: size}
	d.restart(over(nil))
	return d
}

// restart begins a new recording on a disk that holds `origin`.
func (d *disk) restart(origin *layer) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.origin, d.now, d.events = origin, over(origin), nil
}

// recording returns what was recorded so far.
func (d *disk) recording() recording {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return recording{origin: d.origin, events: d.events}
}

func (d *disk) read(offset int64, into []byte) syscall.Errno {
	if _, errno := d.faults.meet(kindRead, len(into)); errno != 0 {
		return errno
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.now.read(offset, into)
	return 0
}

func (d *disk) write(offset int64, from []byte) syscall.Errno {
	torn, errno := d.faults.meet(kindWrite, len(from))
	if torn {
		// The first half is there, and the answer says that something went wrong.
		from = from[:len(from)/2/sectorMin*sectorMin]
	} else if errno != 0 {
		return errno
	}
	data := append([]byte(nil), from...)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.now.write(offset, data)
	d.events = append(d.events, event{kind: kindWrite, at: clock(), offset: offset, length: int64(len(data)), data: data})
	return errno
}

func (d *disk) zero(offset, length int64) syscall.Errno {
	if _, errno := d.faults.meet(kindZero, 0); errno != 0 {
		return errno
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.now.zero(offset, length)
	d.events = append(d.events, event{kind: kindZero, at: clock(), offset: offset, length: length})
	return 0
}

func (d *disk) flush() syscall.Errno {
	if _, errno := d.faults.meet(kindFlush, 0); errno != 0 {
		return errno
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.events = append(d.events, event{kind: kindFlush, at: clock()})
	return 0
}

func clock() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // No Linux is without it.
	}
	return now.Nano()
}
