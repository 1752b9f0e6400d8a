// Package pagebook keeps a device's books: which address ranges are reserved,
// which physical memory is taken, and what is mapped where. It enforces the
// rules of metal.Pager, metal.Segmenter and metal.Wirer for devices whose driver
// doesn't, and leaves to them only what touches memory (a [Backing]).
//
// Costs: a Map or Unmap looks at the handles and pages it is given and at
// nothing else, a Wire at its pages after a search for their range; a range costs
// 8 bytes for each page that was ever mapped in it.
package pagebook

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/metalloc/metalloc/metal"
)

// Backing is the device's part of the work. Its methods are called one at a
// time, after all rules were checked; when one fails, what it stands for has not
// happened, and the books stay as they were.
type Backing interface {
	// Take finds size bytes of address space, for a range or a segment, aligned
	// to the unit.
	Take(size int64) (addr uintptr, err error)
	// Give undoes a Take. Nothing in it is wired.
	Give(addr uintptr, size int64) error
	// Fill is told that these bytes are about to be mapped.
	Fill(addr uintptr, size int64) error
	// Empty is told that these bytes are about to be unmapped: what they hold may
	// go.
	Empty(addr uintptr, size int64) error
	// Wire keeps bytes resident that are mapped and not wired yet.
	Wire(addr uintptr, size int64) error
	// Unwire undoes it.
	Unwire(addr uintptr, size int64) error
	// Close is called when nothing is taken any more.
	Close() error
}

// Config is in bytes.
type Config struct {
	Aliases   bool  // handles may be mapped at several places at a time
	Unit      int64 // page size, and what segments are rounded up to; a power of two
	Memory    int64 // most that can be taken; a multiple of Unit
	MaxBuffer int64 // largest segment that can be asked for; ≤ Memory

	// Mapped and Unmapped are told the size of each handle that a Map placed or an
	// Unmap took out, in order, under the book's lock. nil: nobody is told.
	Mapped, Unmapped func(size int64)
}

// Book is safe for concurrent use. Its methods are those of metal.Pager,
// metal.Segmenter, metal.Wirer, metal.Meter and metal.Device, with the same errors.
type Book struct {
	cfg     Config
	backing Backing
	taken   atomic.Int64 // changes under mu; read by Usage without it
	wired   atomic.Int64 // likewise
	closed  atomic.Bool  // likewise

	mu       sync.Mutex
	last     metal.Handle // handles are never used twice
	pieces   map[metal.Handle]*piece
	segments map[uintptr]*piece // those of pieces that Alloc made, by address
	ranges   map[uintptr]*pageRange
	sorted   []*pageRange // the same, by address
}

// piece is one piece of physical memory.
type piece struct {
	size    int64
	segment uintptr // its address if Alloc made it, else 0
	wired   bool    // a segment; the pages of a range have a bit each
	places  []place // where it is mapped
}

// place is an offset into a range.
type place struct {
	in     *pageRange
	offset int64
}

func (p place) between(in *pageRange, start, end int64) bool {
	return p.in == in && start <= p.offset && p.offset < end
}

// starts reports whether the piece is mapped from that place on.
func (p *piece) starts(in *pageRange, offset int64) bool {
	return slices.Contains(p.places, place{in, offset})
}

// leave forgets a place.
func (p *piece) leave(in *pageRange, offset int64) {
	i := slices.Index(p.places, place{in, offset})
	p.places = slices.Delete(p.places, i, i+1)
}

// New returns books in which nothing is taken.
func New(cfg Config, backing Backing) *Book {
	if cfg.Mapped == nil {
		cfg.Mapped = func(int64) {}
	}
	if cfg.Unmapped == nil {
		cfg.Unmapped = func(int64) {}
	}
	return &Book{
		cfg:      cfg,
		backing:  backing,
		pieces:   map[metal.Handle]*piece{},
		segments: map[uintptr]*piece{},
		ranges:   map[uintptr]*pageRange{},
	}
}

// Usage implements metal.Meter and waits for no other call.
func (b *Book) Usage() (metal.Usage, error) {
	if err := b.open("usage"); err != nil {
		return metal.Usage{}, err
	}
	wired, taken := b.wired.Load(), b.taken.Load()
	// Between the two loads memory may have been unwired and released.
	return metal.Usage{Taken: taken, Available: b.cfg.Memory - taken, Wired: min(wired, taken)}, nil
}

// Close implements metal.Device: from then on every call gives ErrClosed.
func (b *Book) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ranges) > 0 || len(b.pieces) > 0 {
		return fmt.Errorf("close: %d bytes of memory (%d handles) and %d address ranges are still taken: %w",
			b.taken.Load(), len(b.pieces), len(b.ranges), metal.ErrBusy)
	}
	if b.closed.Load() {
		return nil
	}
	if err := b.backing.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	b.closed.Store(true)
	return nil
}

func (b *Book) open(op string) error {
	if b.closed.Load() {
		return fmt.Errorf("%s: the device is closed: %w", op, metal.ErrClosed)
	}
	return nil
}

// wholePages checks a size that must be a positive multiple of the unit.
func (b *Book) wholePages(op string, size int64) error {
	if size <= 0 || size%b.cfg.Unit != 0 {
		return fmt.Errorf("%s %d bytes: want a positive multiple of the page size, %d: %w",
			op, size, b.cfg.Unit, metal.ErrInvalidSize)
	}
	return nil
}

func (b *Book) room(op string, size int64) error {
	if taken := b.taken.Load(); size > b.cfg.Memory-taken {
		return fmt.Errorf("%s %d bytes: %d of the device's %d are taken: %w",
			op, size, taken, b.cfg.Memory, metal.ErrOutOfMemory)
	}
	return nil
}

func (b *Book) add(p *piece) metal.Handle {
	b.last++
	b.pieces[b.last] = p
	if p.segment != 0 {
		b.segments[p.segment] = p
	}
	b.taken.Add(p.size)
	return b.last
}

func (b *Book) remove(h metal.Handle) {
	p := b.pieces[h]
	b.taken.Add(-p.size)
	delete(b.pieces, h)
	if p.segment != 0 {
		delete(b.segments, p.segment)
	}
}
