//go:build simatomics

package ledger

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
)

// simulated plays one history with a switch of goroutines possible at each step.
func simulated(t *testing.T, seed uint64) (history []porcupine.Operation) {
	sim := simseam.New(seed)
	events := int64(0)
	swinging := false
	between := func() {
		swinging = false
		sim.Yield()
		swinging = true
	}
	history = record(seed, func() int64 { events++; return events }, between, func(fs []func()) {
		for _, f := range fs {
			sim.Go(f)
		}
		steps.Preempt(func() {
			if !swinging {
				sim.Yield()
			}
		})
		defer steps.Preempt(nil)
		require.NoError(t, sim.Run())
	})
	return history
}

func TestLinearizableInSimulation(t *testing.T) {
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		check(t, seed, simulated(t, seed))
	}
}

// Goroutines that run freely, each step delayed at random.
func TestLinearizableWithDelays(t *testing.T) {
	steps.Preempt(func() {
		if rand.IntN(4) == 0 {
			runtime.Gosched()
		}
	})
	defer steps.Preempt(nil)
	for i := range *histories / 4 {
		seed := *firstSeed + uint64(i)
		var mu sync.Mutex
		events := int64(0)
		now := func() int64 { mu.Lock(); defer mu.Unlock(); events++; return events }
		check(t, seed, record(seed, now, func() {}, func(fs []func()) {
			var wg sync.WaitGroup
			for _, f := range fs {
				wg.Go(f)
			}
			wg.Wait()
		}))
	}
}

// Each planted fault is found, most of them within the histories that are played
// anyway.
func TestPlantedFaultsAreFound(t *testing.T) {
	for name, f := range map[string]fault{
		"no version in the credit word": noVersion, "single collect": singleCollect, "off by one": offByOne,
		"lease's peak forgotten": noFold, "row not frozen": noFreeze, "credited before counted": creditFirst,
		"half-done frees ignored": ignoreHalf, "put-off free counted twice": noUndo, "high not begun anew": staleHigh,
		"lease begun with an old high": staleLease, "spans' peaks ignored": ownPeakOnly,
		"lease goes on while others free": keepLease, "reset leaves credit out": keepCredit, "epoch stands still": stillEpoch,
	} {
		t.Run(name, func(t *testing.T) {
			plant = f
			defer func() { plant = 0 }()
			most := 40 * *histories
			for i := range most {
				seed := *firstSeed + uint64(i)
				if !lawful(simulated(t, seed)) {
					t.Logf("found by history %d", i+1)
					return
				}
			}
			t.Fatalf("not found by %d histories", most)
		})
	}
}
