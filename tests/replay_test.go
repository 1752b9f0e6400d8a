package tests

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// trace is a recorded history and what is known of it.
type trace struct {
	name          string
	mallocs       int
	streams       int
	requestedPeak int64
	liveEnd       int64
	maxRatio      float64 // of reserved to requested peak on sim, pages of 2 MiB; 0: no promise yet
}

// The peaks are those that PyTorch counted when the histories were recorded.
var traces = []trace{
	{"train-gpt2", 34121, 1, 11_713_432_504, 3, 1.06},
	{"decode-llama", 244510, 1, 1_405_592_256, 1, 1.06},
	{"train-moe", 5803, 2, 1_000_929_236, 3, 0},
	{"serve-4streams", 20573, 5, 635_594_096, 8, 0},
}

// What the command promises on one trace: ns for a malloc or a free.
const (
	speedTrace   = "train-gpt2"
	maxNSPerOp   = 500
	speedSamples = 10
)

func read(tb testing.TB, name string) *torch.History {
	tb.Helper()
	h, err := torch.ReadFile(filepath.Join("testdata", "traces", name+".pickle.gz"), nil)
	require.NoError(tb, err)
	return h
}

func devices() map[string]func() (metal.Device, error) {
	return map[string]func() (metal.Device, error){
		"host": func() (metal.Device, error) { return host.Open() },
		"sim":  func() (metal.Device, error) { return sim.New(sim.Config{PageSize: 2 << 20}) },
	}
}

// play replays h on a fresh device, which must have everything back afterwards.
func play(tb testing.TB, h *torch.History, open func() (metal.Device, error)) *replay.Result {
	tb.Helper()
	dev, err := open()
	require.NoError(tb, err)
	r, err := replay.Run(tb.Context(), dev, h)
	require.NoError(tb, err)
	require.NoError(tb, dev.Close(), "the replay must give all memory back")
	return r
}

func TestReplayRecordedTraces(t *testing.T) {
	for _, trace := range traces {
		h := read(t, trace.name)
		for kind, open := range devices() {
			t.Run(trace.name+"/"+kind, func(t *testing.T) {
				r := play(t, h, open)
				require.Equal(t, trace.requestedPeak, r.RequestedPeak)
				require.Equal(t, trace.liveEnd, r.LiveEnd)
				require.Equal(t, trace.mallocs, r.Mallocs)
				require.Equal(t, trace.streams, r.Streams)
				require.GreaterOrEqual(t, r.ReservedPeak, r.ActivePeak)
				require.LessOrEqual(t, r.ActiveEnd+r.CacheEnd+r.SlackEnd, r.ReservedPeak)
				if kind == "sim" && trace.maxRatio > 0 {
					require.LessOrEqual(t, r.Ratio, trace.maxRatio)
				}
				var mallocs, frees, live int64
				for _, s := range r.PerStream {
					mallocs, frees, live = mallocs+s.Mallocs, frees+s.Frees, live+s.LiveEnd
					require.LessOrEqual(t, s.ActivePeak, r.ActivePeak)
					require.LessOrEqual(t, s.ReservedPeak, r.ReservedPeak)
				}
				require.EqualValues(t, r.Mallocs, mallocs)
				require.EqualValues(t, r.Frees, frees)
				require.Equal(t, r.LiveEnd, live)
			})
		}
	}
}

// A goroutine per stream changes when things happen, not what does.
func TestReplayConcurrently(t *testing.T) {
	for _, trace := range traces {
		if raceEnabled && trace.name == "decode-llama" {
			continue // long, and one stream
		}
		h := read(t, trace.name)
		for kind, open := range devices() {
			t.Run(trace.name+"/"+kind, func(t *testing.T) {
				dev, err := open()
				require.NoError(t, err)
				r, err := replay.Config{Concurrent: true, Window: replay.DefaultWindow}.Run(t.Context(), dev, h)
				require.NoError(t, err)
				require.NoError(t, dev.Close(), "the replay must give all memory back")
				serial := play(t, h, open)
				require.Equal(t, []int{serial.Mallocs, serial.Frees}, []int{r.Mallocs, r.Frees})
				require.Equal(t, []int64{trace.liveEnd, serial.ActiveEnd, serial.PendingEnd}, []int64{r.LiveEnd, r.ActiveEnd, r.PendingEnd})
				var greatest, sum int64
				for i, s := range r.PerStream {
					require.Equal(t, serial.PerStream[i].ActivePeak, s.ActivePeak)
					greatest, sum = max(greatest, s.RequestedPeak), sum+s.RequestedPeak
				}
				require.LessOrEqual(t, greatest, r.RequestedPeak)
				require.LessOrEqual(t, r.RequestedPeak, sum)
			})
		}
	}
}

// A replay is one goroutine after another on one device: its figures, times
// apart, are the same each time.
func TestReplayIsDeterministic(t *testing.T) {
	h := read(t, "serve-4streams")
	for kind, open := range devices() {
		t.Run(kind, func(t *testing.T) {
			var first *replay.Result
			for range 3 {
				r := play(t, h, open)
				r.DriverNS, r.DriverOfSpan, r.WallNS, r.NSPerOp = 0, 0, 0, 0
				if first == nil {
					first = r
				}
				require.Equal(t, first, r)
			}
		})
	}
}

func TestReplaySpeed(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector slows everything down")
	}
	h := read(t, speedTrace)
	for kind, open := range devices() {
		t.Run(kind, func(t *testing.T) {
			best := math.Inf(1)
			for n := 0; n < speedSamples && best > maxNSPerOp; n++ { // the machine may be busy with something else
				best = min(best, play(t, h, open).NSPerOp)
			}
			t.Logf("%.0f ns a malloc or free", best)
			require.LessOrEqual(t, best, float64(maxNSPerOp))
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	for _, trace := range traces {
		h := read(b, trace.name)
		for kind, open := range devices() {
			b.Run(trace.name+"/"+kind, func(b *testing.B) {
				var ns float64
				for b.Loop() {
					ns += play(b, h, open).NSPerOp
				}
				b.ReportMetric(ns/float64(b.N), "ns/malloc-or-free")
			})
		}
	}
}
