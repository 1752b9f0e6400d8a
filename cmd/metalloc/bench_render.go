package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/metalloc/metalloc/tests/bench"
)

// renderBench writes a report for people.
func renderBench(r *bench.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d cores%s; reading the clock takes %.1f ns\nWhat shares nothing scales:",
		r.Go, r.System, r.Cores, after(", ", r.CPU), r.ClockNS)
	for _, s := range r.Scaling {
		fmt.Fprintf(&b, " %d goroutines %.2f ×", s.Goroutines, s.Times)
	}
	b.WriteByte('\n')
	if len(r.Rows) > 0 {
		b.WriteString(rowsTable(r.Rows))
		b.WriteByte('\n')
	}
	if marked := countMarked(r.Rows); marked > 0 {
		fmt.Fprintf(&b, "! %d of %d rows: two goroutines that share nothing scaled below 1.9 × meanwhile\n", marked, len(r.Rows))
	}
	for _, i := range r.Idle {
		fmt.Fprintf(&b, "%s streams open at once (%s): %.1f µs to open one, %.1f µs to close it, %s of Go's memory each\n",
			count(i.Streams), i.Name, i.OpenUS, i.CloseUS, people(int64(i.HeapBytes)))
	}
	return b.String()
}

func rowsTable(rows []bench.Row) string {
	t := newTable(table.Row{"workload", "gor.", "streams", "who", "ns/pair", "allocs", "× mutex", "scales", "p50", "p99", "p99.9", ""})
	for i, row := range rows {
		workload, goroutines, streams := described(row), fmt.Sprint(row.Goroutines), fmt.Sprint(row.Streams)
		if i > 0 && sameLine(row, rows[i-1]) {
			workload, goroutines, streams = "", "", "" // said above
		} else if i > 0 {
			t.AppendSeparator()
		}
		ratio, scales, mark := "", "", ""
		if row.RatioToMutex > 0 {
			ratio = fmt.Sprintf("%.2f", row.RatioToMutex)
		}
		if row.Scaling > 0 {
			scales = fmt.Sprintf("%.2f (%.0f %%)", row.Scaling, 100*row.Share)
		}
		if row.Marked {
			mark = "!"
		}
		t.AppendRow(table.Row{
			workload, goroutines, streams, row.Name, fmt.Sprintf("%.1f", row.NSPerPair), fmt.Sprintf("%.2f", row.AllocsPerPair),
			ratio, scales, duration(row.P50), duration(row.P99), duration(row.P999), mark,
		})
	}
	return t.Render()
}

// described names a workload, with what sets it apart from others of its name.
func described(r bench.Row) string {
	switch r.Workload {
	case "size":
		return r.Workload + " " + humanize.IBytes(uint64(r.Size))
	case "live", "live-random":
		return r.Workload + " " + count(r.Live)
	}
	return r.Workload
}

func countMarked(rows []bench.Row) (marked int) {
	for _, r := range rows {
		if r.Marked {
			marked++
		}
	}
	return marked
}

func sameLine(a, b bench.Row) bool {
	return described(a) == described(b) && a.Goroutines == b.Goroutines && a.Streams == b.Streams
}

// after is s behind a separator, if there is any.
func after(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}
