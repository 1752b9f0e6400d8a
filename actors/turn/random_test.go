package turn

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
)

// simulate runs a world under simseam and returns the run's trace. With the
// build tag simatomics the seed also decides who goes on between any two
// operations on the word and the queues, which is the strictest test here:
//
//	go test -tags simatomics -run Simulated ./actors/turn
func simulate(t *testing.T, seed uint64) uint64 {
	sim := simseam.New(seed)
	d := NewDispatcher(sim, int(seed%5), int(seed%3))
	w := newWorld(t, sim, seed, d, 2+int(seed%3), seed%2 == 0)
	sim.Go(func() {
		w.live(12)
		d.Close()
	})
	steps.Preempt(sim.Yield)
	defer steps.Preempt(nil)
	require.NoError(t, sim.Run())
	return sim.Trace()
}

func TestSimulated(t *testing.T) {
	seeds := uint64(300)
	if steps.Simulated {
		seeds = 3000
	}
	traces := map[uint64]bool{}
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
		trace := simulate(t, seed)
		require.Equal(t, trace, simulate(t, seed), "seed %d gives one run", seed)
		require.False(t, t.Failed(), "seed %d", seed)
		traces[trace] = true
	}
	require.Len(t, traces, int(seeds), "each seed gives another run")
}

// The same load on real goroutines, for the race detector.
func TestParallel(t *testing.T) {
	d := NewDispatcher(seam.Real, 30, 4)
	defer d.Close()
	for seed := *firstSeed; seed < *firstSeed+4; seed++ {
		newWorld(t, seam.Real, seed, d, 6, false).live(5000)
		require.False(t, t.Failed(), "seed %d", seed)
	}
}

// Stops race with everything else, over and over.
func TestParallelStops(t *testing.T) {
	d := NewDispatcher(seam.Real, 30, 4)
	defer d.Close()
	for seed := *firstSeed; seed < *firstSeed+500; seed++ {
		newWorld(t, seam.Real, seed, d, 4, true).live(20)
		require.False(t, t.Failed(), "seed %d", seed)
	}
}

// An actor that comes to rest after every message must be woken by the next,
// while others enter and leave all the time.
func TestWakeUp(t *testing.T) {
	const rounds = 30_000
	m := idle(t)
	var stop atomic.Bool
	defer stop.Store(true)
	visits := 0
	gone := seam.Real.NewGate()
	go func() {
		for !stop.Load() {
			if m.Enter() {
				visits++
				m.Exit()
			}
		}
		gone.Open()
	}()
	p := newPing(&visits)
	w := &world{t: t, s: seam.Real, m: m}
	for range rounds {
		require.NoError(t, m.Post(p))
		w.wait(p.done)
	}
	stop.Store(true)
	gone.Wait()
	require.GreaterOrEqual(t, visits, rounds)
}
