package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// tables are the figures that the page can name.
func tables(d *data) page.Tables {
	of := func(table func(*data) string) func() string {
		return func() string {
			if d.runs == nil {
				return page.NotMeasured
			}
			return table(d)
		}
	}
	return page.Tables{
		"ratios": of(ratiosTable),
		"ways":   of(waysTable),
		"driver": of(driverTable),
		"calls":  of(callsTable),
	}
}

// ratiosTable sets metalloc beside others.
func ratiosTable(d *data) string {
	t := page.NewTable("trace", "streams", "requested peak", "metalloc", "metalloc, lag 10 ms", "PyTorch, default", "expandable segments",
		"cudaMallocAsync", "MLX's rule, no limit")
	for _, trace := range d.traces() {
		r := d.run(trace, way{})
		if r == nil {
			continue
		}
		p := pytorchOf(r)
		lagged, o := d.run(trace, way{lagNS: 10e6}), d.ofOthers(trace)
		t.Row(trace, fmt.Sprint(r.Streams), humanize.IBytes(uint64(r.RequestedPeak)), ratioOf(r), ratioOf(lagged),
			peaksRatio(p.Native), peaksRatio(p.Expandable), peaksRatio(p.Async), ratio(o.MLXReserved, o.RequestedPeak))
	}
	return t.String()
}

// waysTable has the same figure for each way that was played.
func waysTable(d *data) string {
	ways := page.Once(d.runs, wayOf)
	slices.SortFunc(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.lagNS, b.lagNS))
	})
	header := []string{"trace"}
	for _, w := range ways {
		header = append(header, w.String())
	}
	t := page.NewTable(header...)
	for _, trace := range d.traces() {
		row := []string{trace}
		for _, w := range ways {
			row = append(row, ratioOf(d.run(trace, w)))
		}
		t.Row(row...)
	}
	return t.String()
}

// rank orders the kinds of ways.
func rank(w way) int {
	switch {
	case w.segments:
		return 2
	case w.concurrent:
		return 1
	}
	return 0
}

func (w way) String() string {
	parts := []string{"no lag"}
	if w.lagNS > 0 {
		parts[0] = "lag " + strings.Replace(time.Duration(w.lagNS).String(), "ms", " ms", 1)
	}
	if w.concurrent {
		parts = append(parts, "concurrent")
	}
	if w.segments {
		parts = append(parts, "whole segments")
	}
	return strings.Join(parts, ", ")
}

// driverTable is what the calls to the device would take.
func driverTable(d *data) string {
	t := page.NewTable("trace", "metalloc", "of the program's time", "metalloc, lag 10 ms", "whole segments", "PyTorch, default", "expandable segments")
	for _, trace := range d.traces() {
		r := d.run(trace, way{})
		if r == nil {
			continue
		}
		p := pytorchOf(r)
		t.Row(trace, duration(r.DriverNS), percent(r.DriverOfSpan), driverOf(d.run(trace, way{lagNS: 10e6})), driverOf(d.run(trace, way{segments: true})),
			duration(p.Native.DriverNS), duration(p.Expandable.DriverNS))
	}
	return t.String()
}

// callsTable is what was done, by lag.
func callsTable(d *data) string {
	t := page.NewTable("trace", "misses", "handles created", "calls to map", "to unmap", "handles released", "driver time, modelled", "of the program's time")
	for _, trace := range d.traces() {
		for _, r := range d.runs {
			if r.Trace != trace || r.Concurrent || r.Segments {
				continue
			}
			t.Row(trace+", "+wayOf(r).String(), count(r.Misses), count(r.DeviceCalls["create"]), count(r.DeviceCalls["map"]), count(r.DeviceCalls["unmap"]),
				count(r.DeviceCalls["release"]), duration(r.DriverNS), percent(r.DriverOfSpan))
		}
	}
	return t.String()
}

func pytorchOf(r *replay.Result) replay.PyTorch {
	if r.PyTorch == nil {
		return replay.PyTorch{}
	}
	return *r.PyTorch
}

// Cells; what is not known is empty.

func ratioOf(r *replay.Result) string {
	if r == nil {
		return ""
	}
	return ratio(r.ReservedPeak, r.RequestedPeak)
}

func peaksRatio(p replay.Peaks) string { return ratio(p.ReservedPeak, p.RequestedPeak) }

func ratio(reserved, requested int64) string {
	if requested == 0 {
		return ""
	}
	r := float64(reserved) / float64(requested)
	if r >= 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.3f", r)
}

func driverOf(r *replay.Result) string {
	if r == nil {
		return ""
	}
	return duration(r.DriverNS)
}

func duration(ns int64) string {
	if ns == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g ms", float64(ns)/1e6)
}

func percent(share float64) string {
	if share == 0 {
		return ""
	}
	return fmt.Sprintf("%.2g %%", 100*share)
}

func count(n int64) string { return humanize.Comma(n) }
