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
	// As small as they can be: a mount replays the journal, which must not cost more than everything else that is done with a
	// disk, and a small one comes round.
	ext4JournalMiB = 4
	xfsLogMiB      = 6
	// e2fsck mended what it found.
	e2fsckMended = 1
)

// What lets mkfs.xfs make a log below 64 MiB: xfstests sets these.
var xfsSmallLog = []string{"TEST_DIR=none", "TEST_DEV=none", "QA_CHECK_FS=none"}

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

// outcome is what came of an order.
type outcome struct {
	Failed   string
	Repaired bool // mount: a checker had to look at the file system first
}

func (h *hands) do(o order) (outcome, error) {
	var done outcome
	if err := json.NewEncoder(h.orders).Encode(o); err != nil {
		return done, err
	}
	if !h.done.Scan() {
		return done, errors.New("the process that mounts is gone")
	}
	if err := json.Unmarshal(h.done.Bytes(), &done); err != nil {
		return done, err
	}
	if done.Failed != "" {
		return done, errors.New(done.Failed)
	}
	return done, nil
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
		var done outcome
		err := json.Unmarshal(lines.Bytes(), &o)
		if err == nil {
			done.Repaired, err = o.follow()
		}
		if err != nil {
			done.Failed = err.Error()
		}
		if out.Encode(done) != nil {
			return
		}
	}
}

func (o order) follow() (repaired bool, err error) {
	switch o.Do {
	case "format":
		return false, withLoop(o.Image, o.Sector, o.format)
	case "mount":
		return o.mount()
	case "unmount":
		return false, o.unmount()
	case "check":
		return o.check()
	default:
		return false, fmt.Errorf("unknown order %q", o.Do)
	}
}

func (o order) format(device string) error {
	switch o.Fs {
	case "ext4":
		journal := fmt.Sprintf("size=%d", ext4JournalMiB)
		options := "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
		return run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", journal, "-E", options, device)
	case "xfs":
		mkfs := exec.Command("mkfs.xfs", "-q", "-f", "-K", "-l", fmt.Sprintf("size=%dm", xfsLogMiB), device)
		mkfs.Env = append(os.Environ(), xfsSmallLog...)
		return finish(mkfs)
	default:
		return fmt.Errorf("unknown file system %q", o.Fs)
	}
}

// mount mounts the file system. ext4 refuses a journal whose last commit block is torn, and its checker drops that
// transaction, which nobody was told to be durable; distributions run it at each boot. It refuses as well a superblock that is
// torn, since that takes two sectors of 512 bytes; then an administrator names a copy of it. Here the checker runs only
// when it is needed, so that the kernel replays journals, too.
func (o order) mount() (repaired bool, err error) {
	options := ""
	if o.Fs == "ext4" {
		options = o.Options
	}
	err = withLoop(o.Image, o.Sector, func(device string) error {
		refused := unix.Mount(device, o.Place, o.Fs, unix.MS_NOATIME, options)
		if refused == nil || o.Fs != "ext4" {
			return refused
		}
		if err := repair(device); err != nil {
			return fmt.Errorf("mount: %w; %w", refused, err)
		}
		repaired = true
		return unix.Mount(device, o.Place, o.Fs, unix.MS_NOATIME, options)
	})
	return repaired, err
}

// repair has ext4's checker mend a file system, with a copy of its superblock if there is no other way.
func repair(device string) error {
	var failures error
	for _, words := range [][]string{{"-p"}, {"-y", "-b", "32768", "-B", "4096"}} {
		err := run("e2fsck", append(words, device)...)
		var code *exec.ExitError
		if err == nil || errors.As(err, &code) && code.ExitCode() == e2fsckMended {
			return nil
		}
		failures = errors.Join(failures, err)
	}
	return failures
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
func (o order) check() (repaired bool, err error) {
	if repaired, err = o.mount(); err != nil {
		return repaired, err
	}
	if err := o.unmount(); err != nil {
		return repaired, err
	}
	return repaired, withLoop(o.Image, o.Sector, func(device string) error {
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
	return finish(exec.Command(name, words...))
}

func finish(command *exec.Cmd) error {
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", command.Args, err, output)
	}
	return nil
}
