package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/metalloc/metalloc/tests/bench"
)

// renderBench writes a report for people.
func renderBench(r *bench.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d cores; reading the clock takes %.1f ns\nWhat shares nothing scales:", r.Go, r.System, r.Cores, r.ClockNS)
	for _, s := range r.Scaling {
		fmt.Fprintf(&b, " %d goroutines %.2f ×", s.Goroutines, s.Times)
	}
	b.WriteByte('\n')

	t := newTable(table.Row{"workload", "gor.", "streams", "who", "ns/pair", "allocs", "× mutex", "p50", "p99", "p99.9", ""})
	marked := 0
	for i, row := range r.Rows {
		workload, goroutines, streams := row.Workload, fmt.Sprint(row.Goroutines), fmt.Sprint(row.Streams)
		if i > 0 && sameLine(row, r.Rows[i-1]) {
			workload, goroutines, streams = "", "", "" // said above
		} else if i > 0 {
			t.AppendSeparator()
		}
		mark := ""
		if row.Marked {
			mark = "!"
			marked++
		}
		t.AppendRow(table.Row{
			workload, goroutines, streams, row.Name, fmt.Sprintf("%.1f", row.NSPerPair), fmt.Sprintf("%.2f", row.AllocsPerPair),
			fmt.Sprintf("%.2f", row.RatioToMutex), duration(row.P50), duration(row.P99), duration(row.P999), mark,
		})
	}
	b.WriteString(t.Render())
	b.WriteByte('\n')
	if marked > 0 {
		fmt.Fprintf(&b, "! %d of %d rows: two goroutines that share nothing scaled below 1.9 × meanwhile\n", marked, len(r.Rows))
	}
	return b.String()
}

func sameLine(a, b bench.Row) bool {
	return a.Workload == b.Workload && a.Goroutines == b.Goroutines && a.Streams == b.Streams
}
