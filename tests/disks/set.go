package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// set is the disks of one machine: their power fails together.
type set struct {
	folder string
	sector int
	drives []*drive
}

// drive is a disk with its file system: exported at FOLDER/diskN.K, the K-th one in this place, mounted at FOLDER/driveN.
type drive struct {
	number  int
	size    int64
	folder  string
	fs      string
	place   string
	mounted bool
	repairs int
	hands   *hands

	disk   *disk
	server *fuse.Server
	export string
	pulled []pulled
	kept   *replay
}

// pulled is a disk that was replaced. Who had files open on it may have them still.
type pulled struct {
	disk   *disk
	server *fuse.Server
}

func (s *set) obey(r request) (answer, error) {
	drives, err := s.named(r.Disks)
	if err != nil {
		return answer{}, err
	}
	switch r.Op {
	case "make":
		return answer{}, s.make(r)
	case "format":
		return answer{}, each(drives, func(d *drive) error { return d.format(s.sector) })
	case "mount":
		err := each(drives, func(d *drive) error { return d.mount(s.sector, r.Options) })
		return answer{Repaired: s.repairs()}, err
	case "unmount":
		return answer{}, each(drives, func(d *drive) error { return d.unmount(r.Lazy) })
	case "replace":
		return answer{}, each(drives, func(d *drive) error { return d.replace(s.sector, r.Options) })
	case "check":
		return answer{}, each(drives, func(d *drive) error { return d.do("check", s.sector, "", false) })
	case "restart":
		return answer{}, each(drives, func(d *drive) error { d.disk.restart(d.disk.now); return nil })
	case "keep":
		return s.keep(), nil
	case "cut":
		return s.cut(r)
	case "save":
		return answer{}, each(s.drives, func(d *drive) error { return d.save(r.To) })
	case "faults":
		return answer{}, each(drives, func(d *drive) error { d.disk.faults.set(r.Rules); return nil })
	case "struck":
		var a answer
		for _, drive := range s.drives {
			counts := drive.disk.faults.counts()
			for _, pulled := range drive.pulled {
				for name, count := range pulled.disk.faults.counts() {
					counts[name] += count
				}
			}
			a.Struck = append(a.Struck, counts)
		}
		return a, nil
	default:
		return answer{}, fmt.Errorf("unknown operation %q", r.Op)
	}
}

func (s *set) named(numbers []int) ([]*drive, error) {
	if len(numbers) == 0 {
		return s.drives, nil
	}
	var drives []*drive
	for _, number := range numbers {
		if number < 1 || number > len(s.drives) {
			return nil, fmt.Errorf("there is no disk %d", number)
		}
		drives = append(drives, s.drives[number-1])
	}
	return drives, nil
}

// each does something to all of them at once.
func each(drives []*drive, do func(*drive) error) error {
	failures := make([]error, len(drives))
	var all sync.WaitGroup
	for i, drive := range drives {
		all.Go(func() {
			if err := do(drive); err != nil {
				failures[i] = fmt.Errorf("%s: %w", drive.place, err)
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

func (s *set) make(r request) error {
	if len(s.drives) != 0 {
		return errors.New("the disks are there already")
	}
	s.sector = r.Sector
	for i, fs := range r.Fs {
		drive := &drive{number: i + 1, size: r.Size, folder: s.folder, fs: fs}
		drive.place = filepath.Join(s.folder, fmt.Sprintf("drive%d", drive.number))
		if err := os.Mkdir(drive.place, 0o755); err != nil {
			return err
		}
		hands, err := newHands()
		if err != nil {
			return err
		}
		drive.hands = hands
		s.drives = append(s.drives, drive)
	}
	err := each(s.drives, (*drive).plug)
	if err != nil {
		return err
	}
	return each(s.drives, func(d *drive) error { return d.format(s.sector) })
}

// repairs counts how often a file system had to be repaired before it was mounted.
func (s *set) repairs() int {
	repairs := 0
	for _, drive := range s.drives {
		repairs += drive.repairs
	}
	return repairs
}

// keep sets the recording aside, for cuts at any of its moments.
func (s *set) keep() answer {
	var a answer
	for _, drive := range s.drives {
		recording := drive.disk.recording()
		drive.kept = newReplay(recording)
		a.Events += len(recording.events)
		for _, event := range recording.events {
			a.Times = append(a.Times, event.at)
			a.Bytes += int64(len(event.data))
			if event.kind == kindFlush {
				a.Marks = append(a.Marks, event.at)
			}
		}
	}
	slices.Sort(a.Times)
	slices.Sort(a.Marks)
	return a
}

// cut makes all disks hold what they do when the power fails at one moment. None may be mounted.
func (s *set) cut(r request) (answer, error) {
	var a answer
	for i, drive := range s.drives {
		if drive.mounted {
			return a, fmt.Errorf("%s is mounted", drive.place)
		}
		replay := drive.kept
		switch r.Of {
		case "kept":
		case "now":
			replay = newReplay(drive.disk.recording())
		default:
			return a, fmt.Errorf("there is no recording %q", r.Of)
		}
		if replay == nil {
			return a, errors.New("nothing was kept")
		}
		rng := rand.New(rand.NewPCG(r.Seed, uint64(i)))
		content, fate := replay.cut(r.At, rng, r.Loss, drive.atomic(s.sector), slices.Contains(r.Lies, i+1))
		drive.disk.restart(content)
		a.Fates = append(a.Fates, fate)
	}
	return a, nil
}

func (s *set) end() {
	for _, drive := range s.drives {
		if drive.disk != nil {
			drive.disk.faults.set(nil)
		}
		if drive.unmount(false) != nil {
			_ = drive.unmount(true) // Nobody is left to be told; the namespace goes with this process.
		}
		if drive.server != nil {
			_ = drive.server.Unmount()
		}
		for _, pulled := range drive.pulled {
			pulled.disk.faults.set(nil)
			_ = pulled.server.Unmount()
		}
		drive.hands.end()
	}
}

// plug puts a new disk in the drive's place.
func (d *drive) plug() error {
	folder := filepath.Join(d.folder, fmt.Sprintf("disk%d.%d", d.number, len(d.pulled)+1))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	disk := newDisk(d.size)
	server, err := export(disk, folder)
	if err != nil {
		return err
	}
	d.disk, d.server, d.export, d.kept = disk, server, folder, nil
	return nil
}

// replace pulls the disk, which answers nothing but errors from then on, and mounts a new one in its place.
func (d *drive) replace(sector int, options string) error {
	if err := d.unmount(true); err != nil {
		return err
	}
	d.disk.faults.set([]rule{{Error: true}})
	d.pulled = append(d.pulled, pulled{d.disk, d.server})
	if err := d.plug(); err != nil {
		return err
	}
	if err := d.format(sector); err != nil {
		return err
	}
	return d.mount(sector, options)
}

func (d *drive) do(what string, sector int, options string, lazy bool) error {
	image := filepath.Join(d.export, imageName)
	done, err := d.hands.do(order{what, image, d.place, d.fs, options, sector, lazy})
	if done.Repaired {
		d.repairs++
	}
	return err
}

func (d *drive) format(sector int) error {
	return d.do("format", sector, "", false)
}

func (d *drive) mount(sector int, options string) error {
	err := d.do("mount", sector, options, false)
	d.mounted = err == nil
	return err
}

func (d *drive) unmount(lazy bool) error {
	if !d.mounted {
		return nil
	}
	err := d.do("unmount", 0, "", lazy)
	d.mounted = err != nil
	return err
}

// atomic returns the bytes that are there or not there as a whole. A block of XFS says in its head how new it is, and is
// not recovered from the journal when that is new enough: torn blocks are more than it promises to survive.
func (d *drive) atomic(sector int) int64 {
	if d.fs == "xfs" {
		return pageBytes
	}
	return int64(sector)
}

// save writes what the disk held when this recording began as a sparse file.
func (d *drive) save(folder string) error {
	file, err := os.Create(filepath.Join(folder, filepath.Base(d.place)+"."+d.fs))
	if err != nil {
		return err
	}
	defer file.Close()
	origin := d.disk.recording().origin
	for at := origin; at != nil; at = at.below {
		for number := range at.pages {
			if _, err := file.WriteAt(origin.page(number), number*pageBytes); err != nil {
				return err
			}
		}
	}
	return file.Truncate(d.disk.size)
}
