// Command disks emulates drives whose power can fail, and that can fail themselves.
//
//	disks FOLDER
//
// Each disk lives in memory, is exported as a file by FUSE, carried by a loop device with direct I/O, and formatted and
// mounted like a real one. Every write, discard and flush is recorded with the time it took effect. From a recording the
// content of all disks at any moment of a power failure is made: what was flushed is there, of the rest a seed decides.
// Recording goes on there, so a failure may follow on another one. Faults of a running disk: see `rule`.
//
// Standard input takes one JSON object a line, each is answered by one line; see `request`. At its end everything is
// unmounted. Needs root. To be run in a mount namespace of its own, which leaves nothing behind whatever happens.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const lineMax = 1 << 20

// request is one order; each operation reads the fields that it names.
type request struct {
	Op string `json:"op"`

	Fs     []string `json:"fs"`     // make: file system of each disk, ext4 or xfs
	Size   int64    `json:"size"`   // make: bytes of each disk
	Sector int      `json:"sector"` // make: 512 or 4096, what a disk writes as a whole

	Disks   []int  `json:"disks"`   // mount, unmount, format, check, replace, faults: which, from 1; none: all
	Options string `json:"options"` // mount, replace: of ext4
	Lazy    bool   `json:"lazy"`    // unmount: although it is busy or hangs

	At   int64  `json:"at"`   // cut: the moment, in nanoseconds of CLOCK_MONOTONIC
	Seed uint64 `json:"seed"` // cut
	Loss loss   `json:"loss"` // cut
	Lies []int  `json:"lies"` // cut: disks whose flushes count for nothing
	Of   string `json:"of"`   // cut: "kept", the recording that `keep` set aside, or "now", the one that goes on

	To string `json:"to"` // save: a folder

	Rules []rule `json:"rules"` // faults: of each disk that is named
}

// answer is what came of it.
type answer struct {
	Error  string           `json:"error,omitempty"`
	Fates  []fate           `json:"fates,omitempty"`  // cut: of each disk
	Events int              `json:"events"`           // keep: of all disks
	Bytes  int64            `json:"bytes"`            // keep: written
	Times  []int64          `json:"times,omitempty"`  // keep: when something changed, in order
	Marks  []int64          `json:"marks,omitempty"`  // keep: when something was flushed, in order
	Struck []map[string]int `json:"struck,omitempty"` // struck: faults of each disk

	Repaired int `json:"repaired"` // mount: file systems that had to be repaired first, since the disks were made
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: disks FOLDER")
		os.Exit(2)
	}
	if os.Args[1] == handsFlag {
		lend()
		return
	}
	folder, err := filepath.Abs(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// Ctrl-C is for whoever holds the other end of standard input: its closing is what ends this process.
	signal.Ignore(syscall.SIGINT)
	set := &set{folder: folder}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineMax)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var request request
		var answer answer
		err := json.Unmarshal(lines.Bytes(), &request)
		if err == nil {
			answer, err = set.obey(request)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		if out.Encode(answer) != nil {
			break // Nobody listens any more.
		}
	}
	set.end()
}
