package devicetest

import (
	"errors"
	"math"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

// wired is what the device says is wired, or want if it doesn't say.
func (s *subject) wired(want int64) int64 {
	if s.meter == nil {
		return want
	}
	return s.usage().Wired
}

func (s *subject) isWired(want int64, when string) {
	require.Equal(s, want, s.wired(want), "memory wired %s", when)
}

// probe wires what a check is about to wire for the first time. Where the system
// refuses even that, giveBack is called and the check ends as skipped.
func (s *subject) probe(addr uintptr, size int64, giveBack func()) {
	err := s.wirer.Wire(addr, size)
	if errors.Is(err, metal.ErrLimitExceeded) {
		s.isWired(0, "after it was refused")
		giveBack()
		require.NoError(s, s.dev.Close())
		s.Skipf("the system lets this process wire too little: %v", err)
	}
	require.NoError(s, err)
	s.isWired(size, "after wiring")
	s.unwire(addr, size)
	s.isWired(0, "after unwiring")
}

func (s *subject) wire(addr uintptr, size int64)   { require.NoError(s, s.wirer.Wire(addr, size)) }
func (s *subject) unwire(addr uintptr, size int64) { require.NoError(s, s.wirer.Unwire(addr, size)) }

// checkWiredPages: any whole mapped pages, once each, and until they are unwired
// they stay where they are.
func checkWiredPages(s *subject) {
	r := s.reserve(6)
	hs := s.create(2, 1)
	s.mapAt(r, 1, hs...) // pages 1–2, 3
	at := func(page int64) uintptr { return r.Addr + uintptr(page*s.page) }
	s.probe(at(1), 3*s.page, func() {
		s.unmap(r, 1, 3)
		s.release(hs...)
		s.unreserve(r)
	})

	for _, c := range []struct {
		name string
		addr uintptr
		size int64
		want error
	}{
		{"a page that isn't mapped", at(0), s.page, metal.ErrInvalidSize},
		{"a page behind what is mapped", at(3), 2 * s.page, metal.ErrInvalidSize},
		{"over the end of the range", at(3), 4 * s.page, metal.ErrInvalidSize},
		{"part of a page", at(1), s.page / 2, metal.ErrInvalidSize},
		{"between two pages", at(1) + uintptr(s.page/2), s.page, metal.ErrInvalidSize},
		{"no bytes", at(1), 0, metal.ErrInvalidSize},
		{"fewer than none", at(1), -s.page, metal.ErrInvalidSize},
		{"more than an address space", at(1), math.MaxInt64/s.page*s.page - s.page, metal.ErrInvalidSize},
		{"at no address", 0, s.page, metal.ErrUnknownHandle},
	} {
		s.refuses(c.want, "wire "+c.name, func() error { return s.wirer.Wire(c.addr, c.size) })
		s.refuses(c.want, "unwire "+c.name, func() error { return s.wirer.Unwire(c.addr, c.size) })
		s.isWired(0, "after it was refused to wire "+c.name)
	}

	s.unwire(at(1), 3*s.page) // nothing to do
	s.wire(at(2), s.page)     // a page of a handle of two
	s.isWired(s.page, "with one page wired")
	s.wire(at(1), 3*s.page)
	s.wire(at(1), 3*s.page)
	s.isWired(3*s.page, "when pages are wired again")
	s.refuses(metal.ErrBusy, "unmap wired pages", func() error { return s.pager.Unmap(r, s.page, 3*s.page) })
	s.unwire(at(1), s.page)
	s.isWired(2*s.page, "after one of three was unwired")
	s.refuses(metal.ErrBusy, "unmap a handle with one wired page", func() error { return s.pager.Unmap(r, s.page, 2*s.page) })
	s.unwire(at(1), 3*s.page)
	s.isWired(0, "after one Unwire for many Wires")

	s.unmap(r, 1, 3)
	s.mapAt(r, 3, hs...)
	s.isWired(0, "after moving pages")
	s.wire(at(3), 3*s.page)
	s.unwire(at(3), 3*s.page)
	s.unmap(r, 3, 3)
	s.release(hs...)
	s.unreserve(r)
}

func checkWiredSegments(s *subject) {
	a, b := s.alloc(1), s.alloc(1<<20)
	s.probe(b.Addr, b.Size, func() { s.free(a); s.free(b) })
	for _, size := range []int64{0, -1, b.Size - s.info.Alignment, b.Size + s.info.Alignment} {
		s.refuses(metal.ErrInvalidSize, "wire another size than the segment's", func() error { return s.wirer.Wire(b.Addr, size) })
		s.refuses(metal.ErrInvalidSize, "unwire another size than the segment's", func() error { return s.wirer.Unwire(b.Addr, size) })
	}
	s.isWired(0, "after it was refused")

	s.unwire(a.Addr, a.Size) // nothing to do
	s.wire(b.Addr, b.Size)
	s.wire(b.Addr, b.Size)
	s.isWired(b.Size, "when a segment is wired again")
	s.free(a)
	s.refuses(metal.ErrBusy, "free a wired segment", func() error { return s.seg.Free(b) })
	s.unwire(b.Addr, b.Size)
	s.isWired(0, "after one Unwire for two Wires")
	s.free(b)
	s.refuses(metal.ErrUnknownHandle, "wire a freed segment", func() error { return s.wirer.Wire(b.Addr, b.Size) })
}

// checkPressure: watchers come and go, and end with the device.
func checkPressure(s *subject) {
	watch := func() (func(), error) { return s.pressurer.WatchPressure(func(metal.Level) {}) }
	first, err := watch()
	if errors.Is(err, metal.ErrUnsupported) {
		require.NoError(s, s.dev.Close())
		s.Skipf("nothing to watch here: %v", err)
	}
	require.NoError(s, err)
	second, err := watch()
	require.NoError(s, err)
	first()
	first() // stopping again does nothing

	require.NoError(s, s.dev.Close())
	second()
	_, err = watch()
	require.ErrorIs(s, err, metal.ErrClosed)
}
