package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/tests/bench"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// tables are the figures that the page can name.
func tables(d *data) page.Tables {
	of := func(table func(*data) string) func() string {
		return func() string { return table(d) }
	}
	return page.Tables{
		"goals":      of(goalsTable),
		"machine":    func() string { return machineText(d.bench) },
		"all":        of(allTable),
		"goroutines": of(goroutinesTable),
		"streams": func() string {
			return by(d, "streams", "streams", func(r bench.Row) string { return fmt.Sprint(r.Streams) })
		},
		"live":        func() string { return by(d, "live", "live blocks", liveBlocks) },
		"live-random": func() string { return by(d, "live-random", "live blocks", liveBlocks) },
		"size":        func() string { return by(d, "size", "size", sizeOf) },
		"queries":     of(queriesTable),
		"idle":        of(idleTable),
		"replay":      of(replayTable),
		"profile":     of(profileText),
		"host":        of(hostTable),
		"host-machine": func() string {
			if d.host == nil {
				return page.NotMeasured
			}
			return machineText(d.host) + fence(d.machine)
		},
	}
}

func liveBlocks(r bench.Row) string { return humanize.Comma(int64(r.Live)) }
func sizeOf(r bench.Row) string     { return strings.Replace(humanize.IBytes(uint64(r.Size)), ".0", "", 1) }

// by is a table of ns per pair: a line for each value of x, a column for each rival.
func by(d *data, workload, header string, x func(bench.Row) string) string {
	rs := rows(d.bench, workload)
	if rs == nil {
		return page.NotMeasured
	}
	rivals := names(rs)
	t := page.NewTable(append([]string{header}, rivals...)...)
	for _, at := range page.Once(rs, x) {
		line := []string{at}
		for _, name := range rivals {
			cell := ""
			for _, r := range rs {
				if r.Name == name && x(r) == at {
					cell = ns(r.NSPerPair)
				}
			}
			line = append(line, cell)
		}
		t.Row(line...)
	}
	return t.String()
}

func goroutinesTable(d *data) string {
	return by(d, "pair", "goroutines", func(r bench.Row) string { return fmt.Sprint(r.Goroutines) })
}

// allTable has metalloc in each line of work, and how it stands to the mutex.
func allTable(d *data) string {
	if d.bench == nil {
		return page.NotMeasured
	}
	t := page.NewTable("workload", "goroutines", "streams", "ns a pair", "× mutex", "heap allocations a pair", "p50", "p99", "p99.9")
	for _, workload := range workloads(d.bench.Rows) {
		for _, r := range rows(d.bench, workload) {
			if r.Name != bench.Metalloc {
				continue
			}
			switch workload {
			case "live", "live-random":
				workload += " " + liveBlocks(r)
			case "size":
				workload += " " + sizeOf(r)
			}
			t.Row(workload, fmt.Sprint(r.Goroutines), fmt.Sprint(r.Streams), ns(r.NSPerPair)+mark(r), times(r.RatioToMutex),
				fmt.Sprintf("%.2f", r.AllocsPerPair), short(r.P50), short(r.P99), short(r.P999))
			workload = r.Workload
		}
	}
	return t.String() + "\n\n\\* two goroutines that share nothing scaled below 1.9 × meanwhile: the machine was busy with something else."
}

func mark(r bench.Row) string {
	if r.Marked {
		return " \\*"
	}
	return ""
}

func queriesTable(d *data) string {
	t := page.NewTable("query, while pairs run", "goroutines", "who", "p50", "p99", "p99.9")
	measured := false
	for _, workload := range []string{"query", "query-behind-miss", "snapshot"} {
		for _, r := range rows(d.bench, workload) {
			if r.Name == bench.Metalloc || r.Name == bench.Mutex {
				t.Row(workload, fmt.Sprint(r.Goroutines), r.Name, short(r.P50), short(r.P99), short(r.P999))
				measured = true
			}
		}
	}
	if !measured {
		return page.NotMeasured
	}
	return t.String()
}

func idleTable(d *data) string {
	if d.bench == nil || len(d.bench.Idle) == 0 {
		return page.NotMeasured
	}
	t := page.NewTable("idle streams", "to open one", "to close one", "of Go's memory each")
	for _, i := range d.bench.Idle {
		t.Row(humanize.Comma(int64(i.Streams)), fmt.Sprintf("%.1f µs", i.OpenUS), fmt.Sprintf("%.1f µs", i.CloseUS),
			humanize.IBytes(uint64(i.HeapBytes)))
	}
	return t.String()
}

func replayTable(d *data) string {
	if d.replays == nil {
		return page.NotMeasured
	}
	t := page.NewTable("trace", "device", "mallocs and frees", "ns each", "ns each without misses", "misses", "median miss", "share of the driver in it")
	for _, r := range d.replays {
		t.Row(r.Trace, r.Device, humanize.Comma(int64(r.Mallocs+r.Frees)), ns(r.NSPerOp), ns(r.HitsNSPerOp),
			humanize.Comma(r.Misses), short(r.MissP50NS), percent(r.DriverShare))
	}
	return t.String()
}

func profileText(d *data) string {
	if d.profile == "" {
		return page.NotMeasured
	}
	return strings.TrimPrefix(fence(d.profile), "\n\n")
}

// machineText says what a report was measured on.
func machineText(r *bench.Report) string {
	if r == nil {
		return page.NotMeasured
	}
	cpu := r.CPU
	if cpu == "" {
		cpu = "processor not known"
	}
	text := fmt.Sprintf("%d cores, %s, %s, %s. Medians of %d rounds of %v; reading the clock takes %.0f ns. A loop of\ncompare-and-swaps that shares nothing scales:",
		r.Cores, cpu, r.System, r.Go, r.Rounds, time.Duration(r.ChunkNS), r.ClockNS)
	for i, s := range r.Scaling {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %d goroutines %.2f ×", s.Goroutines, s.Times)
	}
	return text + "."
}

func fence(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "\n\n```\n" + text + "\n```"
}

// hostTable sets metalloc against PyTorch's allocators on the same machine.
func hostTable(d *data) string {
	rs := rows(d.host, "pair")
	if rs == nil || d.pytorch == nil {
		return page.NotMeasured
	}
	t := page.NewTable("threads", "metalloc", "mutex", "PyTorch", "cudaMallocAsync", "PyTorch ÷ metalloc", "cudaMallocAsync ÷ metalloc",
		"metalloc scales", "what shares nothing", "share")
	for _, g := range page.Once(rs, func(r bench.Row) int { return r.Goroutines }) {
		m, mutex := find(rs, bench.Metalloc, g), find(rs, bench.Mutex, g)
		if m == nil || mutex == nil {
			continue
		}
		torch, async := d.torchAt("pytorch", g), d.torchAt("cudaMallocAsync", g)
		t.Row(fmt.Sprint(g), ns(m.NSPerPair), ns(mutex.NSPerPair), ns(torch), ns(async),
			times(torch/m.NSPerPair), times(async/m.NSPerPair), times(m.Scaling), times(m.Control), percent(m.Share))
	}
	return t.String()
}

// Cells; what is 0 was not measured.

func ns(x float64) string { return cell(x, "%.1f") }

func times(x float64) string {
	if x >= 10 {
		return cell(x, "%.0f ×")
	}
	return cell(x, "%.2f ×")
}

func percent(x float64) string { return cell(100*x, "%.0f %%") }

func cell(x float64, format string) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf(format, x)
}

// short writes nanoseconds with three digits.
func short(ns int64) string {
	if ns < 1000 {
		return fmt.Sprintf("%d ns", ns)
	}
	value, unit := float64(ns)/1e3, "µs"
	if value >= 1000 {
		value, unit = value/1e3, "ms"
	}
	return fmt.Sprintf("%.3g %s", value, unit)
}
