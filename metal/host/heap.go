package host

import (
	"unsafe"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/pagebook"
)

// heapDevice takes segments from the Go heap: what is left where the system's
// own calls are not used. It compiles everywhere, so that its tests run
// everywhere.
type heapDevice struct {
	*metal.SoftMarks
	info metal.Info
	book *pagebook.Book
}

func openHeap(opts []Option) (*heapDevice, error) {
	machine, err := machineLimits()
	if err != nil {
		return nil, err
	}
	c, err := newConfig(machine, opts)
	if err != nil {
		return nil, err
	}
	return &heapDevice{
		SoftMarks: metal.NewSoftMarks(c.clock),
		info:      c.info(),
		book: pagebook.New(pagebook.Config{
			Unit:      alignment,
			Memory:    c.memory,
			MaxBuffer: c.memory,
		}, heap{}),
	}, nil
}

// Info implements [metal.Device].
func (d *heapDevice) Info() metal.Info { return d.info }

// Close implements [metal.Device]. Marks and queues go on working.
func (d *heapDevice) Close() error { return d.book.Close() }

// Usage implements [metal.Meter]. Available is what is left of Info's Memory, not
// what the system has free.
func (d *heapDevice) Usage() (metal.Usage, error) { return d.book.Usage() }

// Alloc implements [metal.Segmenter].
func (d *heapDevice) Alloc(size int64) (metal.Segment, error) { return d.book.Alloc(size) }

// Free implements [metal.Segmenter]. The memory goes to the garbage collector.
func (d *heapDevice) Free(s metal.Segment) error { return d.book.Free(s) }

// heap is the pagebook.Backing of Go slices. It keeps them alive by the aligned
// address in them that was handed out; Go does not move what is on its heap.
type heap map[uintptr][]byte

func (h heap) Take(size int64) (uintptr, error) {
	b := make([]byte, size+alignment)
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	start += padding(start, alignment)
	h[start] = b
	return start, nil
}

func (h heap) Give(addr uintptr, _ int64) error {
	delete(h, addr)
	return nil
}

// Fill and what follows is for pages and wiring, which the heap has none of.

func (h heap) Fill(uintptr, int64) error   { return nil }
func (h heap) Empty(uintptr, int64) error  { return nil }
func (h heap) Wire(uintptr, int64) error   { return metal.ErrUnsupported }
func (h heap) Unwire(uintptr, int64) error { return metal.ErrUnsupported }
func (h heap) Close() error                { return nil }
