package pagebook

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

func wired(t require.TestingT, b *Book) int64 {
	u, err := b.Usage()
	require.NoError(t, err)
	return u.Wired
}

func TestWire(t *testing.T) {
	b, back := newBook()
	other, r := reserve(t, b, 10), reserve(t, b, 10)
	require.NoError(t, b.Map(r, 2*unit, create(t, b, 3, 1))) // pages 2–4, 5
	at := func(page int) uintptr { return r.Addr + uintptr(page*unit) }
	s, err := b.Alloc(3 * unit)
	require.NoError(t, err)

	for _, c := range []struct {
		name string
		addr uintptr
		size int64
		want error
	}{
		{"nowhere", 1, unit, metal.ErrUnknownHandle},
		{"behind all ranges", r.Addr + bumpSpacing*10, unit, metal.ErrUnknownHandle},
		{"just behind a range", other.Addr + uintptr(other.Size), unit, metal.ErrUnknownHandle},
		{"inside a segment", s.Addr + unit, unit, metal.ErrUnknownHandle},
		{"part of a segment", s.Addr, unit, metal.ErrInvalidSize},
		{"more than a segment", s.Addr, 4 * unit, metal.ErrInvalidSize},
		{"no bytes", at(2), 0, metal.ErrInvalidSize},
		{"fewer than none", at(2), -unit, metal.ErrInvalidSize},
		{"part of a page", at(2), unit / 2, metal.ErrInvalidSize},
		{"between pages", at(2) + 1, unit, metal.ErrInvalidSize},
		{"a page that isn't mapped", at(1), unit, metal.ErrInvalidSize},
		{"a page behind", at(5), 2 * unit, metal.ErrInvalidSize},
		{"over the end", at(5), 6 * unit, metal.ErrInvalidSize},
	} {
		require.ErrorIs(t, b.Wire(c.addr, c.size), c.want, "wire "+c.name)
		require.ErrorIs(t, b.Unwire(c.addr, c.size), c.want, "unwire "+c.name)
		require.Zero(t, wired(t, b), c.name)
	}

	require.NoError(t, b.Unwire(at(2), 4*unit), "nothing to do")
	require.NoError(t, b.Wire(at(3), unit), "one page of a handle of three")
	require.NoError(t, b.Wire(at(2), 4*unit))
	require.NoError(t, b.Wire(at(2), 4*unit))
	require.EqualValues(t, 4*unit, wired(t, b), "does not nest")
	require.NoError(t, b.Wire(s.Addr, s.Size))
	require.NoError(t, b.Wire(s.Addr, s.Size))
	require.EqualValues(t, 7*unit, wired(t, b))

	require.ErrorIs(t, b.Unmap(r, 2*unit, 3*unit), metal.ErrBusy)
	require.ErrorIs(t, b.Free(s), metal.ErrBusy)
	require.Empty(t, back.emptied)
	require.NoError(t, b.Unwire(at(2), 3*unit))
	require.ErrorIs(t, b.Unmap(r, 2*unit, 4*unit), metal.ErrBusy, "the last page is still wired")
	require.NoError(t, b.Unmap(r, 2*unit, 3*unit))
	require.NoError(t, b.Unwire(at(5), unit))
	require.NoError(t, b.Unwire(s.Addr, s.Size))
	require.NoError(t, b.Free(s))
	require.ErrorIs(t, b.Wire(s.Addr, s.Size), metal.ErrUnknownHandle)
	require.Zero(t, wired(t, b))
	require.Empty(t, back.wired)
}

// TestRefusedWire: nothing is left half wired, and what was wired stays so.
func TestRefusedWire(t *testing.T) {
	b, back := newBook()
	r := reserve(t, b, 6)
	require.NoError(t, b.Map(r, 0, create(t, b, 6)))
	require.NoError(t, b.Wire(r.Addr+2*unit, unit))
	s, err := b.Alloc(unit)
	require.NoError(t, err)

	back.wires = 2 // pages 0–1 work, 3–5 don't
	require.ErrorIs(t, b.Wire(r.Addr, r.Size), errBacking)
	require.EqualValues(t, unit, wired(t, b))
	require.Equal(t, map[uintptr]bool{r.Addr + 2*unit: true}, back.wired)
	back.wires = 1
	require.ErrorIs(t, b.Wire(s.Addr, s.Size), errBacking)
	require.EqualValues(t, unit, wired(t, b))

	// What can't be undone is counted.
	back.wires, back.unwires = 2, 1
	require.ErrorIs(t, b.Wire(r.Addr, r.Size), errBacking)
	require.EqualValues(t, 3*unit, wired(t, b))
	require.Len(t, back.wired, 3)

	require.NoError(t, b.Wire(r.Addr+5*unit, unit))
	back.unwires = 2
	require.ErrorIs(t, b.Unwire(r.Addr, r.Size), errBacking)
	require.EqualValues(t, unit, wired(t, b))
	require.Equal(t, map[uintptr]bool{r.Addr + 5*unit: true}, back.wired)
	require.NoError(t, b.Unwire(r.Addr, r.Size))
	require.Empty(t, back.wired)
}

// TestWiringAgainstModel plays random calls in a range longer than a chunk whose
// pages are all mapped, against a bool for each page.
func TestWiringAgainstModel(t *testing.T) {
	const pages = chunkPages + 40
	rapid.Check(t, func(t *rapid.T) {
		back := &bump{live: map[uintptr]int64{}, wired: map[uintptr]bool{}}
		b := New(Config{Unit: unit, Memory: pages * unit, MaxBuffer: unit}, back)
		r, err := b.Reserve(pages * unit)
		require.NoError(t, err)
		h, err := b.Create(pages * unit)
		require.NoError(t, err)
		require.NoError(t, b.Map(r, 0, []metal.Handle{h}))
		model := map[uintptr]bool{}
		change := func(f func(uintptr, int64) error, mark func(uintptr)) func(*rapid.T) {
			return func(t *rapid.T) {
				from := rapid.Int64Range(chunkPages-12, chunkPages+12).Draw(t, "from")
				size := rapid.Int64Range(1, 9).Draw(t, "pages") * unit
				addr := r.Addr + uintptr(from*unit)
				require.NoError(t, f(addr, size))
				for ; size > 0; size -= unit {
					mark(addr)
					addr += unit
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"wire":   change(b.Wire, func(a uintptr) { model[a] = true }),
			"unwire": change(b.Unwire, func(a uintptr) { delete(model, a) }),
			"": func(t *rapid.T) {
				require.Equal(t, model, back.wired)
				require.EqualValues(t, len(model)*unit, wired(t, b))
			},
		})
	})
}
