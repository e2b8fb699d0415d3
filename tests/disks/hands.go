package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	handsFlag    = "--hands"
	busyAttempts = 500
	busyPause    = 10 * time.Millisecond
)

// hands is a process that does for one drive what waits in the kernel for its disk. The process that answers for the disk
// must not do that itself: killed while it waits it could neither die nor answer, and nobody could take it away any more.
type hands struct {
	process *exec.Cmd
	orders  io.WriteCloser
	done    *bufio.Scanner
}

// order is something to do with a disk that is exported as `Image`, or is mounted at `Place`.
type order struct {
	Do, Image, Place, Fs, Options string
	Sector                        int
	Lazy                          bool
}

// newHands starts the process. Call it before anything is exported, since it keeps what is open now.
func newHands() (*hands, error) {
	process := exec.Command(os.Args[0], handsFlag)
	process.Stderr = os.Stderr
	orders, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	done, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	return &hands{process, orders, bufio.NewScanner(done)}, nil
}

func (h *hands) do(o order) error {
	if err := json.NewEncoder(h.orders).Encode(o); err != nil {
		return err
	}
	if !h.done.Scan() {
		return errors.New("the process that mounts is gone")
	}
	var failed string
	if err := json.Unmarshal(h.done.Bytes(), &failed); err != nil {
		return err
	}
	if failed != "" {
		return errors.New(failed)
	}
	return nil
}

func (h *hands) end() {
	h.orders.Close()
	_ = h.process.Wait() // It ends at the end of its input; there is nobody to tell how.
}

// lend is the process's whole life.
func lend() {
	signal.Ignore(syscall.SIGINT)
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var o order
		err := json.Unmarshal(lines.Bytes(), &o)
		if err == nil {
			err = o.follow()
		}
		failed := ""
		if err != nil {
			failed = err.Error()
		}
		if out.Encode(failed) != nil {
			return
		}
	}
}

func (o order) follow() error {
	switch o.Do {
	case "format":
		return withLoop(o.Image, o.Sector, o.format)
	case "mount":
		return o.mount()
	case "unmount":
		return o.unmount()
	case "check":
		return o.check()
	default:
		return fmt.Errorf("unknown order %q", o.Do)
	}
}

func (o order) format(device string) error {
	switch o.Fs {
	case "ext4":
		return run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", device)
	case "xfs":
		return run("mkfs.xfs", "-q", "-f", "-K", device)
	default:
		return fmt.Errorf("unknown file system %q", o.Fs)
	}
}

func (o order) mount() error {
	options := ""
	if o.Fs == "ext4" {
		options = o.Options
	}
	return withLoop(o.Image, o.Sector, func(device string) error {
		return unix.Mount(device, o.Place, o.Fs, unix.MS_NOATIME, options)
	})
}

func (o order) unmount() error {
	flags := 0
	if o.Lazy {
		flags = unix.MNT_DETACH
	}
	var err error
	for range busyAttempts {
		// A process that was killed a moment ago may hold a file still.
		if err = unix.Unmount(o.Place, flags); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(busyPause)
	}
	return err
}

// check replays the journal, by mounting, and has the file system's own checker look at everything.
func (o order) check() error {
	if err := o.mount(); err != nil {
		return err
	}
	if err := o.unmount(); err != nil {
		return err
	}
	return withLoop(o.Image, o.Sector, func(device string) error {
		if o.Fs == "ext4" {
			return run("e2fsck", "-f", "-n", device)
		}
		return run("xfs_repair", "-n", device)
	})
}

// withLoop gives a loop device of a file, which is gone afterwards unless it was mounted.
func withLoop(image string, sector int, do func(device string) error) error {
	device, held, err := attach(image, sector)
	if err != nil {
		return err
	}
	defer unix.Close(held)
	return do(device)
}

func run(name string, words ...string) error {
	if output, err := exec.Command(name, words...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, words, err, output)
	}
	return nil
}
