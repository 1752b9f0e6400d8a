package bench

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
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
	require.NotEmpty(t, r.Scaling)
	require.Len(t, r.Idle, 1)
	lines := map[string]int{} // rivals in each
	for _, row := range r.Rows {
		lines[fmt.Sprint(row.Workload, row.Goroutines, row.Streams, row.Size, row.Live)]++
		require.Positive(t, row.NSPerPair, "%+v", row)
		require.Positive(t, row.P50, "%+v", row)
		require.LessOrEqual(t, row.P50, row.P99, "%+v", row)
		require.LessOrEqual(t, row.P99, row.P999, "%+v", row)
		require.Equal(t, row.ControlScaling < markBelow, row.Marked)
		switch {
		case row.Name == Mutex:
			require.InDelta(t, 1, row.RatioToMutex, 0)
		case slices.Contains([]string{snapshot, oneSpan, manySpans}, row.Workload):
			require.Zero(t, row.RatioToMutex, "%+v", row)
		default:
			require.Positive(t, row.RatioToMutex, "%+v", row)
		}
		if row.Workload == pair {
			require.InDelta(t, row.Scaling/row.Control, row.Share, 0.01, "%+v", row)
			if row.Goroutines == 1 {
				require.Equal(t, []float64{1, 1}, []float64{row.Scaling, row.Control}, "%+v", row)
			}
		} else {
			require.Zero(t, row.Share, "%+v", row)
		}
	}
	require.Len(t, lines, len(steps)-1, "idle streams have a section of their own")
	for line, n := range lines {
		switch {
		case strings.HasPrefix(line, snapshot), strings.HasPrefix(line, "spans"):
			require.Equal(t, 1, n, line)
		case strings.HasPrefix(line, liveBeside), strings.HasPrefix(line, streamsInTurn), strings.HasPrefix(line, oneSize):
			require.Equal(t, len(direct), n, line)
		default:
			require.Equal(t, len(rivals), n, line)
		}
	}
}

// A quick run leaves out numbers, not workloads.
func TestConfigsAreComplete(t *testing.T) {
	for _, quick := range []bool{false, true} {
		asked := map[string][]int{ // workload → goroutines at least
			pair: {1, 2, 4, 8, 16}, oneStream: {2, 4, 8, 16}, hereThere: {2, 4}, query: {1, 16}, snapshot: {16},
			oneSpan: {1, 4}, manySpans: {1, 4}, resetPeak: {1, 4}, growth: {1, 4}, behindMiss: {1}, queryBehindMiss: {1, 2}, liveBeside: {1}, liveRandom: {1},
			streamsInTurn: {2}, oneSize: {1}, idleStreams: {0},
		}
		seen := map[string]bool{}
		for _, c := range configs(quick, 2, nil) {
			asked[c.workload] = slices.DeleteFunc(asked[c.workload], func(g int) bool { return g == c.goroutines })
			require.False(t, seen[c.String()], "%v twice", c)
			seen[c.String()] = true
		}
		for workload, missing := range asked {
			require.Empty(t, missing, "%s, quick: %v", workload, quick)
		}
	}
}

func TestPatterns(t *testing.T) {
	labels := func(workload string) (ls []string) {
		cs, err := Options{Quick: true, Workload: workload}.configs()
		require.NoError(t, err)
		for _, c := range cs {
			ls = append(ls, c.label())
		}
		return slices.Compact(ls)
	}
	require.Equal(t, []string{pair, snapshot}, labels("snapshot,pair"), "in the order of all")
	require.Equal(t, []string{query, queryBehindMiss}, labels("query*"))
	_, err := Options{Workload: "pair,bogus"}.configs()
	require.ErrorIs(t, err, ErrNoWorkload)
	require.ErrorContains(t, err, `"bogus"`)
}

func TestShare(t *testing.T) {
	r := Report{Rows: []Row{
		{Workload: pair, Name: "a", Goroutines: 1, NSPerPair: 40, Control: 1},
		{Workload: pair, Name: "b", Goroutines: 1, NSPerPair: 20, Control: 1},
		{Workload: pair, Name: "a", Goroutines: 4, NSPerPair: 16, Control: 3.125},
		{Workload: pair, Name: "b", Goroutines: 4, NSPerPair: 10, Control: 4},
		{Workload: query, Name: "a", Goroutines: 4, NSPerPair: 10},
	}}
	r.share()
	var scaling, share []float64
	for _, row := range r.Rows {
		scaling, share = append(scaling, row.Scaling), append(share, row.Share)
	}
	require.Equal(t, []float64{1, 1, 2.5, 2, 0}, scaling)
	require.Equal(t, []float64{1, 1, 0.8, 0.5, 0}, share)
}

func TestIdleStreams(t *testing.T) {
	system := allocator.NewSystem(nil)
	defer system.Shutdown()
	i, err := measureIdle(system, 300, 1)
	require.NoError(t, err)
	require.Equal(t, 300, i.Streams)
	require.Positive(t, i.OpenUS)
	require.Positive(t, i.CloseUS)
	require.Greater(t, i.HeapBytes, 100.0)
	require.Less(t, i.HeapBytes, 20_000.0)
}

// What is live beside the pairs stays so, and all of it is freed at the end: an
// allocator with anything in use refuses to close.
func TestLiveBlocksStayLive(t *testing.T) {
	system := allocator.NewSystem(nil)
	defer system.Shutdown()
	for _, workload := range []string{liveBeside, liveRandom} {
		c := config{workload: workload, goroutines: 1, streams: 1, size: liveSize, live: 50}
		a, err := openMutex(&env{system: system, streams: 1, live: 50})
		require.NoError(t, err)
		s := newSubject(c, a)
		require.NoError(t, s.warm())
		require.EqualValues(t, 50*liveSize, a.Active())
		before := slices.Clone(s.held)
		n, err := s.work(0, 1000, nil)
		require.NoError(t, err)
		require.Equal(t, 1000, n)
		require.EqualValues(t, 50*liveSize, a.Active())
		require.Equal(t, workload == liveBeside, slices.Equal(before, s.held))
		require.NoError(t, s.close())
	}
}

// Each goroutine walks its own streams, and all of them.
func TestAcrossStreams(t *testing.T) {
	c := config{workload: streamsInTurn, goroutines: 2, streams: 6, size: mib}
	a := &counted{}
	s := newSubject(c, a)
	for g := range 2 {
		for range 3 { // chunks that end in the middle
			_, err := s.work(g, 5, nil)
			require.NoError(t, err)
		}
	}
	require.Equal(t, map[int]int{0: 5, 1: 5, 2: 5, 3: 5, 4: 5, 5: 5}, a.mallocs)
}

// counted counts mallocs by stream, of one goroutine at a time, and does nothing
// else.
type counted struct {
	Allocator[int]
	mallocs map[int]int
}

func (c *counted) Malloc(stream int, _ int64) (int, error) {
	if c.mallocs == nil {
		c.mallocs = map[int]int{}
	}
	c.mallocs[stream]++
	return 0, nil
}

func (c *counted) Free(int) error { return nil }

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
	for _, c := range configs(false, runtime.GOMAXPROCS(0), traces) {
		for _, r := range rivals {
			if c.workload == idleStreams || !c.doneBy(r.name) {
				continue
			}
			b.Run(strings.ReplaceAll(c.String(), ", ", "/")+"/"+r.name, func(b *testing.B) {
				e := &env{system: system, streams: c.streams, live: c.live}
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
					err = s.inSpans(b.Context(), c.spans, run)
				}
				require.NoError(b, err)
				require.NoError(b, s.close())
			})
		}
	}
}
