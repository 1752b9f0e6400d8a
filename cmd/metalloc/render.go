package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/metalloc/metalloc/internal/replay"
)

// render writes a result for people.
func render(r *replay.Result) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s%s: %s events, %s mallocs, %s frees", r.Trace, r.Device, pages(r.PageSize),
		count(r.Events), count(r.Mallocs), count(r.Frees))
	if r.Skipped > 0 {
		fmt.Fprintf(&b, ", %s frees without their malloc skipped", count(r.Skipped))
	}
	fmt.Fprintf(&b, "\n%s in all, %.0f ns a malloc or free; %s misses; %s of device calls%s\n\n",
		round(r.WallNS), r.NSPerOp, count(int(r.Misses)), round(r.DriverNS), calls(r.DeviceCalls))
	b.WriteString(streamsTable(r))
	fmt.Fprintf(&b, "\n\nAt the end: active %s + cache %s + slack %s = reserved %s; %s never freed, %s pending\n\n",
		people(r.ActiveEnd), people(r.CacheEnd), people(r.SlackEnd), people(r.ActiveEnd+r.CacheEnd+r.SlackEnd),
		plural(r.LiveEnd, "buffer"), count(int(r.PendingEnd)))
	b.WriteString(reservedTable(r))
	b.WriteByte('\n')
	return []byte(b.String())
}

func streamsTable(r *replay.Result) string {
	t := newTable(table.Row{"stream", "mallocs", "frees", "requested peak", "active peak", "reserved peak", "live"})
	for _, s := range r.PerStream {
		t.AppendRow(table.Row{s.Stream, count(int(s.Mallocs)), count(int(s.Frees)),
			people(s.RequestedPeak), people(s.ActivePeak), people(s.ReservedPeak), s.LiveEnd})
	}
	t.AppendFooter(table.Row{"all", count(r.Mallocs), count(r.Frees),
		people(r.RequestedPeak), people(r.ActivePeak), people(r.ReservedPeak), r.LiveEnd})
	return t.Render()
}

// reservedTable compares what was taken from the device with what was asked for.
func reservedTable(r *replay.Result) string {
	t := newTable(table.Row{"allocator", "reserved peak", "÷ requested peak"})
	row := func(name string, reserved int64) {
		if reserved > 0 && r.RequestedPeak > 0 {
			t.AppendRow(table.Row{name, people(reserved), fmt.Sprintf("%.3f", float64(reserved)/float64(r.RequestedPeak))})
		}
	}
	row("metalloc", r.ReservedPeak)
	if p := r.PyTorch; p != nil {
		row("PyTorch, default", p.Native)
		row("PyTorch, expandable segments", p.Expandable)
		row("PyTorch, cudaMallocAsync", p.Async)
	}
	return t.Render()
}

// newTable gives a table of names on the left and numbers.
func newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format = table.FormatOptions{Header: text.FormatDefault, Footer: text.FormatDefault}
	t.AppendHeader(header)
	columns := make([]table.ColumnConfig, 0, len(header))
	for i := 1; i < len(header); i++ {
		columns = append(columns, table.ColumnConfig{
			Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight,
		})
	}
	t.SetColumnConfigs(columns)
	return t
}

func pages(size int64) string {
	if size == 0 {
		return ""
	}
	return " (pages of " + humanize.IBytes(uint64(size)) + ")"
}

// calls lists the device calls, the most frequent first.
func calls(byKind map[string]int64) string {
	kinds := slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return cmp.Or(cmp.Compare(byKind[b], byKind[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, kind := range kinds {
		if byKind[kind] > 0 {
			parts = append(parts, kind+" "+count(int(byKind[kind])))
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func count(n int) string { return humanize.Comma(int64(n)) }

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return humanize.Comma(n) + " " + what + "s"
}

// round writes nanoseconds with three digits or so.
func round(ns int64) string {
	d := time.Duration(ns)
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
