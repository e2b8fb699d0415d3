package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	loopMajor      = 7
	attachAttempts = 100
)

// attach makes a loop device of a file, with direct I/O, so that nothing of it lies in a cache of the kernel. It goes away
// when it is closed and no file system is mounted from it.
func attach(path string, sector int) (device string, held int, err error) {
	// Not os.Open: the runtime's poller asks the file system about every file, and here that is this process.
	file, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(file)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	for range attachAttempts {
		// Others look for a free one as well: whoever is late tries again.
		number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", -1, fmt.Errorf("free loop device: %w", err)
		}
		device = fmt.Sprintf("/dev/loop%d", number)
		if _, err := os.Stat(device); err != nil {
			_ = unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(number)))) // Open says what is wrong.
		}
		held, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", -1, fmt.Errorf("open %s: %w", device, err)
		}
		config := unix.LoopConfig{Fd: uint32(file), Size: uint32(sector)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		if err = unix.IoctlLoopConfigure(held, &config); err == nil {
			return device, held, nil
		}
		unix.Close(held)
		if !errors.Is(err, unix.EBUSY) {
			return "", -1, fmt.Errorf("configure %s: %w", device, err)
		}
	}
	return "", -1, fmt.Errorf("no loop device after %d attempts", attachAttempts)
}
