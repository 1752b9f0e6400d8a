package main

import (
	"fmt"

	"github.com/metalloc/metalloc/tests/bench"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// goal is what a figure is to reach.
type goal struct {
	what  string
	limit float64
	least bool // the figure is to be at least the limit, not at most
	unit  string
	got   float64 // 0: not measured
}

func (g goal) reached() bool {
	if g.least {
		return g.got >= g.limit
	}
	return g.got <= g.limit
}

// goalsTable tells what is reached.
func goalsTable(d *data) string {
	t := page.NewTable("what", "to reach", "measured", "reached")
	for _, g := range goals(d) {
		sign, got, reached := "≤", "", ""
		if g.least {
			sign = "≥"
		}
		if g.got > 0 {
			got, reached = fmt.Sprintf("%.4g %s", g.got, g.unit), "no"
			if g.reached() {
				reached = "yes"
			}
		}
		t.Row(g.what, fmt.Sprintf("%s %g %s", sign, g.limit, g.unit), got, reached)
	}
	return t.String()
}

// goals are for 2 cores, those of a GPU machine for 16.
func goals(d *data) (gs []goal) {
	atMost := func(limit float64, unit string, got float64, what string, args ...any) {
		gs = append(gs, goal{fmt.Sprintf(what, args...), limit, false, unit, got})
	}
	atLeast := func(limit float64, unit string, got float64, what string, args ...any) {
		gs = append(gs, goal{fmt.Sprintf(what, args...), limit, true, unit, got})
	}
	row := func(workload string, goroutines int) bench.Row {
		if r := find(rows(d.bench, workload), bench.Metalloc, goroutines); r != nil {
			return *r
		}
		return bench.Row{}
	}
	atMost(45, "ns", row("pair", 1).NSPerPair, "a pair, 1 goroutine")
	for _, g := range []int{2, 4, 8, 16} {
		atMost(30, "ns", row("pair", g).NSPerPair, "a pair, %d goroutines on a stream each", g)
	}
	for g, limit := range []float64{2: 2, 4: 3, 8: 3.5, 16: 3.5} {
		if limit > 0 {
			atLeast(limit, "× mutex", row("pair", g).RatioToMutex, "the same, throughput with %d", g)
		}
	}
	atLeast(1, "× mutex", row("one-stream", 16).RatioToMutex, "16 goroutines on one stream")
	atLeast(1.5, "× mutex", row("here-there", 4).RatioToMutex, "malloc here, free there, 4 goroutines")
	atMost(200, "ns", float64(row("query", 16).P50), "ActiveMemory while 16 streams run, median")
	atMost(5000, "ns", float64(row("snapshot", 16).P50), "Snapshot of 16 streams while they run, median")
	if d.bench != nil {
		atMost(5000, "ns", float64(row("query-behind-miss", d.bench.Cores).P99), "ActiveMemory behind a device call of 10 ms, p99")
		for _, i := range d.bench.Idle {
			atMost(20, "µs", i.OpenUS, "to open one of %d idle streams", i.Streams)
			atMost(4096, "bytes", i.HeapBytes, "of Go's memory for it")
		}
	}
	for _, r := range d.replays {
		if r.Device == "sim" {
			atMost(100, "ns", r.HitsNSPerOp, "replay of %s, an operation that hits", r.Trace)
		}
	}
	if m := find(rows(d.host, "pair"), bench.Metalloc, 16); m != nil {
		atLeast(0.9, "× control", m.Share, "GPU machine: scaling with 16 goroutines")
		atLeast(300, "× PyTorch", d.torchAt("pytorch", 16)/m.NSPerPair, "GPU machine: throughput with 16")
	}
	return gs
}
