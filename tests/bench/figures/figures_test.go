package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/bench"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// measured is a data folder with something of everything.
func measured(t *testing.T) string {
	t.Helper()
	row := func(workload, name string, goroutines int, ns float64) bench.Row {
		return bench.Row{
			Workload: workload, Name: name, Goroutines: goroutines, Streams: goroutines, Size: 1 << 20, NSPerPair: ns,
			RatioToMutex: 100 / ns, P50: 100, P99: 6000, P999: 2_500_000, Scaling: 2, Control: 4, Share: 0.5,
		}
	}
	r := bench.Report{CPU: "Some <CPU>", Cores: 2, Scaling: []bench.Scaling{{Goroutines: 2, Times: 1.95}}, Idle: []bench.Idle{
		{Name: "metalloc", Streams: 10_000, OpenUS: 3.5, CloseUS: 20, HeapBytes: 2048},
	}}
	for _, w := range []string{"pair", "one-stream", "query", "query-behind-miss", "snapshot", "here-there", "streams"} {
		for _, g := range []int{1, 2, 4, 16} {
			r.Rows = append(r.Rows, row(w, bench.Metalloc, g, 40/float64(g)), row(w, bench.Mutex, g, 100))
		}
	}
	for _, live := range []int{1, 1000} {
		for _, w := range []string{"live", "live-random"} {
			s := row(w, bench.Metalloc, 1, 50)
			s.Live = live
			r.Rows = append(r.Rows, s)
		}
	}
	for _, size := range []int64{512, 1 << 30} {
		s := row("size", bench.Metalloc, 1, 60)
		s.Size, s.Marked = size, true
		r.Rows = append(r.Rows, s)
	}
	docs := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(docs, "figures"), 0o755))
	write := func(name string, text []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(docs, "figures", name), text, 0o644))
	}
	asJSON := func(v any) []byte {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return text
	}
	write("bench.json", asJSON(r))
	write("host.json", asJSON(r))
	var replays []byte
	for _, hits := range []float64{90, 300, 80} {
		replays = append(replays, asJSON(replay.Result{Trace: "one", Device: "sim", HitsNSPerOp: hits, Mallocs: 700, Frees: 700, DriverShare: 0.25})...)
	}
	write("replay.json", replays)
	write("profile.txt", []byte("  flat  flat%\n"))
	write("machine.txt", []byte("Some GPU\n"))
	write("pytorch.jsonl", []byte(`{"name":"pytorch","threads":1,"ns_per_pair":680.5}
{"name":"pytorch","threads":16,"ns_per_pair":4600}
{"name":"cudaMallocAsync","threads":16,"ns_per_pair":3060}
`))
	return docs
}

// page is the one in the repository.
func copyPage(t *testing.T, docs string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "performance.md"))
	require.NoError(t, err)
	at := filepath.Join(docs, "performance.md")
	require.NoError(t, os.WriteFile(at, text, 0o644))
	return at
}

func TestUpdate(t *testing.T) {
	docs := measured(t)
	at := copyPage(t, docs)
	require.NoError(t, update(docs))
	text, err := os.ReadFile(at)
	require.NoError(t, err)
	for _, want := range []string{
		"| a pair, 1 goroutine | ≤ 45 ns | 40 ns | yes |",
		"| ActiveMemory behind a device call of 10 ms, p99 | ≤ 5000 ns | 6000 ns | no |",
		"| the same, throughput with 8 | ≥ 3.5 × mutex |  |  |",
		"| replay of one, an operation that hits | ≤ 100 ns | 90 ns | yes |",
		"| GPU machine: scaling with 16 goroutines | ≥ 0.9 × control | 0.5 × control | no |",
		"| GPU machine: throughput with 16 | ≥ 300 × PyTorch | 1840 × PyTorch | yes |",
		"| 16 | 2.5 | 100.0 | 4600.0 | 3060.0 | 1840 × | 1224 × | 2.00 × | 4.00 × | 50 % |",
		"| goroutines | metalloc | mutex |", "| 4 | 10.0 | 100.0 |",
		"| 1,000 | 50.0 |", "| 1 GiB | 60.0 |", "| 10,000 | 3.5 µs | 20.0 µs | 2.0 KiB |",
		"| size 512 B | 1 | 1 | 60.0 \\* |", "| one | sim | 1,400 |", "2 goroutines 1.95 ×.", "flat%", "Some GPU",
	} {
		require.Contains(t, string(text), want)
	}
	require.NotContains(t, string(text), page.NotMeasured)

	again, err := tables(loaded(t, docs)).Fill(text)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again), "a second time changes nothing")

	images := regexp.MustCompile(`\(img/([a-z-]+\.svg)\)`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, images, len(charts(loaded(t, docs))), "each plot is shown")
	for _, image := range images {
		requirePlot(t, filepath.Join(docs, "img", image[1]))
	}
}

func loaded(t *testing.T, docs string) *data {
	t.Helper()
	d, err := load(filepath.Join(docs, "figures"))
	require.NoError(t, err)
	return d
}

// requirePlot finds well-formed XML in which nothing lies outside the picture.
func requirePlot(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	circles := 0
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, file)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
			for _, a := range e.Attr {
				v, _ := strconv.ParseFloat(a.Value, 64)
				switch a.Name.Local {
				case "cx":
					require.True(t, v >= page.Left && v <= page.Right, "%s: %v", file, a)
				case "cy":
					require.True(t, v >= page.Top && v <= page.Bottom, "%s: %v", file, a)
				}
			}
		}
	}
	require.Positive(t, circles, file)
}

// Without figures the page says so, and no plot is made.
func TestNothingMeasured(t *testing.T) {
	docs := t.TempDir()
	at := copyPage(t, docs)
	require.NoError(t, update(docs))
	text, err := os.ReadFile(at)
	require.NoError(t, err)
	require.Contains(t, string(text), page.NotMeasured)
	require.Contains(t, string(text), "| a pair, 1 goroutine | ≤ 45 ns |  |  |")
	plots, err := os.ReadDir(filepath.Join(docs, "img"))
	require.NoError(t, err)
	require.Empty(t, plots)
}

// What is in the repository is what its figures give: nobody has typed a number.
func TestThePageIsOfItsFigures(t *testing.T) {
	docs := filepath.Join("..", "..", "..", "docs")
	d := loaded(t, docs)
	text, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	require.NoError(t, err)
	made, err := tables(d).Fill(text)
	require.NoError(t, err)
	require.Equal(t, string(made), string(text), "go run ./tests/bench/figures")
	for _, c := range charts(d) {
		plot, err := os.ReadFile(filepath.Join(docs, "img", c.File+".svg"))
		require.NoError(t, err)
		require.Equal(t, string(c.SVG()), string(plot), "%s.svg: go run ./tests/bench/figures", c.File)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{"bench.json": "{", "host.json": "{}{}", "pytorch.jsonl": "name"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		_, err := load(dir)
		require.ErrorContains(t, err, name)
	}
}

func TestShort(t *testing.T) {
	for ns, want := range map[int64]string{999: "999 ns", 1000: "1 µs", 12_345: "12.3 µs", 2_500_000: "2.5 ms"} {
		require.Equal(t, want, short(ns))
	}
}
