package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// chart is a plot of lines, both axes logarithmic.
type chart struct {
	file, title, x, y string
	label             func(x float64) string // at the ticks of x: the values that occur
	lines             []series
}

type series struct {
	name   string
	points [][2]float64
}

// Where the plot lies in its picture.
const (
	width, height      = 760, 440
	left, right        = 70, 590
	top, bottom        = 50, 380
	legendX, legendGap = right + 16, 22
)

// colours can be told apart by all (Okabe and Ito); each rival has its own in all
// plots.
var colours = map[string]string{
	"metalloc": "#d55e00", "mutex": "#0072b2", "packed": "#009e73", "actor-send": "#cc79a7", "actor-future": "#777777",
	"PyTorch": "#56b4e9", "cudaMallocAsync": "#b8860b",
}

func (c chart) svg() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" fill="#222">
<rect width="%[1]d" height="%[2]d" fill="#ffffff"/>
`, width, height)
	text := func(x, y float64, anchor, s, more string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, more, html.EscapeString(s))
	}
	line := func(x1, y1, x2, y2 float64, colour string) {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fL%.1f %.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
	}
	text((left+right)/2, 28, "middle", c.title, ` font-size="16" font-weight="bold"`)
	text((left+right)/2, bottom+44, "middle", c.x, "")
	text(20, (top+bottom)/2, "middle", c.y, fmt.Sprintf(` transform="rotate(-90 20 %d)"`, (top+bottom)/2))

	xs, ys := c.values(0), c.values(1)
	yTicks := ticks(ys[0], ys[len(ys)-1])
	x := scale(xs[0], xs[len(xs)-1], left, right)
	y := scale(yTicks[0], yTicks[len(yTicks)-1], bottom, top)
	for _, v := range yTicks {
		line(left, y(v), right, y(v), "#dddddd")
		text(left-8, y(v)+4, "end", fmt.Sprintf("%g", v), "")
	}
	for _, v := range xs {
		line(x(v), bottom, x(v), bottom+5, "#222222")
		text(x(v), bottom+20, "middle", c.label(v), "")
	}
	line(left, bottom, right, bottom, "#222222")
	for i, s := range c.byHeight() {
		colour := cmp.Or(colours[s.name], "#222222")
		var path strings.Builder
		for _, p := range s.points {
			fmt.Fprintf(&path, "%.1f,%.1f ", x(p[0]), y(p[1]))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p[0]), y(p[1]), colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(path.String()), colour)
		at := float64(top + 10 + i*legendGap)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="18" height="4" fill="%s"/>`+"\n", legendX, at-6, colour)
		text(legendX+26, at, "start", s.name, "")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// values are all that occur on an axis, in order, each once.
func (c chart) values(axis int) (vs []float64) {
	for _, s := range c.lines {
		for _, p := range s.points {
			vs = append(vs, p[axis])
		}
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

// byHeight orders the legend as the lines end on the right.
func (c chart) byHeight() []series {
	last := func(s series) float64 { return s.points[len(s.points)-1][1] }
	return slices.SortedStableFunc(slices.Values(c.lines), func(a, b series) int { return cmp.Compare(last(b), last(a)) })
}

// ticks are 1, 2 and 5 times powers of ten, from the last below lo to the first
// above hi.
func ticks(lo, hi float64) (vs []float64) {
	for power := math.Pow(10, math.Floor(math.Log10(lo))); ; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			v := m * power
			if v <= lo {
				vs = vs[:0]
			}
			if vs = append(vs, v); v >= hi && len(vs) > 1 {
				return vs
			}
		}
	}
}

// scale maps lo to hi, logarithmically, to from to to; a single value to from.
func scale(lo, hi, from, to float64) func(float64) float64 {
	if lo == hi {
		return func(float64) float64 { return from }
	}
	return func(v float64) float64 { return from + (to-from)*math.Log(v/lo)/math.Log(hi/lo) }
}
