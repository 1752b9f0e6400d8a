package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"
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
