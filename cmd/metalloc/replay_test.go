package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/replay"
)

func tracePath(name string) string {
	return filepath.Join("..", "..", "tests", "testdata", "traces", name+".pickle.gz")
}

// write makes a file of the given contents, with none of ours beside it.
func write(t *testing.T, name string, contents []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, contents, 0o600))
	return path
}

func TestBadFiles(t *testing.T) {
	whole, err := os.ReadFile(tracePath("train-moe"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		path string
		want string
	}{
		"missing":              {filepath.Join(t.TempDir(), "nothing"), "nothing"},
		"a folder":             {t.TempDir(), "directory"},
		"empty":                {write(t, "empty.pickle", nil), "empty.pickle"},
		"truncated":            {write(t, "cut.pickle.gz", whole[:len(whole)/2]), "malformed snapshot"},
		"foreign":              {write(t, "foreign", []byte("PNG, or so\n")), "not a pickle"},
		"pickle, no snapshot":  {write(t, "list.pickle", []byte("\x80\x02]q\x00.")), "want the snapshot's dict"},
		"pickle that can call": {write(t, "call.pickle", []byte("\x80\x02cos\nsystem\n.")), "is refused"},
	} {
		t.Run(name, func(t *testing.T) {
			requireRefused(t, exitFailure, []string{c.want}, "replay", c.path)
			requireRefused(t, exitFailure, []string{c.want}, "replay", "--json", c.path)
		})
	}
}

// A peaks.jsonl that can't be read is said before the replay, not after.
func TestBadPeaks(t *testing.T) {
	whole, err := os.ReadFile(tracePath("train-moe"))
	require.NoError(t, err)
	path := write(t, "train-moe.pickle.gz", whole)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "peaks.jsonl"), []byte("{}\nno JSON\n"), 0o600))
	requireRefused(t, exitFailure, []string{"peaks.jsonl: line 2"}, "replay", path)
}

func TestTooMuch(t *testing.T) {
	trace := tracePath("serve-4streams")
	requireExplained(t, "out of device memory", "replay", "--device=sim", "--memory=64MiB", trace)
	requireRefused(t, exitFailure, []string{"event 1 ", "larger than"}, "replay", "--device=sim", "--memory=64MiB", tracePath("train-gpt2"))
	requireExplained(t, "out of device memory", "replay", "--device=host", "--memory=64MiB", trace)
	requireExplained(t, "limit exceeded", "replay", "--memory-limit=300MiB", trace)
	requireExplained(t, "limit exceeded", "replay", "--memory-limit=300MiB", "--policy=refuse", "--json", trace)
}

// requireExplained checks that a replay which runs out of memory says so in a line,
// and who holds it in indented ones.
func requireExplained(t *testing.T, text string, args ...string) {
	t.Helper()
	stdout, stderr, code := metalloc(t, args...)
	require.Equal(t, exitFailure, code, "%v: %s", args, stderr)
	require.Empty(t, stdout)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	require.Regexp(t, "^metalloc: event .*"+text+".*reserved .* = active ", lines[0])
	require.Greater(t, len(lines), 1)
	require.Regexp(t, `^  "stream-\d+": active .* buffers?, the largest `, lines[1])
	for _, l := range lines[1:] {
		require.Regexp(t, `^  \S`, l)
	}
}

// replayed runs replay --json.
func replayed(t *testing.T, args ...string) replay.Result {
	t.Helper()
	stdout, stderr, code := metalloc(t, append([]string{"replay", "--json"}, args...)...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr, "no progress bar where there is no terminal")
	var r replay.Result
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	return r
}

func TestGuideGoesOverTheLimit(t *testing.T) {
	const limit = 300 << 20
	r := replayed(t, "--memory-limit=300MiB", "--policy=guide", tracePath("serve-4streams"))
	require.Greater(t, r.ReservedPeak, int64(limit))
}

func TestCacheLimit(t *testing.T) {
	r := replayed(t, "--cache-limit=0", "--device=sim", tracePath("train-moe"))
	require.EqualValues(t, 1_000_929_236, r.RequestedPeak)
	// A block that is pending stays in the cache until its mark is reached.
	free := replayed(t, "--device=sim", tracePath("train-moe"))
	require.Less(t, r.CacheEnd, free.CacheEnd/10)
	require.Greater(t, r.DeviceCalls["release"], free.DeviceCalls["release"])
}

func TestPageSize(t *testing.T) {
	small := replayed(t, "--device=sim", "--page-size=64KiB", tracePath("train-moe"))
	require.EqualValues(t, 64<<10, small.PageSize)
	large := replayed(t, "--device=sim", "--page-size=32MiB", tracePath("train-moe"))
	require.EqualValues(t, 32<<20, large.PageSize)
	require.Less(t, small.ReservedPeak, large.ReservedPeak)
}

func TestHandleSize(t *testing.T) {
	r := replayed(t, "--device=sim", tracePath("train-moe"))
	require.EqualValues(t, 64<<20, r.HandleSize)
	r = replayed(t, "--device=sim", "--handle-size=8MiB", tracePath("train-moe"))
	require.EqualValues(t, 8<<20, r.HandleSize)
	for want, args := range map[string][]string{
		"HandleSize: 3145728 bytes": {"--device=sim", "--handle-size=3MiB"},
		"goes with --device sim":    {"--handle-size=4MiB"},
		"doesn't go with":           {"--device=sim", "--handle-size=4MiB", "--segments"},
	} {
		requireRefused(t, exitUsage, []string{want}, append(append([]string{"replay"}, args...), tracePath("train-moe"))...)
	}
}

// Whole segments can't follow the work from stream to stream.
func TestSegments(t *testing.T) {
	for _, device := range []string{"host", "sim"} {
		pages := replayed(t, "--device="+device, tracePath("serve-4streams"))
		require.False(t, pages.Segments)
		whole := replayed(t, "--segments", "--device="+device, tracePath("serve-4streams"))
		require.True(t, whole.Segments)
		require.Zero(t, whole.PageSize)
		require.Positive(t, whole.DeviceCalls["alloc"])
		require.Zero(t, whole.DeviceCalls["map"])
		require.Greater(t, whole.ReservedPeak, pages.ReservedPeak)
	}
	stdout, _, code := metalloc(t, "replay", "--segments", tracePath("train-moe"))
	require.Zero(t, code)
	require.Contains(t, stdout, "train-moe on host (whole segments): ")
}

func TestTimeline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "line.csv")
	r := replayed(t, "--device=sim", "--timeline="+path, tracePath("serve-4streams"))
	require.Zero(t, r.HitsNSPerOp, "played once")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, strings.Fields("time_ns requested active cache slack reserved"), rows[0])
	require.LessOrEqual(t, len(rows), 2001)
	var last, active, reserved int64
	for _, row := range rows[1:] {
		var n [6]int64
		for i := range n {
			n[i], err = strconv.ParseInt(row[i], 10, 64)
			require.NoError(t, err)
		}
		require.Equal(t, n[5], n[2]+n[3]+n[4])
		require.GreaterOrEqual(t, n[0], last)
		last, active, reserved = n[0], max(active, n[2]), max(reserved, n[5])
	}
	require.LessOrEqual(t, last, r.SpanNS)
	require.Equal(t, []int64{r.ActivePeak, r.ReservedPeak}, []int64{active, reserved})

	nowhere := filepath.Join(t.TempDir(), "no", "such", "folder.csv")
	requireRefused(t, exitFailure, []string{nowhere}, "replay", "--timeline="+nowhere, tracePath("train-moe"))
	notTimed := filepath.Join(t.TempDir(), "events.csv")
	require.NoError(t, writeTimeline(notTimed, &replay.Timeline{States: []replay.State{{At: 7, Requested: 1, Active: 2, Cache: 3, Slack: 4, Reserved: 9}}}))
	text, err = os.ReadFile(notTimed)
	require.NoError(t, err)
	require.Equal(t, "event,requested,active,cache,slack,reserved\n7,1,2,3,4,9\n", string(text))
}

// What is said of PyTorch's driver time, by hand from the counts in peaks.jsonl.
func TestPyTorchsDriverTime(t *testing.T) {
	r := replayed(t, "--device=sim", tracePath("train-gpt2"))
	require.Positive(t, r.SpanNS)
	require.InDelta(t, float64(r.DriverNS)/float64(r.SpanNS), r.DriverOfSpan, 1e-6)
	// 198 segments of 65.4 MB at nearly 56 µs; one is given back.
	require.InDelta(t, 198*55.5e3+60e3, float64(r.PyTorch.Native.DriverNS), 100e3)
	// 604 handles of 20 MiB in 184 runs; three are given back.
	require.InDelta(t, 604*(10.7e3+700+22e3)+184*12e3+7e3+3*(15e3+14e3), float64(r.PyTorch.Expandable.DriverNS), 1)
	require.Zero(t, r.PyTorch.Async.DriverNS)

	stdout, _, code := metalloc(t, "replay", "--device=sim", tracePath("train-gpt2"))
	require.Zero(t, code)
	require.Contains(t, stdout, " % of the 7.73s that the file spans\n")
	require.Contains(t, stdout, "│ PyTorch, expandable segments │     11.79 GiB │            1.081 │                22.5ms │")
	require.Contains(t, stdout, "│ PyTorch, cudaMallocAsync     │     11.09 GiB │            1.017 │                       │")
	stdout, _, code = metalloc(t, "replay", tracePath("train-gpt2"))
	require.Zero(t, code)
	require.Regexp(t, `│ metalloc +│ [^│]+│ [^│]+│ +│`, stdout, "the host's times are real, not modelled")
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		trace         string
		streams       int
		requestedPeak int64
		liveEnd       int64
		native        int64
	}{
		{"train-moe", 2, 1_000_929_236, 3, 1_266_679_808},
		{"serve-4streams", 5, 635_594_096, 8, 2_277_507_072},
	} {
		for _, device := range []string{"host", "sim"} {
			t.Run(c.trace+"/"+device, func(t *testing.T) {
				r := replayed(t, "--device="+device, tracePath(c.trace))
				require.Equal(t, c.trace, r.Trace)
				require.Equal(t, device, r.Device)
				require.Equal(t, c.requestedPeak, r.RequestedPeak)
				require.Equal(t, c.liveEnd, r.LiveEnd)
				require.Len(t, r.PerStream, c.streams)
				require.Equal(t, c.native, r.PyTorch.Native.ReservedPeak)
			})
		}
	}
}

func TestConcurrent(t *testing.T) {
	for _, trace := range []string{"train-moe", "serve-4streams"} {
		for _, device := range []string{"host", "sim"} {
			t.Run(trace+"/"+device, func(t *testing.T) {
				serial := replayed(t, "--device="+device, tracePath(trace))
				require.False(t, serial.Concurrent)
				require.Zero(t, serial.Window)
				r := replayed(t, "--concurrent", "--device="+device, tracePath(trace))
				require.True(t, r.Concurrent)
				require.Equal(t, 256, r.Window)
				require.Equal(t, []int{serial.Mallocs, serial.Frees}, []int{r.Mallocs, r.Frees})
				require.Equal(t, []int64{serial.LiveEnd, serial.PendingEnd, serial.ActiveEnd}, []int64{r.LiveEnd, r.PendingEnd, r.ActiveEnd})
				inOrder := replayed(t, "--concurrent", "--window=0", "--device="+device, tracePath(trace))
				require.Zero(t, inOrder.Window)
				require.Equal(t, serial.RequestedPeak, inOrder.RequestedPeak)
			})
		}
	}
	stdout, _, code := metalloc(t, "replay", "--concurrent", "--window=7", "--lag=10ms", tracePath("train-moe"))
	require.Zero(t, code)
	require.Contains(t, stdout, "A goroutine per stream, at most 7 events apart. Marks are reached 10ms after a free.\n")
}

// Pages that stay longer are missed elsewhere.
func TestLag(t *testing.T) {
	for _, device := range []string{"host", "sim"} {
		none := replayed(t, "--device="+device, tracePath("serve-4streams"))
		lagged := replayed(t, "--lag=50ms", "--device="+device, tracePath("serve-4streams"))
		require.EqualValues(t, 50_000_000, lagged.LagNS)
		require.Equal(t, none.RequestedPeak, lagged.RequestedPeak)
		require.Greater(t, lagged.ReservedPeak, none.ReservedPeak)
		both := replayed(t, "--concurrent", "--lag=50ms", "--device="+device, tracePath("serve-4streams"))
		require.Equal(t, lagged.ActiveEnd, both.ActiveEnd)
	}
}

func TestHitsAndMissesApart(t *testing.T) {
	for _, device := range []string{"host", "sim"} {
		args := []string{"--device=" + device, tracePath("train-moe")}
		r := replayed(t, args...)
		require.Positive(t, r.HitsNSPerOp)
		require.Less(t, r.HitsNSPerOp, r.NSPerOp)
		require.Positive(t, r.MissP50NS)
		require.Positive(t, r.DriverShare)
		require.LessOrEqual(t, r.DriverShare, 1.0)
		require.Zero(t, replayed(t, append(args, "--lag=1ms")...).HitsNSPerOp)
		require.Zero(t, replayed(t, append(args, "--concurrent")...).MissP50NS)

		stdout, _, code := metalloc(t, append([]string{"replay"}, args...)...)
		require.Zero(t, code)
		require.Regexp(t, `ns without misses\n\d+ misses of `, stdout)
		require.Equal(t, device == "sim", strings.Contains(stdout, "modelled driver"))
	}
}

func TestFreeWithoutItsMalloc(t *testing.T) {
	path := filepath.Join("..", "..", "telemetry", "torch", "testdata", "protocol4.pickle")
	r := replayed(t, path)
	require.Equal(t, []int{11, 3, 1, 1}, []int{r.Events, r.Mallocs, r.Frees, r.Skipped})
	require.EqualValues(t, 2, r.LiveEnd)
	require.Nil(t, r.PyTorch)
	stdout, _, code := metalloc(t, "replay", path)
	require.Zero(t, code)
	require.Contains(t, stdout, "1 without a malloc in the file skipped")
}

// Scripts read these; a change is one of the promised surface.
func TestJSONKeys(t *testing.T) {
	stdout, _, code := metalloc(t, "replay", "--json", "--device=sim", tracePath("train-moe"))
	require.Zero(t, code)
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(stdout), &fields))
	require.ElementsMatch(t, strings.Fields(`
		trace device page_size handle_size segments concurrent window lag_ns events mallocs frees skipped streams span_ns
		requested_peak active_peak reserved_peak ratio
		active_end cache_end slack_end live_end pending_end
		misses device_calls driver_ns driver_of_span wall_ns ns_per_op hits_ns_per_op miss_p50_ns driver_share per_stream pytorch`), slices.Collect(maps.Keys(fields)))
	var rows []map[string]int64
	require.NoError(t, json.Unmarshal(fields["per_stream"], &rows))
	require.ElementsMatch(t, strings.Fields("stream mallocs frees requested_peak active_peak reserved_peak live_end"),
		slices.Collect(maps.Keys(rows[0])))
	var calls map[string]int64
	require.NoError(t, json.Unmarshal(fields["device_calls"], &calls))
	require.Positive(t, calls["create"])
}

func TestTable(t *testing.T) {
	stdout, stderr, code := metalloc(t, "replay", tracePath("serve-4streams"))
	require.Zero(t, code)
	require.Empty(t, stderr)
	for _, want := range []string{
		"20,573 mallocs", "default", "606.1 MiB", "Buffers never freed: 8",
		"metalloc ", "PyTorch, default", "3.583", "2.478", "1.804",
	} {
		require.Contains(t, stdout, want)
	}

	whole, err := os.ReadFile(tracePath("serve-4streams"))
	require.NoError(t, err)
	stdout, _, code = metalloc(t, "replay", write(t, "serve-4streams.pickle.gz", whole))
	require.Zero(t, code)
	require.NotContains(t, stdout, "PyTorch", "no peaks.jsonl beside the file")
}
