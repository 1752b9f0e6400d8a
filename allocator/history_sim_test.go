package allocator_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal/sim"
)

// simulateGame plays one history on a runtime of its own. Opening and closing it are
// part of the run but not of the history.
func simulateGame(t *testing.T, sys *actors.System, seed uint64, refuse bool) (first modelState, log []porcupine.Operation) {
	t.Helper()
	s := simseam.New(seed)
	dev := simDevice(t, gameDevice(refuse))
	dev.Hook(func(sim.Call) { s.Yield() }) // a slow device
	s.Go(func() {
		rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys), policy(refuse))
		require.NoError(t, err)
		q, err := dev.NewQueue()
		require.NoError(t, err)
		var g *game
		g, first = newGame(t, rt, q, seed, refuse)
		simulateAll(s, g.players(seed))
		log = g.log
		g.end()
		require.NoError(t, rt.Close(ctx))
	})
	preempt(s, seed)
	defer steps.Preempt(nil)
	var err error
	within(t, func() { err = s.Run() })
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	return first, log
}

// preempt has the schedule switch at each step, or at some: then the others do much
// while one stands in the midst of something.
func preempt(s *simseam.Sim, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1000))
	every := []int{1, 4, 30}[rng.IntN(3)]
	steps.Preempt(func() {
		if rng.IntN(every) == 0 {
			s.Yield()
		}
	})
}

// simulateAll returns when all have.
func simulateAll(s *simseam.Sim, fs []func()) {
	done, left := s.NewGate(), len(fs)
	for _, f := range fs {
		s.Go(func() {
			f()
			if left--; left == 0 {
				done.Open()
			}
		})
	}
	done.Wait()
}

// describe lists a history for people.
func describe(first modelState, log []porcupine.Operation) string {
	log = slices.Clone(log)
	slices.SortStableFunc(log, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, o := range log {
		fmt.Fprintf(&b, "%5d–%-5d player %d: %s\n", o.Call, o.Return, o.ClientId, modelFrom(first).DescribeOperation(o.Input, o.Output))
	}
	return b.String()
}
