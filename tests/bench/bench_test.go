package bench

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
)

var tracesDir = filepath.Join("..", "testdata", "traces")

func TestRunGivesARowForEachRival(t *testing.T) {
	var steps []int
	r, err := Run(t.Context(), Options{
		Quick: true, Workload: "*", Chunk: time.Microsecond, Rounds: 2,
		Progress: func(done, total int, next string) {
			require.NotEmpty(t, next)
			require.Less(t, done, total)
			steps = append(steps, done)
		},
	})
	require.NoError(t, err)
	require.Len(t, r.Rows, len(rivals)*len(steps))
	require.NotEmpty(t, r.Scaling)
	seen := map[string]bool{}
	for _, row := range r.Rows {
		seen[row.Workload] = true
		require.Positive(t, row.NSPerPair, "%+v", row)
		require.Positive(t, row.RatioToMutex, "%+v", row)
		require.Positive(t, row.P50, "%+v", row)
		require.LessOrEqual(t, row.P50, row.P99, "%+v", row)
		require.LessOrEqual(t, row.P99, row.P999, "%+v", row)
		require.Equal(t, row.ControlScaling < markBelow, row.Marked)
		if row.Name == Mutex {
			require.InDelta(t, 1, row.RatioToMutex, 0)
		}
	}
	for _, w := range []string{pair, oneStream, hereThere, query, resetPeak, growth, behindMiss, queryBehindMiss} {
		require.True(t, seen[w], w)
	}
}

func TestRunPlaysTraces(t *testing.T) {
	r, err := Run(t.Context(), Options{Quick: true, Workload: "*:serve-4streams", Traces: tracesDir, Chunk: time.Microsecond, Rounds: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"trace-sizes:serve-4streams", "replay:serve-4streams"},
		[]string{r.Rows[0].Workload, r.Rows[len(r.Rows)-1].Workload})
	require.Equal(t, 5, r.Rows[len(r.Rows)-1].Streams)
}

func TestRunRefuses(t *testing.T) {
	_, err := Run(t.Context(), Options{Workload: "bogus"})
	require.ErrorIs(t, err, ErrNoWorkload)
	require.ErrorContains(t, err, `"bogus"`)
	_, err = Run(t.Context(), Options{Workload: "["})
	require.ErrorIs(t, err, path.ErrBadPattern)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Run(ctx, Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestMedian(t *testing.T) {
	require.InDelta(t, 2, median([]float64{3, 1, 2}), 0)
	require.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 0)
}

// BenchmarkPairs is the work of metalloc bench, a line for each rival.
func BenchmarkPairs(b *testing.B) {
	system := allocator.NewSystem(nil)
	defer system.Shutdown()
	traces, err := Options{Quick: true, Traces: tracesDir}.traces()
	require.NoError(b, err)
	for _, c := range configs(false, traces) {
		for _, r := range rivals {
			b.Run(fmt.Sprintf("%s/g%d/%s", c.label(), c.goroutines, r.name), func(b *testing.B) {
				e := &env{system: system, streams: c.streams}
				if c.missing {
					e.streams++
				}
				s, err := r.open(c, e)
				require.NoError(b, err)
				require.NoError(b, s.warm())
				run := func() error {
					m, err := measure(s, c.goroutines, max(1, b.N/c.goroutines), nil)
					b.ReportMetric(m.ns(), "ns/pair")
					b.ReportMetric(m.allocs(), "allocs/pair")
					return err
				}
				if c.missing {
					err = whileMissing(s, &e.slow, run)
				} else {
					err = run()
				}
				require.NoError(b, err)
				require.NoError(b, s.close())
			})
		}
	}
}
