package host

import (
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/pagebook"
)

// Device is the machine's memory. Safe for concurrent use.
//
// Address space is readable and writable from when it is handed out until Close,
// also when it was given back: a stale slice reads old bytes or zeros and never
// faults before Close. What is written through one takes memory that nobody
// counts, and is found by whoever maps a page there next. Address space given back
// is used again, zeroed, for later ranges and segments.
//
// Create and Release just count, as does Map without [WithPopulate]. Unmap gives
// the contents back to the system, so they do not move along when a handle is
// mapped elsewhere.
//
// Where the system was told never to overcommit (vm.overcommit_memory=2)
// reserved space counts as used, and large ranges are refused.
type Device struct {
	*metal.SoftMarks
	info     metal.Info
	book     *pagebook.Book
	group    cgroup
	watchers watchers
}

// Open returns a device that has taken nothing yet. Devices opened twice don't
// know of each other.
func Open(opts ...Option) (*Device, error) {
	machine, err := machineLimits()
	if err != nil {
		return nil, err
	}
	c, err := newConfig(machine, opts)
	if err != nil {
		return nil, err
	}
	info := c.info()
	info.PageSize = pageSize
	group := findCgroup(systemFiles())
	return &Device{
		SoftMarks: metal.NewSoftMarks(c.clock),
		info:      info,
		group:     group,
		book: pagebook.New(pagebook.Config{
			Unit:      pageSize,
			Memory:    c.memory,
			MaxBuffer: c.memory,
		}, &mappings{
			hugePages: c.hugePages,
			populate:  c.populate,
			room:      func() int64 { return readRoom(systemFiles(), group) },
			memlock:   memlock,
			populated: populateMemory,
		}),
	}, nil
}

// Info implements [metal.Device]. Memory and WorkingSet are what limits of the
// machine and of control groups were at Open.
func (d *Device) Info() metal.Info { return d.info }

// Close implements [metal.Device]. All addresses ever handed out fault from then
// on. Marks and queues go on working. It waits for watchers of pressure that are
// being told something.
func (d *Device) Close() error {
	if err := d.book.Close(); err != nil {
		return err
	}
	d.watchers.close()
	return nil
}

// Usage implements [metal.Meter]. Available is the least of what is left of
// Info's Memory, of what the system says programs can take, and of the room in
// the control group, file cache that it hasn't used lately included. Memory that
// is taken but was never touched is still available to the system. It reads some
// files in /proc and /sys, which takes a hundred microseconds or two.
func (d *Device) Usage() (metal.Usage, error) {
	u, err := d.book.Usage()
	if err == nil {
		u.Available = min(u.Available, readRoom(systemFiles(), d.group))
	}
	return u, err
}

// Reserve implements [metal.Pager].
func (d *Device) Reserve(size int64) (metal.Range, error) { return d.book.Reserve(size) }

// Unreserve implements [metal.Pager].
func (d *Device) Unreserve(r metal.Range) error { return d.book.Unreserve(r) }

// Create implements [metal.Pager].
func (d *Device) Create(size int64) (metal.Handle, error) { return d.book.Create(size) }

// Release implements [metal.Pager].
func (d *Device) Release(h metal.Handle) error {
	_, err := d.book.Release(h)
	return err
}

// Map implements [metal.Pager]. [WithPopulate] makes it fill in the memory.
func (d *Device) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	return d.book.Map(r, offset, hs)
}

// Unmap implements [metal.Pager].
func (d *Device) Unmap(r metal.Range, offset, size int64) error {
	return d.book.Unmap(r, offset, size)
}

// Alloc implements [metal.Segmenter]. Sizes are rounded up to pages.
func (d *Device) Alloc(size int64) (metal.Segment, error) { return d.book.Alloc(size) }

// Free implements [metal.Segmenter].
func (d *Device) Free(s metal.Segment) error { return d.book.Free(s) }

// Wire implements [metal.Wirer] by mlock, which also fills in the memory: in a
// control group without room for it the system kills the program, as it does when
// memory is touched. ErrLimitExceeded tells how far RLIMIT_MEMLOCK goes, what of
// it is used, and how to raise it. Wiring page by page in patterns splits the
// mapping; there is a limit on that, too (vm.max_map_count).
func (d *Device) Wire(addr uintptr, size int64) error { return d.book.Wire(addr, size) }

// Unwire implements [metal.Wirer]. The memory stays where it is, until the system
// wants it.
func (d *Device) Unwire(addr uintptr, size int64) error { return d.book.Unwire(addr, size) }
