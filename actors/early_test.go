package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// This file has tests of free pages that move within their stream before its queue
// has passed them.

// Pages that the stream's queue has not passed stay with it.
func TestPagesMoveEarlyWithinTheirStream(t *testing.T) {
	for name, aliases := range map[string]bool{"aliases": true, "no aliases": false} {
		t.Run(name, func(t *testing.T) {
			l := lend(t, sim.Config{HandleSize: piece, NoAliases: !aliases}, Config{})
			a, q := l.queued()
			b := l.stream(nil)
			x := l.malloc(a, 2*piece)
			q.Submit()
			l.free(x)
			y := l.malloc(b, 2*piece)
			require.EqualValues(t, 4, l.calls(sim.CallCreate), "not lent to another stream")
			require.EqualValues(t, 2*piece, a.CacheMemory())
			small := l.malloc(a, 1000)
			require.Zero(t, l.calls(sim.CallUnmap))
			l.check()
			if !aliases {
				require.EqualValues(t, 5, l.calls(sim.CallCreate), "nor moved")
				l.free(y, small)
				return
			}
			require.EqualValues(t, 4, l.calls(sim.CallCreate))
			require.EqualValues(t, 4*piece, l.core.ReservedMemory())
			require.NotZero(t, small.Addr())

			// Its release waits for the mark, and so does the old place's unmapping.
			l.free(y, small)
			_, err := l.core.ClearCache()
			require.NoError(t, err)
			require.EqualValues(t, 1, l.calls(sim.CallUnmap), "b's two pages, in one call")
			require.EqualValues(t, 2, l.calls(sim.CallRelease))
			require.EqualValues(t, 2*piece, l.core.ReservedMemory())
			l.check()
			q.CompleteAll()
			l.eventually(func() bool { return l.core.ReservedMemory() == 0 }, "the rest follows by itself")
			require.EqualValues(t, 4, l.calls(sim.CallUnmap), "old place, new place, the page that stayed")
			require.EqualValues(t, 4, l.calls(sim.CallRelease))
			l.check()
		})
	}
}

// A place left early is not used again before its mark, however often its page moves.
func TestPartingPlacesAreLeftAlone(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece, Memory: 6 * piece}, Config{})
	a, q := l.queued()
	addrs := map[uintptr]bool{}
	x := l.malloc(a, 4*piece)
	for range 6 {
		q.Submit()
		l.free(x)
		small := l.malloc(a, 1000) // takes one of x's four
		x = l.malloc(a, 4*piece)
		for off := uintptr(0); off < 4*piece; off += piece {
			addrs[x.Addr()+off] = true
		}
		require.NotContains(t, addrs, small.Addr())
		l.check()
		q.Submit()
		l.free(small)
	}
	require.LessOrEqual(t, l.core.Snapshot().Total.ReservedPeak, int64(6*piece))
	q.CompleteAll()
	l.free(x)
	_, err := l.core.ClearCache()
	require.NoError(t, err)
	l.eventually(func() bool { return l.core.ReservedMemory() == 0 }, "all goes back")
	l.check()
}

// A move that fails strands a page between two places; it goes back once the queue
// has passed, though nobody asks.
func TestStrandedPageFollows(t *testing.T) {
	for _, call := range []sim.Call{sim.CallMap, sim.CallReserve} {
		t.Run(string(call), func(t *testing.T) {
			l := lend(t, sim.Config{HandleSize: piece}, Config{})
			a, q := l.queued()
			x := l.malloc(a, 2*piece)
			q.Submit()
			l.free(x)
			l.dev.FailNext(call, 1, metal.ErrDeviceLost)
			_, err := a.Malloc(context.Background(), 1000)
			require.ErrorIs(t, err, ErrDeviceLost)
			require.EqualValues(t, 2*piece, l.core.ReservedMemory(), "it can't be released yet")
			require.Zero(t, l.calls(sim.CallRelease))
			l.amid()
			q.CompleteAll()
			l.eventually(func() bool { return l.core.ReservedMemory() == piece }, "no ClearCache is needed")
			l.check()
		})
	}
}

// A queue that has failed runs nothing more: places left early are free then.
func TestPartingOfAFailedQueue(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, q := l.queued()
	x := l.malloc(a, 2*piece)
	q.Submit()
	l.free(x)
	small := l.malloc(a, 1000)
	l.free(small)
	q.Fail(metal.ErrDeviceLost)
	_, err := l.core.ClearCache()
	require.NoError(t, err)
	l.eventually(func() bool { return l.core.ReservedMemory() == 0 }, "all goes back")
	l.check()
}

// Close amid places that are left early: it waits for the queue.
func TestCloseWithPartingPlaces(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, q := l.queued()
	x := l.malloc(a, 3*piece)
	q.Submit()
	l.free(x)
	small := l.malloc(a, 1000)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	require.Error(t, l.core.Close(ctx))
	l.check()
	l.free(small)
	q.CompleteAll()
	require.NoError(t, l.core.Close(context.Background()))
	require.Zero(t, l.core.ReservedMemory())
}

// Three early pages fit the place's gaps, but not as they happen to be laid: a page
// that can't be broken up is left over, and the malloc tries again without.
func TestEarlyPageLeftOver(t *testing.T) {
	l := lend(t, sim.Config{}, Config{})
	a, q := l.queued()
	b := l.stream(nil)
	guarded := func(n int64) (x, guard Buffer) { return l.malloc(a, n*piece), l.malloc(a, piece) }
	hole4 := l.malloc(a, 4*piece)
	mid := l.malloc(a, piece)
	hole3, g1 := guarded(3)
	three, g2 := guarded(3)
	two, g3 := guarded(2)
	too, g4 := guarded(2)
	l.free(hole4, hole3)
	q.CompleteAll()
	moved := l.malloc(b, 7*piece)
	require.EqualValues(t, 1, l.calls(sim.CallReserve)-1)
	q.Submit()
	l.free(three)
	more := l.malloc(b, piece) // asks a
	l.free(two, too, mid)
	big := l.malloc(a, 8*piece)
	require.Equal(t, hole4.Addr(), big.Addr())
	l.amid()
	q.CompleteAll()
	l.free(big, moved, more, g1, g2, g3, g4)
	_, err := l.core.ClearCache()
	require.NoError(t, err)
	l.eventually(func() bool { return l.core.ReservedMemory() == 0 }, "all goes back")
	l.check()
}
