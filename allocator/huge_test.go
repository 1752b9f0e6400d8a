package allocator_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal/sim"
)

// Buffers of terabytes: more than a stream's credit can say, and than all credit.
func TestHugeBuffers(t *testing.T) {
	const tib = 1 << 40
	rt, _ := openSim(t, sim.Config{Memory: 64 * tib, PageSize: 1 << 36})
	var wg sync.WaitGroup
	kept := malloc(t, newStream(t, rt), 3*tib)
	peak := rt.PeakMemory()
	for id := range uint64(4) {
		s := newStream(t, rt)
		rng := rand.New(rand.NewPCG(*firstSeed, id))
		wg.Go(func() {
			for range 300 {
				n := []int64{512, tib, 2 * tib, 4*tib + 512, 8 * tib}[rng.IntN(5)]
				b, err := s.Malloc(ctx, n)
				if err != nil {
					t.Error(err)
					return
				}
				if p := rt.PeakMemory(); p < n+3*tib || p > 64*tib {
					t.Errorf("peak %d with %d live", p, n)
				}
				if rng.IntN(2) == 0 {
					identity(offTest{t}, rt)
				}
				if err := b.Free(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	within(t, wg.Wait)
	require.EqualValues(t, 3*tib, rt.ActiveMemory())
	require.Greater(t, rt.PeakMemory(), peak)
	free(t, kept)
	require.Zero(t, rt.ActiveMemory())
}
