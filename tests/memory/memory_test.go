package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/internal/page"
)

const mib = 1 << 20

var repository = filepath.Join("..", "..")

// measured is a docs folder with the repository's page and small figures.
func measured(t *testing.T) string {
	t.Helper()
	run := func(w way, reserved int64) replay.Result {
		return replay.Result{
			Trace: "train-moe", Device: "sim", LagNS: w.lagNS, Concurrent: w.concurrent, Segments: w.segments, Streams: 2,
			RequestedPeak: 100 * mib, ReservedPeak: reserved, Misses: 1234, DriverNS: 12_345_678, DriverOfSpan: 0.0034,
			DeviceCalls: map[string]int64{"create": 11, "map": 12, "unmap": 13, "release": 14},
			PyTorch: &replay.PyTorch{
				Native:     replay.Peaks{RequestedPeak: 100 * mib, ReservedPeak: 150 * mib, DriverNS: 5e6},
				Expandable: replay.Peaks{RequestedPeak: 200 * mib, ReservedPeak: 250 * mib, DriverNS: 6e6},
				Async:      replay.Peaks{RequestedPeak: 100 * mib, ReservedPeak: 140 * mib},
			},
		}
	}
	var runs, lines bytes.Buffer
	for _, r := range []replay.Result{
		run(way{}, 101*mib), run(way{lagNS: 10e6}, 103*mib), run(way{segments: true}, 160*mib), run(way{concurrent: true}, 102*mib),
	} {
		require.NoError(t, json.NewEncoder(&runs).Encode(r))
	}
	require.NoError(t, json.NewEncoder(&lines).Encode(other{"train-moe", 100 * mib, 420 * mib, []level{{0, 50 * mib}, {5e9, 150 * mib}}}))

	docs := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(docs, "figures"), 0o755))
	text, err := os.ReadFile(filepath.Join(repository, "docs", "memory.md"))
	require.NoError(t, err)
	for name, text := range map[string][]byte{
		"memory.md":                    text,
		"figures/memory.json":          runs.Bytes(),
		"figures/memory-others.json":   lines.Bytes(),
		"figures/memory-train-moe.csv": []byte("time_ns,requested,active,cache,slack,reserved\n0,1,2097152,0,0,2097152\n9000000000,1,104857600,1048576,0,105906176\n"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(docs, name), text, 0o644))
	}
	return docs
}

func TestUpdate(t *testing.T) {
	docs := measured(t)
	require.NoError(t, update(docs))
	text, err := os.ReadFile(filepath.Join(docs, "memory.md"))
	require.NoError(t, err)
	for _, want := range []string{
		"| train-moe | 2 | 100 MiB | 1.010 | 1.030 | 1.500 | 1.250 | 1.400 | 4.200 |",
		"| trace | no lag | lag 10 ms | no lag, concurrent | no lag, whole segments |",
		"| train-moe | 1.010 | 1.030 | 1.020 | 1.600 |",
		"| train-moe | 12.3 ms | 0.34 % | 12.3 ms | 12.3 ms | 5 ms | 6 ms |",
		"| train-moe, no lag | 1,234 | 11 | 12 | 13 | 14 | 12.3 ms | 0.34 % |",
		"| train-moe, lag 10 ms | 1,234 |",
	} {
		require.Contains(t, string(text), want)
	}
	require.NotContains(t, string(text), page.NotMeasured)

	again := loaded(t, docs)
	made, err := tables(again).Fill(text)
	require.NoError(t, err)
	require.Equal(t, string(text), string(made), "a second time changes nothing")
	plot, err := os.ReadFile(filepath.Join(docs, "img", "memory-train-moe.svg"))
	require.NoError(t, err)
	for _, want := range []string{"Memory over time, train-moe", ">GiB<", "metalloc, active", "metalloc, reserved", "PyTorch, reserved"} {
		require.Contains(t, string(plot), want)
	}
}

func loaded(t *testing.T, docs string) *data {
	t.Helper()
	d, err := load(filepath.Join(docs, "figures"))
	require.NoError(t, err)
	return d
}

// Without figures the page says so, and no plot is made.
func TestNothingMeasured(t *testing.T) {
	docs := measured(t)
	require.NoError(t, os.RemoveAll(filepath.Join(docs, "figures")))
	require.NoError(t, update(docs))
	text, err := os.ReadFile(filepath.Join(docs, "memory.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), page.NotMeasured)
	plots, err := os.ReadDir(filepath.Join(docs, "img"))
	require.NoError(t, err)
	require.Empty(t, plots)
}

// Of a trace of which only some is known the rest stays empty.
func TestLittleMeasured(t *testing.T) {
	d := &data{runs: []replay.Result{{Trace: "one", RequestedPeak: 2 * mib, ReservedPeak: 4 * mib, Streams: 1}}}
	require.Contains(t, ratiosTable(d), "\n| one | 1 | 2.0 MiB | 2.000 |  |  |  |  |  |")
	require.Contains(t, driverTable(d), "\n| one |  |  |  |  |  |  |")
	require.Empty(t, charts(d))
}

// What is in the repository is what its figures give: nobody has typed a number.
func TestThePageIsOfItsFigures(t *testing.T) {
	docs := filepath.Join(repository, "docs")
	d := loaded(t, docs)
	text, err := os.ReadFile(filepath.Join(docs, "memory.md"))
	require.NoError(t, err)
	made, err := tables(d).Fill(text)
	require.NoError(t, err)
	require.Equal(t, string(made), string(text), "go run ./tests/memory")
	require.NotEmpty(t, charts(d))
	for _, c := range charts(d) {
		plot, err := os.ReadFile(filepath.Join(docs, "img", c.File+".svg"))
		require.NoError(t, err)
		require.Equal(t, string(c.SVG()), string(plot), "%s.svg: go run ./tests/memory", c.File)
		require.Contains(t, string(text), "(img/"+c.File+".svg)", "each plot is shown")
	}
}

func TestLoadRefuses(t *testing.T) {
	const header = "time_ns,requested,active,cache,slack,reserved\n"
	for name, c := range map[string]struct{ file, text, want string }{
		"no JSON":      {"memory.json", "{", "memory.json"},
		"others":       {"memory-others.json", "[]", "memory-others.json"},
		"other column": {"memory-train-moe.csv", "event,requested,active,cache,slack,reserved\n1,1,1,1,1,1\n", "want the columns [time_ns"},
		"no rows":      {"memory-train-moe.csv", header, "a row at least"},
		"no number":    {"memory-train-moe.csv", header + "1,2,3,4,5,6\n1,2,x,4,5,6\n", "row 2, active"},
		"short row":    {"memory-train-moe.csv", header + "1,2\n", "wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			docs := measured(t)
			require.NoError(t, os.WriteFile(filepath.Join(docs, "figures", c.file), []byte(c.text), 0o644))
			_, err := load(filepath.Join(docs, "figures"))
			require.ErrorContains(t, err, c.file)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestOthers(t *testing.T) {
	var out, progress bytes.Buffer
	trace := filepath.Join(repository, "tests", "testdata", "traces", "train-moe.pickle.gz")
	require.NoError(t, others([]string{trace}, &out, &progress))
	require.Contains(t, progress.String(), "train-moe (1 of 1)")
	var o other
	require.NoError(t, json.Unmarshal(out.Bytes(), &o))
	require.Equal(t, "train-moe", o.Trace)
	require.InDelta(t, 4.2, float64(o.MLXReserved)/float64(o.RequestedPeak), 0.05)
	var peak int64
	for _, l := range o.PyTorch {
		peak = max(peak, l.Reserved)
	}
	require.EqualValues(t, 1_266_679_808, peak, "as PyTorch's statistics have it")
	require.ErrorContains(t, others([]string{"nowhere"}, &out, &progress), "nowhere")
}
