// Package host takes memory from the machine that the program runs on. It is the
// device to start with: nothing to install, and the program can read and write
// the memory.
//
//	dev, err := host.Open()
//	if err != nil {
//		return err
//	}
//	defer dev.Close()
//
// and then allocator.Open(dev). On Linux the device maps pages of 2 MiB
// ([metal.Pager]) and can also take whole segments ([metal.Segmenter]); elsewhere
// it takes segments from the Go heap, which do not go back to the system at
// once. Either is a [metal.Marker] with queues that the program drives itself
// ([metal.SoftQueuer]), and a [metal.Meter] of what was taken here.
//
// Memory is counted when it is taken, whether or not the program has touched it;
// the system gives it on first touch. It lies outside what GOMEMLIMIT counts,
// except on the Go heap.
package host

import (
	"fmt"
	"runtime"

	"github.com/metalloc/metalloc/metal"
)

const (
	pageSize  = 2 << 20 // a huge page on most machines
	alignment = 512

	// unknownMemory is what a device has where the system doesn't say.
	unknownMemory = 4 << 30

	// maxMemory is all a process can address on today's 64-bit systems, nearly.
	maxMemory = 127 << 40
)

// Option changes what Open does. Of an option given twice the last counts.
type Option func(*config)

type config struct {
	memory    int64
	hasMemory bool
	clock     metal.Clock
}

// WithMemory lets the device give out n bytes at most, rounded down to whole
// 2 MiB pages. More than the machine has: the machine's memory. Less than a page
// is ErrInvalidSize. The default is all the machine's memory, or 4 GiB where
// that can't be read.
func WithMemory(n int64) Option {
	return func(c *config) { c.memory, c.hasMemory = n, true }
}

// WithClock lets the device's queues complete work by time
// ([metal.SoftQueue.SubmitUntil]). The default is no clock.
func WithClock(clock metal.Clock) Option {
	return func(c *config) { c.clock = clock }
}

// newConfig fills in what opts leave open. total is the machine's memory; 0:
// unknown.
func newConfig(total int64, opts []Option) (config, error) {
	var c config
	for _, o := range opts {
		o(&c)
	}
	switch {
	case c.hasMemory && total > 0:
		c.memory = min(c.memory, total)
	case c.hasMemory:
		c.memory = min(c.memory, maxMemory)
	case total > 0:
		c.memory = total
	default:
		c.memory = unknownMemory
	}
	if c.memory < pageSize {
		return c, fmt.Errorf("host: %d bytes of memory: want at least a page, %d: %w", c.memory, pageSize, metal.ErrInvalidSize)
	}
	c.memory -= c.memory % pageSize
	return c, nil
}

// padding is how far addr is from the next multiple of unit, a power of two.
func padding(addr, unit uintptr) uintptr { return -addr % unit }

// info recommends three quarters of the memory as working set: the rest is for
// the Go heap, other programs and the system's file cache. The share is arbitrary.
func (c config) info() metal.Info {
	return metal.Info{
		Kind:        "host",
		Name:        "host memory, " + runtime.GOOS + "/" + runtime.GOARCH,
		Memory:      c.memory,
		WorkingSet:  max(c.memory/4*3/pageSize*pageSize, pageSize),
		Alignment:   alignment,
		HostVisible: true,
		Zeroed:      true,
	}
}
