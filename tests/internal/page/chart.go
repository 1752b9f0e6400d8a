package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Chart is a plot of lines. Both axes are logarithmic, with ticks of x where there
// are values; or, with Linear, both begin at 0.
type Chart struct {
	File, Title, X, Y string                 // File: its name in docs/img, without .svg
	Label             func(x float64) string // at the ticks of x
	Linear            bool
	Lines             []Series
}

// Series is one line, of at least one point, by x. On linear axes it goes in
// steps: each y holds until the next x.
type Series struct {
	Name   string
	Colour string // of CSS; empty: nearly black
	Fill   bool   // what lies below is coloured; on linear axes only
	Points [][2]float64
}

// Where the plot lies in its picture.
const (
	width, height      = 760, 440
	Left               = 70
	Right              = 590
	Top                = 50
	Bottom             = 380
	legendX, legendGap = Right + 16, 22
)

// SVG draws it.
func (c Chart) SVG() []byte {
	d := new(drawing)
	fmt.Fprintf(&d.Builder, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" fill="#222">
<rect width="%[1]d" height="%[2]d" fill="#ffffff"/>
`, width, height)
	d.text((Left+Right)/2, 28, "middle", c.Title, ` font-size="16" font-weight="bold"`)
	d.text((Left+Right)/2, Bottom+44, "middle", c.X, "")
	d.text(20, (Top+Bottom)/2, "middle", c.Y, fmt.Sprintf(` transform="rotate(-90 20 %d)"`, (Top+Bottom)/2))

	x, y := c.axes(d)
	lines := c.byHeight()
	if c.Linear {
		for _, s := range lines {
			d.below(s, x, y)
		}
	}
	d.line(Left, Bottom, Right, Bottom, "#222222")
	for i, s := range lines {
		if c.Linear {
			d.steps(s, x, y)
		} else {
			d.polyline(s, x, y)
		}
		at, thick := float64(Top+10+i*legendGap), 4.0
		if s.Fill {
			thick = 12
		}
		fmt.Fprintf(&d.Builder, `<rect x="%d" y="%.1f" width="18" height="%g" fill="%s"/>`+"\n", legendX, at-4-thick/2, thick, s.colour())
		d.text(legendX+26, at, "start", s.Name, "")
	}
	d.WriteString("</svg>\n")
	return []byte(d.String())
}

// axes draws both with their ticks and returns how to place values along them.
func (c Chart) axes(d *drawing) (x, y func(float64) float64) {
	xs, ys := c.values(0), c.values(1)
	xTicks := xs
	var yTicks []float64
	if c.Linear {
		xTicks, yTicks = even(xs[len(xs)-1]), even(ys[len(ys)-1])
		x = linear(cmp.Or(xs[len(xs)-1], 1), Left, Right)
		if top := yTicks[len(yTicks)-1]; top < ys[len(ys)-1] {
			yTicks = append(yTicks, top+yTicks[1])
		}
		y = linear(yTicks[len(yTicks)-1], Bottom, Top)
	} else {
		yTicks = ticks(ys[0], ys[len(ys)-1])
		x = scale(xs[0], xs[len(xs)-1], Left, Right)
		y = scale(yTicks[0], yTicks[len(yTicks)-1], Bottom, Top)
	}
	for _, v := range yTicks {
		d.line(Left, y(v), Right, y(v), "#dddddd")
		d.text(Left-8, y(v)+4, "end", fmt.Sprintf("%.6g", v), "")
	}
	for _, v := range xTicks {
		d.line(x(v), Bottom, x(v), Bottom+5, "#222222")
		d.text(x(v), Bottom+20, "middle", c.Label(v), "")
	}
	return x, y
}

// values are all that occur on an axis, in order, each once.
func (c Chart) values(axis int) (vs []float64) {
	for _, s := range c.Lines {
		for _, p := range s.Points {
			vs = append(vs, p[axis])
		}
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

// byHeight orders the legend as the lines end on the right.
func (c Chart) byHeight() []Series {
	last := func(s Series) float64 { return s.Points[len(s.Points)-1][1] }
	return slices.SortedStableFunc(slices.Values(c.Lines), func(a, b Series) int { return cmp.Compare(last(b), last(a)) })
}

func (s Series) colour() string { return cmp.Or(s.Colour, "#222222") }

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

// even are four to ten ticks from 0 on, the last at hi or before it, each 1, 2 or 5
// times a power of ten from the next.
func even(hi float64) []float64 {
	if hi <= 0 {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(hi)))
	for _, part := range []float64{1, 2, 5} {
		if hi*part/step >= 4 {
			step /= part
			break
		}
	}
	var vs []float64
	for i := 0.0; i*step <= hi; i++ {
		vs = append(vs, i*step)
	}
	return vs
}

// scale maps lo to hi, logarithmically, to from to to; a single value to from.
func scale(lo, hi, from, to float64) func(float64) float64 {
	if lo == hi {
		return func(float64) float64 { return from }
	}
	return func(v float64) float64 { return from + (to-from)*math.Log(v/lo)/math.Log(hi/lo) }
}

// linear maps 0 to hi to from to to.
func linear(hi, from, to float64) func(float64) float64 {
	return func(v float64) float64 { return from + (to-from)*v/hi }
}
