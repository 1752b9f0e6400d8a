package main

import (
	"fmt"

	"github.com/metalloc/metalloc/tests/internal/page"
)

const gib = 1 << 30

// charts are memory over time, for each trace of which that is known.
func charts(d *data) (cs []page.Chart) {
	for _, trace := range d.traces() {
		line := d.lines[trace]
		if line == nil {
			continue
		}
		active := page.Series{Name: "metalloc, active", Colour: "#f3c6a5", Fill: true}
		reserved := page.Series{Name: "metalloc, reserved", Colour: "#d55e00"}
		for _, p := range line {
			active.Points = append(active.Points, at(p.timeNS, p.active))
			reserved.Points = append(reserved.Points, at(p.timeNS, p.reserved))
		}
		c := page.Chart{
			File: "memory-" + trace, Title: "Memory over time, " + trace, X: "time since the first event, s", Y: "GiB", Linear: true,
			Label: func(x float64) string { return fmt.Sprintf("%.6g", x) },
			Lines: []page.Series{active, reserved},
		}
		if recorded := d.ofOthers(trace).PyTorch; recorded != nil {
			s := page.Series{Name: "PyTorch, reserved", Colour: "#0072b2"}
			for _, l := range recorded {
				s.Points = append(s.Points, at(l.TimeNS, l.Reserved))
			}
			c.Lines = append(c.Lines, s)
		}
		cs = append(cs, c)
	}
	return cs
}

func at(timeNS, bytes int64) [2]float64 {
	return [2]float64{float64(timeNS) / 1e9, float64(bytes) / gib}
}
