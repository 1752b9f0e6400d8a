package host

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
)

// signal is one thing that tells of pressure.
type signal struct {
	fd     int   // to poll; -1: read now and then instead
	events int16 // that it is polled for
	// read says what happened since the last call. On an error the signal is gone.
	read  func(revents int16) (metal.Level, error)
	close func()
}

var errSignalGone = errors.New("the file to watch is gone")

// openSignals opens what there is: two triggers on stalls or, where the kernel
// takes none, their averages, and the events of the group. root is where the
// system's files are.
func openSignals(root string, c cgroup) []signal {
	stalls := []string{filepath.Join(root, "proc/pressure/memory")}
	var signals []signal
	if c.unified != "" {
		// The group's own stalls come first: whatever the cause, they are ours.
		stalls = append([]string{filepath.Join(root, c.unified, "memory.pressure")}, stalls...)
		if s, err := openEvents(filepath.Join(root, path.Join(c.unified, "memory.events"))); err == nil {
			signals = append(signals, s)
		}
	}
	for _, file := range stalls {
		if triggers, err := openTriggers(file); err == nil {
			return append(signals, triggers...)
		}
	}
	for _, file := range stalls {
		if s, err := openAverages(file); err == nil {
			return append(signals, s)
		}
	}
	return signals
}

func openTriggers(file string) ([]signal, error) {
	warn, err := openTrigger(file, "some", warnStall, metal.Warn)
	if err != nil {
		return nil, err
	}
	critical, err := openTrigger(file, "full", criticalStall, metal.Critical)
	if err != nil {
		warn.close()
		return nil, err
	}
	return []signal{warn, critical}, nil
}

// openTrigger asks the kernel to tell when tasks stall that long in a window. A
// file descriptor holds one trigger.
func openTrigger(file, who string, stall time.Duration, level metal.Level) (signal, error) {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return signal{}, err
	}
	// The kernel overwrites the last byte, so it must be one too many.
	request := fmt.Sprintf("%s %d %d\x00", who, stall.Microseconds(), stallWindow.Microseconds())
	if _, err := unix.Write(fd, []byte(request)); err != nil {
		return signal{}, errors.Join(err, unix.Close(fd))
	}
	read := func(revents int16) (metal.Level, error) {
		if revents&unix.POLLERR != 0 {
			return metal.Normal, errSignalGone
		}
		return level, nil
	}
	return signal{fd, unix.POLLPRI, read, func() { _ = unix.Close(fd) }}, nil
}

func openAverages(file string) (signal, error) {
	read := func(int16) (metal.Level, error) {
		text, err := os.ReadFile(file)
		return stallLevel(string(text)), err
	}
	_, err := read(0)
	return signal{-1, 0, read, func() {}}, err
}

// openEvents watches a memory.events. The kernel raises POLLPRI, and POLLERR with
// it, when a counter moved since the file was last read.
func openEvents(file string) (signal, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return signal{}, err
	}
	count := func() (groupEvents, error) {
		var text [512]byte // five times what there is today
		n, err := unix.Pread(fd, text[:], 0)
		return parseEvents(string(text[:max(n, 0)])), err
	}
	last, err := count()
	if err != nil {
		return signal{}, errors.Join(err, unix.Close(fd))
	}
	read := func(int16) (metal.Level, error) {
		now, err := count()
		if err != nil {
			return metal.Normal, err
		}
		level := now.since(last)
		last = now
		return level, nil
	}
	return signal{fd, unix.POLLPRI, read, func() { _ = unix.Close(fd) }}, nil
}
