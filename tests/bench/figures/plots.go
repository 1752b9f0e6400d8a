package main

import (
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/tests/bench"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// colours can be told apart by all (Okabe and Ito); each rival has its own in all
// plots.
var colours = map[string]string{
	"metalloc": "#d55e00", "mutex": "#0072b2", "packed": "#009e73", "actor-send": "#cc79a7", "actor-future": "#777777",
	"PyTorch": "#56b4e9", "cudaMallocAsync": "#b8860b",
}

// charts are the plots for which there are figures.
func charts(d *data) (cs []page.Chart) {
	const y = "ns of wall time a pair"
	number := func(x float64) string { return humanize.Comma(int64(x)) }
	add := func(c page.Chart, rs []bench.Row, x func(bench.Row) float64) {
		c.Y = y
		for _, name := range names(rs) {
			s := page.Series{Name: name, Colour: colours[name]}
			for _, r := range rs {
				if r.Name == name {
					s.Points = append(s.Points, [2]float64{x(r), r.NSPerPair})
				}
			}
			c.Lines = append(c.Lines, s)
		}
		if c.Lines != nil {
			cs = append(cs, c)
		}
	}
	goroutines := func(r bench.Row) float64 { return float64(r.Goroutines) }
	live := func(r bench.Row) float64 { return float64(r.Live) }
	add(page.Chart{File: "goroutines", Title: "Pairs of 1 MiB, a stream per goroutine", X: "goroutines", Label: number},
		rows(d.bench, "pair"), goroutines)
	add(page.Chart{File: "one-stream", Title: "Pairs of 1 MiB, all on one stream", X: "goroutines", Label: number},
		rows(d.bench, "one-stream"), goroutines)
	add(page.Chart{File: "streams", Title: "Pairs of 1 MiB, two goroutines, each on half the streams in turn", X: "streams", Label: number},
		rows(d.bench, "streams"), func(r bench.Row) float64 { return float64(r.Streams) })
	add(page.Chart{File: "live", Title: "Pairs of 64 KiB beside live blocks", X: "blocks live meanwhile", Label: number},
		rows(d.bench, "live"), live)
	add(page.Chart{File: "live-random", Title: "Malloc of 64 KiB, free of a random one of the live blocks", X: "blocks live meanwhile", Label: number},
		rows(d.bench, "live-random"), live)
	add(page.Chart{File: "size", Title: "Pairs by size, one goroutine", X: "bytes", Label: func(x float64) string { return sizeOf(bench.Row{Size: int64(x)}) }},
		rows(d.bench, "size"), func(r bench.Row) float64 { return float64(r.Size) })
	return append(cs, hostChart(d, y)...)
}

// hostChart has metalloc, the mutex and PyTorch's two on a GPU machine.
func hostChart(d *data, y string) []page.Chart {
	rs := slices.DeleteFunc(rows(d.host, "pair"), func(r bench.Row) bool { return d.torchAt("pytorch", r.Goroutines) == 0 })
	if len(rs) == 0 {
		return nil
	}
	c := page.Chart{
		File: "host", Title: "Pairs of 1 MiB on a GPU machine, a stream per thread", X: "threads or goroutines", Y: y,
		Label: func(x float64) string { return fmt.Sprint(x) },
	}
	for _, name := range []string{bench.Metalloc, bench.Mutex} {
		s := page.Series{Name: name, Colour: colours[name]}
		for _, r := range rs {
			if r.Name == name {
				s.Points = append(s.Points, [2]float64{float64(r.Goroutines), r.NSPerPair})
			}
		}
		c.Lines = append(c.Lines, s)
	}
	for _, name := range []string{"PyTorch", "cudaMallocAsync"} {
		s := page.Series{Name: name, Colour: colours[name]}
		for _, t := range d.pytorch {
			if t.Name == name || t.Name == "pytorch" && name == "PyTorch" {
				s.Points = append(s.Points, [2]float64{float64(t.Threads), t.NSPerPair})
			}
		}
		if s.Points != nil {
			c.Lines = append(c.Lines, s)
		}
	}
	return []page.Chart{c}
}
