package tests

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/metal/sim"
)

// limits are what each trace's requested peak is multiplied with, in permille: under
// a limit of so much, with policy Refuse, it still runs through.
var limits = map[string]int64{"train-gpt2": 1020, "decode-llama": 1030, "train-moe": 1040, "serve-4streams": 1080}

// A trace runs through under its limit, and under one of just what it has reserved
// at its peak without any; at 0.9 times what it requested it is told what holds the
// memory.
func TestReplayUnderALimit(t *testing.T) {
	for _, trace := range traces {
		if raceEnabled && trace.name == "decode-llama" {
			continue // long
		}
		t.Run(trace.name, func(t *testing.T) {
			h := read(t, trace.name)
			under := func(limit int64) (*replay.Result, error) {
				dev, err := sim.New(sim.Config{PageSize: 2 << 20})
				require.NoError(t, err)
				defer func() { require.NoError(t, dev.Close()) }()
				return replay.Run(t.Context(), dev, h, allocator.WithMemoryLimit(limit), allocator.WithPolicy(allocator.Refuse))
			}
			free, err := under(allocator.NoLimit)
			require.NoError(t, err)
			for _, limit := range []int64{free.ReservedPeak, trace.requestedPeak * limits[trace.name] / 1000} {
				r, err := under(limit)
				require.NoError(t, err)
				require.LessOrEqual(t, r.ReservedPeak, limit)
			}

			_, err = under(trace.requestedPeak * 9 / 10)
			require.ErrorIs(t, err, allocator.ErrLimitExceeded)
			var e *allocator.AllocError
			require.ErrorAs(t, err, &e)
			require.Equal(t, e.Shortage.Limit+e.Shortage.Over, e.Shortage.Reserved+e.Shortage.Need)
			for _, s := range e.Shortage.Held {
				require.Zero(t, s.Free, "a free page was not used:\n%v", err)
			}
		})
	}
}
