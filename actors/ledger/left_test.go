package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/streams"
)

// However many blocks others leave while the owner is busy, the figures are exact:
// a thread that is not scheduled for a while is enough for 100,000 of them.
func TestManyBlocksLeft(t *testing.T) {
	const n = 1<<16 + 100
	l := New()
	s := open(l, 1, n*unit)
	for range n {
		s.malloc(unit)
	}
	for range n {
		s.leave(unit)
	}
	f := l.Figures(&s.Row)
	require.Zero(t, f.Active)
	require.Zero(t, f.Requested)
	require.EqualValues(t, n, f.Frees)
	require.Zero(t, f.Buffers)
	total, _, _ := l.Snapshot()
	require.Zero(t, total.Buffers)
}

// Blocks may be as large as a word of credit can't hold, and larger.
func TestHugeBlocks(t *testing.T) {
	const tib = 1 << 40
	l := New()
	a, b := open(l, 1, 64*tib), open(l, 2, 4*tib)
	var active, peak int64
	check := func() {
		peak = max(peak, active)
		require.Equal(t, active, l.Active())
		require.Equal(t, peak, l.Totals().Peak)
		total, rows, _ := l.Snapshot()
		require.Equal(t, active, total.Active)
		require.Equal(t, active, rows[1].Active+rows[2].Active)
		require.Equal(t, a.f.Active+leftOf(a), rows[1].Active)
		require.NoError(t, l.Check(true))
	}
	for _, n := range []int64{tib, 2*tib - unit, 2 * tib, 2*tib + unit, 5 * tib, 30 * tib} {
		for range 3 * leaseAfter { // under the lease too
			a.malloc(n)
			active += n
			check()
			a.free(n)
			active -= n
			check()
			a.malloc(n)
			a.leave(n)
			check()
			b.malloc(unit)
			active += unit
			check()
			b.free(unit)
			active -= unit
			check()
		}
		for range 3 * leaseAfter {
			a.malloc(n)
			a.leave(n)
		}
		peak = max(peak, active+n)
		check()
	}
}

// leftOf is what the stream's heap counts as active though others have freed it.
func leftOf(s *testStream) (n int64) {
	for _, b := range s.left {
		n -= b
	}
	return n
}

// A free tells when the cache has more than what Ring was told, by whatever way the
// row counts, and nothing counts as excess because of it.
func TestRing(t *testing.T) {
	for _, lone := range []bool{true, false} {
		l := New()
		var r, other Row
		l.Open(&r, Owner{ID: 1})
		l.Open(&other, Owner{ID: 2})
		f := streams.Figures{Active: 4096}
		l.Settle(&r, &f, Change{Mallocs: 1})
		if !lone {
			l.bar(&r) // counts centrally
		}
		l.Ring([]*Row{&r, &other}, 1024)
		for i, want := range []int64{-512, 0, 512} {
			f.Active, f.Cache = f.Active-512, f.Cache+512
			require.Equal(t, want, r.Free(&f, 512), "free %d", i)
		}
		require.Zero(t, l.CacheExcess(&r))
		f.Active, f.Cache = f.Active-512, f.Cache+512
		r.Leave(512, 512)
		require.EqualValues(t, 1024, r.TakenUp(&f, Taken{Blocks: 1, Bytes: 512, Requested: 512}))
		l.SetCacheLimitOf(&r, 512)
		require.EqualValues(t, 1536, l.CacheExcess(&r), "the limit is another thing")
		for _, rings := range []int64{1024, noLimit} {
			l.Ring([]*Row{&r}, rings)
			l.SetCacheLimitOf(&r, 512)
			require.EqualValues(t, 512, r.bell.Load(), "whichever is lower")
			l.SetCacheLimitOf(&r, noLimit)
			require.Equal(t, rings, r.bell.Load())
			l.SetCacheLimitOf(&r, 512)
			l.Ring([]*Row{&r}, rings)
			require.EqualValues(t, 512, r.bell.Load(), "whichever is lower")
		}
	}
}
