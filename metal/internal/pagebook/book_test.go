package pagebook

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

const unit = 1024

var errBacking = errors.New("the device said no")

// bump is a Backing that never uses an address twice and fails on request.
type bump struct {
	next    uintptr
	live    map[uintptr]int64
	emptied []int64 // offset and size of each Empty
	wired   map[uintptr]bool
	fail    error

	wires, unwires int // the call of Wire, of Unwire that fails, counted from 1
}

const bumpSpacing = 1 << 30

func (b *bump) Take(size int64) (uintptr, error) {
	if b.fail != nil {
		return 0, b.fail
	}
	b.next += bumpSpacing
	b.live[b.next] = size
	return b.next, nil
}

func (b *bump) Give(addr uintptr, size int64) error {
	if b.fail != nil {
		return b.fail
	}
	if b.live[addr] != size {
		return errors.New("not what was taken")
	}
	delete(b.live, addr)
	return nil
}

func (b *bump) Fill(uintptr, int64) error { return b.fail }

func (b *bump) Empty(addr uintptr, size int64) error {
	if b.fail != nil {
		return b.fail
	}
	b.emptied = append(b.emptied, int64(addr%bumpSpacing), size)
	return nil
}

func (b *bump) Wire(addr uintptr, size int64) error {
	if b.wires--; b.wires == 0 {
		return errBacking
	}
	for end := addr + uintptr(size); addr < end; addr += unit {
		if b.wired[addr] {
			return errors.New("wired already")
		}
		b.wired[addr] = true
	}
	return nil
}

func (b *bump) Unwire(addr uintptr, size int64) error {
	if b.unwires--; b.unwires == 0 {
		return errBacking
	}
	for end := addr + uintptr(size); addr < end; addr += unit {
		if !b.wired[addr] {
			return errors.New("not wired")
		}
		delete(b.wired, addr)
	}
	return nil
}

func (b *bump) Close() error { return b.fail }

func newBook() (*Book, *bump) {
	back := &bump{live: map[uintptr]int64{}, wired: map[uintptr]bool{}}
	return New(Config{Unit: unit, Memory: 100 * unit, MaxBuffer: 50 * unit}, back), back
}

func create(t *testing.T, b *Book, pages ...int64) []metal.Handle {
	t.Helper()
	hs := make([]metal.Handle, len(pages))
	for i, n := range pages {
		h, err := b.Create(n * unit)
		require.NoError(t, err)
		hs[i] = h
	}
	return hs
}

func reserve(t *testing.T, b *Book, pages int64) metal.Range {
	t.Helper()
	r, err := b.Reserve(pages * unit)
	require.NoError(t, err)
	return r
}

func taken(t *testing.T, b *Book) int64 {
	t.Helper()
	u, err := b.Usage()
	require.NoError(t, err)
	require.Equal(t, 100*unit-u.Taken, u.Available)
	return u.Taken
}

func TestSizes(t *testing.T) {
	b, _ := newBook()
	for _, size := range []int64{0, -1, -unit, math.MinInt64, 1, unit - 1, unit + 1, math.MaxInt64} {
		_, err := b.Reserve(size)
		require.ErrorIs(t, err, metal.ErrInvalidSize, "reserve %d", size)
		_, err = b.Create(size)
		require.ErrorIs(t, err, metal.ErrInvalidSize, "create %d", size)
	}
	for size, want := range map[int64]error{
		0: metal.ErrInvalidSize, -1: metal.ErrInvalidSize, math.MinInt64: metal.ErrInvalidSize,
		50*unit + 1: metal.ErrTooLarge, math.MaxInt64: metal.ErrTooLarge,
	} {
		_, err := b.Alloc(size)
		require.ErrorIs(t, err, want, "alloc %d", size)
	}
	_, err := b.Create(math.MaxInt64 / unit * unit)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	require.Zero(t, taken(t, b))
	require.NoError(t, b.Close())
}

func TestMemoryRunsOut(t *testing.T) {
	b, _ := newBook()
	hs := create(t, b, 60)
	s, err := b.Alloc(39*unit + 1) // rounded up to 40 pages
	require.NoError(t, err)
	require.EqualValues(t, 40*unit, s.Size)
	require.EqualValues(t, 100*unit, taken(t, b))
	_, err = b.Create(unit)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	_, err = b.Alloc(1)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)

	size, err := b.Release(hs[0])
	require.NoError(t, err)
	require.EqualValues(t, 60*unit, size)
	create(t, b, 60)
}

func TestMapRefusesAndChangesNothing(t *testing.T) {
	b, _ := newBook()
	r := reserve(t, b, 10)
	hs := create(t, b, 1, 2, 3)
	inside := create(t, b, 2)
	require.NoError(t, b.Map(r, 4*unit, inside)) // pages 4 and 5
	gone := create(t, b, 1)
	_, err := b.Release(gone[0])
	require.NoError(t, err)
	segment, err := b.Alloc(unit)
	require.NoError(t, err)

	for _, c := range []struct {
		name   string
		r      metal.Range
		offset int64
		hs     []metal.Handle
		want   error
	}{
		{"a handle that is mapped", r, 0, []metal.Handle{hs[0], inside[0]}, metal.ErrBusy},
		{"a handle twice", r, 0, []metal.Handle{hs[0], hs[1], hs[0]}, metal.ErrBusy},
		{"onto the first mapped page", r, 3 * unit, hs[:2], metal.ErrBusy},
		{"onto the last mapped page", r, 5 * unit, hs[:2], metal.ErrBusy},
		{"a released handle", r, 0, []metal.Handle{hs[0], gone[0]}, metal.ErrUnknownHandle},
		{"handle zero", r, 0, []metal.Handle{0}, metal.ErrUnknownHandle},
		{"a segment", r, 0, []metal.Handle{segment.Handle}, metal.ErrUnknownHandle},
		{"over the end", r, 7 * unit, []metal.Handle{hs[0], hs[2]}, metal.ErrInvalidSize},
		{"behind the end", r, 10 * unit, hs[:1], metal.ErrInvalidSize},
		{"far behind the end", r, math.MaxInt64 / unit * unit, hs[:1], metal.ErrInvalidSize},
		{"before the start", r, -unit, hs[:1], metal.ErrInvalidSize},
		{"between pages", r, 1, hs[:1], metal.ErrInvalidSize},
		{"nothing", r, 0, nil, metal.ErrInvalidSize},
		{"into no range", metal.Range{Addr: 1, Size: 10 * unit}, 0, hs[:1], metal.ErrUnknownHandle},
		{"into a range of another size", metal.Range{Addr: r.Addr, Size: unit}, 0, hs[:1], metal.ErrUnknownHandle},
	} {
		require.ErrorIs(t, b.Map(c.r, c.offset, c.hs), c.want, c.name)
		// The same handles still go where there is room.
		require.NoError(t, b.Map(r, 7*unit, hs[:2]), "after %q", c.name)
		require.NoError(t, b.Unmap(r, 7*unit, 3*unit), "after %q", c.name)
	}
}

func TestUnmapTakesWholeHandlesOnly(t *testing.T) {
	b, back := newBook()
	r := reserve(t, b, 10)
	require.NoError(t, b.Map(r, unit, create(t, b, 1, 3, 1))) // pages 1, 2–4, 5

	for _, c := range []struct {
		name         string
		offset, size int64
		want         error
	}{
		{"the front of a handle", unit, 2 * unit, metal.ErrInvalidSize},
		{"the back of a handle", 3 * unit, 2 * unit, metal.ErrInvalidSize},
		{"a page before", 0, 2 * unit, metal.ErrInvalidSize},
		{"a page behind", 5 * unit, 2 * unit, metal.ErrInvalidSize},
		{"over the end", 5 * unit, 6 * unit, metal.ErrInvalidSize},
		{"overflow", unit, math.MaxInt64 / unit * unit, metal.ErrInvalidSize},
		{"before the start", -unit, 2 * unit, metal.ErrInvalidSize},
		{"no bytes", unit, 0, metal.ErrInvalidSize},
		{"part of a page", unit, unit - 1, metal.ErrInvalidSize},
		{"between pages", unit + 1, unit, metal.ErrInvalidSize},
	} {
		require.ErrorIs(t, b.Unmap(r, c.offset, c.size), c.want, c.name)
	}
	require.ErrorIs(t, b.Unmap(metal.Range{Addr: 7, Size: unit}, 0, unit), metal.ErrUnknownHandle)
	require.Empty(t, back.emptied, "nothing was emptied by what was refused")

	require.NoError(t, b.Unmap(r, 2*unit, 3*unit))
	require.Equal(t, []int64{2 * unit, 3 * unit}, back.emptied)
	require.ErrorIs(t, b.Unmap(r, unit, 5*unit), metal.ErrInvalidSize, "there is a gap now")

	require.NoError(t, b.Map(r, 2*unit, create(t, b, 1, 2)))
	require.NoError(t, b.Unmap(r, unit, 5*unit))
	require.NoError(t, b.Unreserve(r), "nothing is left in it")
}

// Who keeps count of calls that cost by the handle is told of each, and of none
// that a refused call was about.
func TestHandlesAreTold(t *testing.T) {
	var mapped, unmapped []int64
	b := New(Config{
		Unit: unit, Memory: 100 * unit, MaxBuffer: unit,
		Mapped:   func(size int64) { mapped = append(mapped, size/unit) },
		Unmapped: func(size int64) { unmapped = append(unmapped, size/unit) },
	}, &bump{live: map[uintptr]int64{}})
	r := reserve(t, b, 10)
	require.NoError(t, b.Map(r, 0, create(t, b, 1, 3, 2)))
	require.Equal(t, []int64{1, 3, 2}, mapped)
	require.Error(t, b.Map(r, 3*unit, create(t, b, 2)))
	require.Equal(t, []int64{1, 3, 2}, mapped, "a Map that was refused")
	require.Error(t, b.Unmap(r, 0, 2*unit))
	require.Empty(t, unmapped, "an Unmap that was refused")
	require.NoError(t, b.Unmap(r, unit, 5*unit))
	require.Equal(t, []int64{3, 2}, unmapped)
}

func TestGivingBackInTheWrongOrder(t *testing.T) {
	b, back := newBook()
	r := reserve(t, b, 4)
	hs := create(t, b, 2)
	require.NoError(t, b.Map(r, 0, hs))

	_, err := b.Release(hs[0])
	require.ErrorIs(t, err, metal.ErrBusy)
	require.ErrorIs(t, b.Unreserve(r), metal.ErrBusy)
	require.ErrorIs(t, b.Close(), metal.ErrBusy)

	require.NoError(t, b.Unmap(r, 0, 2*unit))
	require.ErrorIs(t, b.Close(), metal.ErrBusy)
	require.NoError(t, b.Unreserve(r))
	require.ErrorIs(t, b.Unreserve(r), metal.ErrUnknownHandle)
	require.ErrorIs(t, b.Close(), metal.ErrBusy)
	_, err = b.Release(hs[0])
	require.NoError(t, err)
	_, err = b.Release(hs[0])
	require.ErrorIs(t, err, metal.ErrUnknownHandle)
	require.Empty(t, back.live)
	require.NoError(t, b.Close())
}

func TestFree(t *testing.T) {
	b, back := newBook()
	s, err := b.Alloc(unit)
	require.NoError(t, err)
	_, err = b.Release(s.Handle)
	require.ErrorIs(t, err, metal.ErrUnknownHandle, "Release is not for segments")
	page := create(t, b, 1)[0]
	for _, wrong := range []metal.Segment{
		{},
		{Handle: s.Handle, Addr: s.Addr, Size: 2 * unit},
		{Handle: s.Handle, Addr: s.Addr + unit, Size: s.Size},
		{Handle: page, Addr: 0, Size: unit},
	} {
		require.ErrorIs(t, b.Free(wrong), metal.ErrUnknownHandle, "%+v", wrong)
	}
	require.ErrorIs(t, b.Close(), metal.ErrBusy)
	require.NoError(t, b.Free(s))
	require.ErrorIs(t, b.Free(s), metal.ErrUnknownHandle)
	require.Empty(t, back.live)
	require.EqualValues(t, unit, taken(t, b))
}

func TestBackingFailureChangesNothing(t *testing.T) {
	b, back := newBook()
	r := reserve(t, b, 2)
	hs := create(t, b, 1)
	require.NoError(t, b.Map(r, 0, hs))
	s, err := b.Alloc(unit)
	require.NoError(t, err)

	back.fail = errBacking
	_, err = b.Reserve(unit)
	require.ErrorIs(t, err, errBacking)
	_, err = b.Alloc(unit)
	require.ErrorIs(t, err, errBacking)
	require.ErrorIs(t, b.Unmap(r, 0, unit), errBacking)
	require.ErrorIs(t, b.Free(s), errBacking)
	more := create(t, b, 1)
	require.ErrorIs(t, b.Map(r, unit, more), errBacking)
	_, err = b.Release(more[0])
	require.NoError(t, err, "what could not be filled is not mapped")
	require.EqualValues(t, 2*unit, taken(t, b))

	back.fail = nil
	require.NoError(t, b.Unmap(r, 0, unit))
	back.fail = errBacking
	require.ErrorIs(t, b.Unreserve(r), errBacking)
	back.fail = nil
	require.NoError(t, b.Unreserve(r))
	require.NoError(t, b.Free(s))
	_, err = b.Release(hs[0])
	require.NoError(t, err)
	back.fail = errBacking
	require.ErrorIs(t, b.Close(), errBacking)
	back.fail = nil
	require.NoError(t, b.Close())
	back.fail = errBacking
	require.NoError(t, b.Close(), "the device is closed once")
}

func TestClosed(t *testing.T) {
	b, _ := newBook()
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	r := metal.Range{Addr: 1, Size: unit}
	for name, call := range map[string]func() error{
		"reserve":   func() error { _, err := b.Reserve(unit); return err },
		"unreserve": func() error { return b.Unreserve(r) },
		"create":    func() error { _, err := b.Create(unit); return err },
		"release":   func() error { _, err := b.Release(1); return err },
		"map":       func() error { return b.Map(r, 0, []metal.Handle{1}) },
		"unmap":     func() error { return b.Unmap(r, 0, unit) },
		"alloc":     func() error { _, err := b.Alloc(unit); return err },
		"free":      func() error { return b.Free(metal.Segment{Handle: 1}) },
		"usage":     func() error { _, err := b.Usage(); return err },
		"wire":      func() error { return b.Wire(1, unit) },
		"unwire":    func() error { return b.Unwire(1, unit) },
	} {
		require.ErrorIs(t, call(), metal.ErrClosed, name)
	}
}
