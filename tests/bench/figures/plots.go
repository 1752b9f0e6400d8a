package main

import (
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/tests/bench"
)

// charts are the plots for which there are figures.
func charts(d *data) (cs []chart) {
	const y = "ns of wall time a pair"
	number := func(x float64) string { return humanize.Comma(int64(x)) }
	add := func(c chart, rs []bench.Row, x func(bench.Row) float64) {
		c.y = y
		for _, name := range names(rs) {
			s := series{name: name}
			for _, r := range rs {
				if r.Name == name {
					s.points = append(s.points, [2]float64{x(r), r.NSPerPair})
				}
			}
			c.lines = append(c.lines, s)
		}
		if c.lines != nil {
			cs = append(cs, c)
		}
	}
	goroutines := func(r bench.Row) float64 { return float64(r.Goroutines) }
	live := func(r bench.Row) float64 { return float64(r.Live) }
	add(chart{file: "goroutines", title: "Pairs of 1 MiB, a stream per goroutine", x: "goroutines", label: number},
		rows(d.bench, "pair"), goroutines)
	add(chart{file: "one-stream", title: "Pairs of 1 MiB, all on one stream", x: "goroutines", label: number},
		rows(d.bench, "one-stream"), goroutines)
	add(chart{file: "streams", title: "Pairs of 1 MiB, two goroutines, each on half the streams in turn", x: "streams", label: number},
		rows(d.bench, "streams"), func(r bench.Row) float64 { return float64(r.Streams) })
	add(chart{file: "live", title: "Pairs of 64 KiB beside live blocks", x: "blocks live meanwhile", label: number},
		rows(d.bench, "live"), live)
	add(chart{file: "live-random", title: "Malloc of 64 KiB, free of a random one of the live blocks", x: "blocks live meanwhile", label: number},
		rows(d.bench, "live-random"), live)
	add(chart{file: "size", title: "Pairs by size, one goroutine", x: "bytes", label: func(x float64) string { return sizeOf(bench.Row{Size: int64(x)}) }},
		rows(d.bench, "size"), func(r bench.Row) float64 { return float64(r.Size) })
	return append(cs, hostChart(d, y)...)
}

// hostChart has metalloc, the mutex and PyTorch's two on a GPU machine.
func hostChart(d *data, y string) []chart {
	rs := slices.DeleteFunc(rows(d.host, "pair"), func(r bench.Row) bool { return d.torchAt("pytorch", r.Goroutines) == 0 })
	if len(rs) == 0 {
		return nil
	}
	c := chart{
		file: "host", title: "Pairs of 1 MiB on a GPU machine, a stream per thread", x: "threads or goroutines", y: y,
		label: func(x float64) string { return fmt.Sprint(x) },
	}
	for _, name := range []string{bench.Metalloc, bench.Mutex} {
		s := series{name: name}
		for _, r := range rs {
			if r.Name == name {
				s.points = append(s.points, [2]float64{float64(r.Goroutines), r.NSPerPair})
			}
		}
		c.lines = append(c.lines, s)
	}
	for _, name := range []string{"PyTorch", "cudaMallocAsync"} {
		s := series{name: name}
		for _, t := range d.pytorch {
			if t.Name == name || t.Name == "pytorch" && name == "PyTorch" {
				s.points = append(s.points, [2]float64{float64(t.Threads), t.NSPerPair})
			}
		}
		if s.points != nil {
			c.lines = append(c.lines, s)
		}
	}
	return []chart{c}
}
