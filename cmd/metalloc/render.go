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
	fmt.Fprintf(&b, "%s on %s: %s events, %s mallocs, %s frees", r.Trace, deviceName(r),
		count(r.Events), count(r.Mallocs), count(r.Frees))
	if r.Skipped > 0 {
		fmt.Fprintf(&b, ", %s without a malloc in the file skipped", count(r.Skipped))
	}
	fmt.Fprintf(&b, "\n%s in all, %.0f ns a malloc or free%s\n%s misses%s, device calls took %s%s%s\n%s\n",
		duration(r.WallNS), r.NSPerOp, hits(r), count(r.Misses), misses(r), duration(r.DriverNS), calls(r.DeviceCalls), span(r), mode(r))
	b.WriteString(streamsTable(r))
	fmt.Fprintf(&b, "\n\nAt the end: active %s + cache %s + slack %s = reserved %s\nBuffers never freed: %s; freed and still pending: %s\n\n",
		people(r.ActiveEnd), people(r.CacheEnd), people(r.SlackEnd), people(r.ActiveEnd+r.CacheEnd+r.SlackEnd),
		count(r.LiveEnd), count(r.PendingEnd))
	b.WriteString(reservedTable(r))
	b.WriteByte('\n')
	return []byte(b.String())
}

// hits and misses say what each took, where that was told apart.

func hits(r *replay.Result) string {
	if r.HitsNSPerOp == 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f ns without misses", r.HitsNSPerOp)
}

func misses(r *replay.Result) string {
	if r.MissP50NS == 0 {
		return ""
	}
	text := fmt.Sprintf(" of %s (median)", duration(r.MissP50NS))
	if r.Device == "sim" {
		return text + fmt.Sprintf(" and the modelled driver, which would be %.0f %% of both", 100*r.DriverShare)
	}
	return text + fmt.Sprintf(", %.0f %% in the driver", 100*r.DriverShare)
}

// span says how much of the program's own time the device calls would be.
func span(r *replay.Result) string {
	if r.SpanNS == 0 {
		return ""
	}
	return fmt.Sprintf(", %.3f %% of the %s that the file spans", 100*r.DriverOfSpan, duration(r.SpanNS))
}

// mode says how it was played, where that isn't the plain way.
func mode(r *replay.Result) string {
	var parts []string
	if r.Concurrent {
		parts = append(parts, fmt.Sprintf("A goroutine per stream, at most %s events apart.", count(r.Window)))
	}
	if r.LagNS > 0 {
		parts = append(parts, fmt.Sprintf("Marks are reached %v after a free.", time.Duration(r.LagNS)))
	}
	if parts == nil {
		return ""
	}
	return strings.Join(parts, " ") + "\n"
}

func streamsTable(r *replay.Result) string {
	t := newTable(table.Row{"stream", "mallocs", "frees", "requested peak", "active peak", "reserved peak", "live"})
	for _, s := range r.PerStream {
		t.AppendRow(table.Row{
			streamName(s.Stream), count(s.Mallocs), count(s.Frees),
			people(s.RequestedPeak), people(s.ActivePeak), people(s.ReservedPeak), s.LiveEnd,
		})
	}
	t.AppendFooter(table.Row{
		"all", count(r.Mallocs), count(r.Frees),
		people(r.RequestedPeak), people(r.ActivePeak), people(r.ReservedPeak), r.LiveEnd,
	})
	return t.Render()
}

// reservedTable compares what was taken from the device with what was asked for.
func reservedTable(r *replay.Result) string {
	t := newTable(table.Row{"allocator", "reserved peak", "÷ requested peak", "driver time, modelled"})
	row := func(name string, p replay.Peaks) {
		if p.RequestedPeak == 0 {
			return
		}
		driver := "" // not known
		if p.DriverNS > 0 {
			driver = duration(p.DriverNS)
		}
		t.AppendRow(table.Row{name, people(p.ReservedPeak), fmt.Sprintf("%.3f", float64(p.ReservedPeak)/float64(p.RequestedPeak)), driver})
	}
	own := replay.Peaks{RequestedPeak: r.RequestedPeak, ReservedPeak: r.ReservedPeak}
	if r.Device == "sim" {
		own.DriverNS = r.DriverNS
	}
	row("metalloc", own)
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

func deviceName(r *replay.Result) string {
	if r.Segments {
		return r.Device + " (whole segments)"
	}
	return fmt.Sprintf("%s (pages of %s)", r.Device, strings.Replace(humanize.IBytes(uint64(r.PageSize)), ".0", "", 1))
}

func streamName(handle uint64) string {
	if handle == 0 {
		return "default"
	}
	return fmt.Sprintf("%#x", handle)
}

// calls lists the device calls, the most frequent first.
func calls(byKind map[string]int64) string {
	var parts []string
	for _, kind := range slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return cmp.Or(cmp.Compare(byKind[b], byKind[a]), cmp.Compare(a, b))
	}) {
		if byKind[kind] > 0 {
			parts = append(parts, kind+" "+count(byKind[kind]))
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func count[N int | int64](n N) string { return humanize.Comma(int64(n)) }

// people writes bytes for people, with four digits.
func people(n int64) string { return humanize.IBytesN(uint64(max(n, 0)), 4) }

// duration writes nanoseconds for people, with three digits.
func duration(ns int64) string {
	d, unit := time.Duration(ns), time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
