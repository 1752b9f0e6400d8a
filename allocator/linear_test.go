package allocator_test

import (
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
)

// policies: without a limit any sizes; with one, whole pages.
var policies = map[string]bool{"guide": false, "refuse": true}

// Histories of goroutines that run freely.
func TestLinearizable(t *testing.T) {
	for name, refuse := range policies {
		t.Run(name, func(t *testing.T) { freely(t, refuse, *histories) })
	}
}

// freely plays histories one after the other on one runtime.
func freely(t *testing.T, refuse bool, n int) {
	if testing.Short() {
		n /= 10
	}
	rt, dev := openSim(t, gameDevice(refuse), policy(refuse))
	q, err := dev.NewQueue()
	require.NoError(t, err)
	for i := range n {
		seed := *firstSeed + uint64(i)
		g, first := newGame(offTest{t}, rt, q, seed, refuse)
		var wg sync.WaitGroup
		for _, f := range g.players(seed) {
			wg.Go(f)
		}
		within(t, wg.Wait)
		g.end()
		eventually(t, func() bool { return rt.ReservedMemory() == 0 })
		judge(t, seed, first, g.log)
	}
}

func policy(refuse bool) allocator.Option {
	if refuse {
		return allocator.WithPolicy(allocator.Refuse)
	}
	return allocator.WithPolicy(allocator.Guide)
}

// Histories under the simulated scheduler, from seeds; with the build tag every
// step of mailboxes, ledger and inboxes is one where another goroutine may go on.
func TestLinearizableInSimulation(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for name, refuse := range policies {
		t.Run(name, func(t *testing.T) {
			for i := range *histories {
				seed := *firstSeed + uint64(i)
				first, log := simulateGame(t, sys, seed, refuse)
				judge(t, seed, first, log)
			}
		})
	}
}

func judge(t *testing.T, seed uint64, first modelState, log []porcupine.Operation) {
	t.Helper()
	result := porcupine.CheckOperationsTimeout(modelFrom(first), log, long)
	if result != porcupine.Ok {
		require.Failf(t, "not linearizable", "-seed %d: %v\n%s", seed, result, describe(first, log))
	}
}
