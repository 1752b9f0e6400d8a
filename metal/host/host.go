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
// ([metal.Pager]), can also take whole segments ([metal.Segmenter]), keeps memory
// resident ([metal.Wirer]) and tells when memory gets short ([metal.Pressurer]);
// elsewhere it takes segments from the Go heap, which do not go back to the system
// at once. Either is a [metal.Marker] with queues that the program drives itself
// ([metal.SoftQueuer]), and a [metal.Meter].
//
// Memory is counted when it is taken, whether or not the program has touched it;
// the system gives it on first touch, unless asked to at once ([WithPopulate]). It
// lies outside what GOMEMLIMIT counts, except on the Go heap, and on Linux outside
// core dumps.
//
// On Linux the limits of control groups are kept: those of a container look like
// a smaller machine. [Examine] tells what was found, and what is missing.
package host

import (
	"fmt"
	"runtime"
	"unsafe"

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
	hugePages bool
	populate  bool
	high      int64 // from where the system slows the program down
}

// limits are the machine's.
type limits struct {
	memory int64 // bytes; 0: unknown
	high   int64 // from where the system slows the program down; noLimit: nowhere
}

// WithMemory lets the device give out n bytes at most, rounded down to whole
// 2 MiB pages. More than there is: all there is. Less than a page is
// ErrInvalidSize. The default is the machine's memory or what its control groups
// leave the program of it, or 4 GiB where that can't be read.
func WithMemory(n int64) Option {
	return func(c *config) { c.memory, c.hasMemory = n, true }
}

// WithClock lets the device's queues complete work by time
// ([metal.SoftQueue.SubmitUntil]). The default is no clock.
func WithClock(clock metal.Clock) Option {
	return func(c *config) { c.clock = clock }
}

// WithHugePages asks the system for huge pages of 2 MiB: fewer of the processor's
// address translations are missed, but a byte touched costs a whole page. Nothing
// changes where transparent huge pages are off ([Examine] tells) or unknown, as on
// systems other than Linux.
func WithHugePages() Option {
	return func(c *config) { c.hugePages = true }
}

// WithPopulate has memory filled in when it is mapped or a segment is allocated,
// not when it is first touched. Those calls take longer, and give ErrOutOfMemory
// and change nothing where the system has too little available. On systems other
// than Linux it does nothing.
func WithPopulate() Option {
	return func(c *config) { c.populate = true }
}

// newConfig fills in what opts leave open.
func newConfig(machine limits, opts []Option) (config, error) {
	c := config{high: machine.high}
	total := machine.memory
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
// What the system slows the program down for is never recommended.
func (c config) info() metal.Info {
	return metal.Info{
		Kind:        "host",
		Name:        "host memory, " + runtime.GOOS + "/" + runtime.GOARCH,
		Memory:      c.memory,
		WorkingSet:  max(min(c.memory/4*3, c.high)/pageSize*pageSize, pageSize),
		Alignment:   alignment,
		HostVisible: true,
		Zeroed:      true,
	}
}

// bytesAt is mapped memory. The detour keeps vet, which can't know that these
// addresses don't move, from objecting.
func bytesAt(addr uintptr, size int64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size)
}
