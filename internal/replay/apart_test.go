package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
)

// Two misses: the first block, and the one for which there is no room left.
func twoMisses() *story {
	return newStory(0).alloc(0, 8*mib).free(0).alloc(0, 8*mib).alloc(0, 8*mib).free(1).free(2)
}

func TestScoutFindsTheMisses(t *testing.T) {
	onDevices(t, func(t *testing.T, dev device) {
		s := twoMisses()
		p := newPlan(&s.History)
		missed, err := scout(t.Context(), dev, &s.History, p, nil)
		require.NoError(t, err)
		var kinds []kind
		for i, m := range missed {
			if m {
				require.NotEqual(t, int32(1), p.ops[i].block, "served from the cache")
				kinds = append(kinds, p.ops[i].kind)
			}
		}
		require.Equal(t, []kind{malloc, malloc}, kinds)
	})
}

func TestApart(t *testing.T) {
	onDevices(t, func(t *testing.T, dev device) {
		plain, err := Run(t.Context(), dev, &twoMisses().History)
		require.NoError(t, err)
		require.Zero(t, [3]float64{plain.HitsNSPerOp, float64(plain.MissP50NS), plain.DriverShare})

		r, err := Config{Apart: true}.Run(t.Context(), dev, &twoMisses().History)
		require.NoError(t, err)
		require.EqualValues(t, 2, r.Misses)
		require.Positive(t, r.HitsNSPerOp)
		require.Positive(t, r.MissP50NS)
		require.Positive(t, r.DriverShare)
		require.LessOrEqual(t, r.DriverShare, 1.0)
		require.Equal(t, plain.DeviceCalls, r.DeviceCalls)
		if _, modelled := dev.(metal.Modeler); modelled {
			require.Equal(t, plain.DriverNS, r.DriverNS, "of the second pass alone")
		}
	})
}

func TestApartRefuses(t *testing.T) {
	onDevices(t, func(t *testing.T, dev device) {
		for _, c := range []Config{{Apart: true, Concurrent: true}, {Apart: true, Lag: time.Second, Clock: new(metal.VirtualClock)}} {
			_, err := c.Run(t.Context(), dev, &twoMisses().History)
			require.ErrorIs(t, err, allocator.ErrUnsupported)
		}
		s := newStory(0).alloc(0, 40*mib).alloc(0, 40*mib).free(1).free(0)
		_, err := Config{Apart: true}.Run(t.Context(), dev, &s.History)
		require.ErrorIs(t, err, allocator.ErrOutOfMemory)
		require.ErrorContains(t, err, "event 1 (alloc of 41943040 bytes)")
	})
}

func TestFill(t *testing.T) {
	given := Result{Mallocs: 6, Frees: 6, Misses: 3, WallNS: 1900, DriverNS: 500}
	split := func(modelled bool, missed []bool, times ...time.Duration) [3]float64 {
		r := given
		a := apart{missed, times}
		a.fill(&r, modelled)
		return [3]float64{r.HitsNSPerOp, float64(r.MissP50NS), r.DriverShare}
	}
	known := []bool{true}
	require.Equal(t, [3]float64{100, 200, 0.5}, split(false, known, 700, 100, 200), "9 of 12 hit, in 900 ns")
	require.Equal(t, [3]float64{100, 200, 0.333}, split(true, known, 700, 100, 200))
	require.Equal(t, [3]float64{155.556, 200, 1}, split(false, known, 100, 200, 200), "given back between misses")
	require.Zero(t, split(false, known, 700, 100), "another number than foreseen")
	require.Zero(t, split(false, nil, 700, 100, 200))
	given.Misses, given.WallNS = 0, 1200
	require.Equal(t, [3]float64{100, 0, 0}, split(false, known))
}
