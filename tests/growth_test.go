package tests

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

const (
	stepOf  = 256 // tokens
	kTokens = 1 << 10
)

// growth is a number of buffers, one per layer, that only grow, all by a step before
// any grows by the next.
type growth struct {
	layers   int
	from, to int64 // tokens of each
	perToken int64 // bytes
	lag      int   // steps by which the stream's queue is behind
}

func (g growth) String() string {
	return fmt.Sprintf("%d layers from %d to %d tokens of %d bytes, lag %d", g.layers, g.from, g.to, g.perToken, g.lag)
}

// growths; small ones with -short.
func growths() (gs []growth) {
	for _, g := range []growth{{layers: 1, from: 16 * kTokens, to: 64 * kTokens}, {layers: 4, from: 4 * kTokens, to: 16 * kTokens}} {
		for _, g.perToken = range []int64{32 << 10, 32_000} {
			for _, g.lag = range []int{0, 1, 2} {
				gs = append(gs, g)
			}
		}
	}
	if testing.Short() || raceEnabled {
		return gs
	}
	return append(gs,
		growth{layers: 1, from: 256 * kTokens, to: 1024 * kTokens, perToken: 32 << 10},
		growth{layers: 1, from: 256 * kTokens, to: 1024 * kTokens, perToken: 32 << 10, lag: 1},
		growth{layers: 8, from: 32 * kTokens, to: 128 * kTokens, perToken: 32 << 10})
}

// maxGrowth is reserved peak ÷ active peak at most. maxLagging is that of several
// buffers while the queue is behind: the pages of buffers that were just freed can't
// move to where another one needs them before its work is done.
const (
	maxGrowth  = 1.03
	maxLagging = 1.03
)

func (g growth) bound() float64 {
	if g.lag > 0 && g.layers > 1 {
		return maxLagging
	}
	return maxGrowth
}

// grower is what a growth runs on.
type grower struct {
	stream *allocator.Stream
	queue  *metal.SoftQueue
	lag    int
	works  []uint64
}

// run calls f with a stream on a simulated GPU and gives what the runtime has
// counted.
func (g growth) run(t *testing.T, f func(*grower)) (active, reserved int64) {
	t.Helper()
	dev, err := sim.New(sim.Config{Memory: 128 << 30, PageSize: 2 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, err := rt.NewStream(allocator.WithHandle(q.Handle()))
	require.NoError(t, err)
	f(&grower{stream: s, queue: q, lag: g.lag * g.layers})
	total := rt.Snapshot().Total
	q.CompleteAll()
	require.NoError(t, rt.Close(context.Background()))
	return total.Peak, total.ReservedPeak
}

// work queues what a step does, and lets the queue get on.
func (g *grower) work() {
	g.works = append(g.works, g.queue.Submit())
	if n := len(g.works) - 1 - g.lag; n >= 0 {
		g.queue.Complete(g.works[n])
	}
}

// copied grows by a new buffer, into which the old one is copied, and freed.
func (g growth) copied(t *testing.T, on *grower) {
	bufs := make([]allocator.Buffer, g.layers)
	for n := g.from; n <= g.to; n += stepOf {
		for i := range bufs {
			b, err := on.stream.Malloc(t.Context(), n*g.perToken)
			require.NoError(t, err)
			on.work()
			if bufs[i] != (allocator.Buffer{}) {
				require.NoError(t, bufs[i].Free())
			}
			bufs[i] = b
		}
	}
	require.NoError(t, allocator.FreeAll(bufs))
}

// inPlace grows where the buffer is.
func (g growth) inPlace(t *testing.T, on *grower) {
	bufs := make([]allocator.Buffer, g.layers)
	for n := g.from; n <= g.to; n += stepOf {
		for i, b := range bufs {
			var err error
			if n == g.from {
				b, err = on.stream.MallocWith(t.Context(), n*g.perToken, allocator.MallocOptions{Room: (g.to - n) * g.perToken})
			} else {
				b, err = b.Grow(t.Context(), n*g.perToken)
			}
			require.NoError(t, err)
			on.work()
			bufs[i] = b
		}
	}
	require.NoError(t, allocator.FreeAll(bufs))
}

// Buffers that only grow keep little more than what they are at their peak, also
// where each step makes a new one and frees the old.
func TestGrowingBuffers(t *testing.T) {
	for _, g := range growths() {
		t.Run(g.String(), func(t *testing.T) {
			final := int64(g.layers) * g.to * g.perToken
			active, reserved := g.run(t, func(on *grower) { g.inPlace(t, on) })
			require.Equal(t, final, active)
			require.LessOrEqual(t, float64(reserved)/float64(final), maxGrowth)

			active, reserved = g.run(t, func(on *grower) { g.copied(t, on) })
			ratio := float64(reserved) / float64(active)
			t.Logf("copied: reserved %d ÷ active peak %d = %.4f", reserved, active, ratio)
			require.LessOrEqual(t, ratio, g.bound())
		})
	}
}
