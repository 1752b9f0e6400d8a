package simseam_test

import (
	"context"
	"flag"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam/simseam"
)

var firstSeed = flag.Uint64("seed", 1, "first seed of the simulated runs")

const seeds = 200

// letters runs three goroutines that write a letter per step.
func letters(t *testing.T, seed uint64) (order string, trace uint64) {
	sim := simseam.New(seed)
	for _, letter := range "abc" {
		sim.Go(func() {
			for range 5 {
				order += string(letter)
				sim.Yield()
			}
		})
	}
	require.NoError(t, sim.Run())
	require.Len(t, order, 15)
	return order, sim.Trace()
}

func TestSameSeedSameRun(t *testing.T) {
	orders, traces := map[string]bool{}, map[uint64]bool{}
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
		order, trace := letters(t, seed)
		again, traceAgain := letters(t, seed)
		require.Equal(t, order, again, "seed %d", seed)
		require.Equal(t, trace, traceAgain, "seed %d", seed)
		orders[order], traces[trace] = true, true
	}
	require.Greater(t, len(orders), seeds*9/10, "seeds differ")
	require.Greater(t, len(traces), seeds*9/10, "traces differ")
}

// Every seam call is a place where a counter that is read and written in two
// steps can lose an update; and without such a call it can't.
func TestSwitchPoints(t *testing.T) {
	for name, c := range map[string]struct {
		loses bool
		call  func(*simseam.Sim)
	}{
		"none":  {false, func(*simseam.Sim) {}},
		"yield": {true, func(s *simseam.Sim) { s.Yield() }},
		"spin":  {true, func(s *simseam.Sim) { s.Spin(0) }},
		"open":  {true, func(s *simseam.Sim) { s.NewGate().Open() }},
		"go":    {true, func(s *simseam.Sim) { s.Go(func() {}) }},
		"wait":  {true, func(s *simseam.Sim) { g := s.NewGate(); s.Go(g.Open); g.Wait() }},
		"lock":  {false, func(s *simseam.Sim) { s.LockThread(); s.UnlockThread() }},
	} {
		t.Run(name, func(t *testing.T) {
			lost := 0
			for seed := *firstSeed; seed < *firstSeed+50; seed++ {
				sim, n := simseam.New(seed), 0
				for range 2 {
					sim.Go(func() {
						old := n
						c.call(sim)
						n = old + 1
					})
				}
				require.NoError(t, sim.Run())
				if n == 1 {
					lost++
				}
			}
			require.Equal(t, c.loses, lost > 0)
			require.Less(t, lost, 50, "not always the same order")
		})
	}
}

func TestSpinEnds(t *testing.T) {
	sim := simseam.New(*firstSeed)
	require.False(t, sim.Spin(0), "nobody to wait for outside Run")
	steps := 0
	sim.Go(func() {
		for sim.Spin(steps) {
			steps++
		}
	})
	require.NoError(t, sim.Run())
	require.Positive(t, steps)
}

func TestGateKeepsOneOpen(t *testing.T) {
	sim := simseam.New(*firstSeed)
	g := sim.NewGate()
	g.Open()
	g.Open()
	passed := 0
	sim.Go(func() {
		g.Wait()
		passed++
		g.Wait()
		passed++
	})
	require.ErrorIs(t, sim.Run(), simseam.ErrDeadlock)
	require.Equal(t, 1, passed)
}

func TestWaitContext(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
		sim := simseam.New(seed)
		g := sim.NewGate()
		ctx, cancel := context.WithCancel(context.Background())
		sim.Go(func() {
			require.ErrorIs(t, g.WaitContext(ctx), context.Canceled)
			g.Open()
			require.NoError(t, g.WaitContext(ctx), "an opened gate wins over an ended ctx")
			require.ErrorIs(t, g.WaitContext(ctx), context.Canceled, "the gate was shut again")
		})
		sim.Go(cancel)
		require.NoError(t, sim.Run(), "seed %d", seed)
	}
}

func waitHere(sim *simseam.Sim) { sim.NewGate().Wait() }

func TestDeadlockIsNamed(t *testing.T) {
	sim := simseam.New(77)
	unwound := 0
	for range 2 {
		sim.Go(func() {
			defer func() { unwound++ }()
			// What a deferred call does with the seam while the run is being ended.
			defer sim.NewGate().Wait()
			defer func() {
				sim.Go(func() { t.Error("started in a run that is over") })
				sim.Yield()
				require.False(t, sim.Spin(0))
			}()
			waitHere(sim)
		})
	}
	sim.Go(func() {})
	err := sim.Run()
	require.ErrorIs(t, err, simseam.ErrDeadlock)
	require.ErrorContains(t, err, "seed 77: deadlock: 2 waiting:")
	require.ErrorContains(t, err, "goroutine 1 waits in simseam_test.waitHere (simseam_test.go:")
	require.ErrorContains(t, err, "TestDeadlockIsNamed")
	require.NotContains(t, err.Error(), "goroutine 3")
	require.Equal(t, 2, unwound)
}

func TestGoexitAndPanicEndOneGoroutine(t *testing.T) {
	sim := simseam.New(*firstSeed)
	g := sim.NewGate()
	ended := false
	sim.Go(func() { defer g.Open(); runtime.Goexit() })
	sim.Go(func() { g.Wait(); panic("boom") })
	sim.Go(func() { sim.Yield(); ended = true })
	err := sim.Run()
	require.ErrorContains(t, err, "goroutine 2 panicked: boom")
	require.NotErrorIs(t, err, simseam.ErrDeadlock)
	require.True(t, ended)
}

func TestRunOfNothing(t *testing.T) {
	sim := simseam.New(*firstSeed)
	require.NoError(t, sim.Run())
	require.Zero(t, sim.Trace())
	require.PanicsWithValue(t, "simseam: Wait outside the goroutines that Go started", sim.NewGate().Wait)
}
