package host

import (
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/pagebook"
)

// Device is the machine's memory. Safe for concurrent use.
//
// A range is readable and writable from Reserve on, so a stale slice into it
// reads old bytes or zeros and never faults before Unreserve. A runtime that
// promises its callers as much must keep its ranges until it closes; they cost
// address space only. Create, Map and Release just count. Unmap gives the
// contents back to the system, so they do not move along when a handle is mapped
// elsewhere. Free unmaps a segment: a stale slice into it faults.
//
// Where the system was told never to overcommit (vm.overcommit_memory=2)
// reserved space counts as used, and large ranges are refused.
type Device struct {
	*metal.SoftMarks
	info metal.Info
	book *pagebook.Book
}

// Open returns a device that has taken nothing yet. Devices opened twice don't
// know of each other.
func Open(opts ...Option) (*Device, error) {
	total, err := totalMemory()
	if err != nil {
		return nil, err
	}
	c, err := newConfig(total, opts)
	if err != nil {
		return nil, err
	}
	info := c.info()
	info.PageSize = pageSize
	return &Device{
		SoftMarks: metal.NewSoftMarks(c.clock),
		info:      info,
		book: pagebook.New(pagebook.Config{
			Unit:      pageSize,
			Memory:    c.memory,
			MaxBuffer: c.memory,
		}, mappings{}),
	}, nil
}

// Info implements [metal.Device].
func (d *Device) Info() metal.Info { return d.info }

// Close implements [metal.Device]. Marks and queues go on working.
func (d *Device) Close() error { return d.book.Close() }

// Usage implements [metal.Meter]. Available is what is left of Info's Memory, not
// what the system has free.
func (d *Device) Usage() (metal.Usage, error) { return d.book.Usage() }

// Reserve implements [metal.Pager].
func (d *Device) Reserve(size int64) (metal.Range, error) { return d.book.Reserve(size) }

// Unreserve implements [metal.Pager]. The addresses fault from then on.
func (d *Device) Unreserve(r metal.Range) error { return d.book.Unreserve(r) }

// Create implements [metal.Pager].
func (d *Device) Create(size int64) (metal.Handle, error) { return d.book.Create(size) }

// Release implements [metal.Pager].
func (d *Device) Release(h metal.Handle) error {
	_, err := d.book.Release(h)
	return err
}

// Map implements [metal.Pager].
func (d *Device) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	return d.book.Map(r, offset, hs)
}

// Unmap implements [metal.Pager].
func (d *Device) Unmap(r metal.Range, offset, size int64) error {
	_, err := d.book.Unmap(r, offset, size)
	return err
}

// Alloc implements [metal.Segmenter]. Sizes are rounded up to pages.
func (d *Device) Alloc(size int64) (metal.Segment, error) { return d.book.Alloc(size) }

// Free implements [metal.Segmenter].
func (d *Device) Free(s metal.Segment) error { return d.book.Free(s) }
