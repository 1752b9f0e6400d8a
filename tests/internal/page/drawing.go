package page

import (
	"fmt"
	"html"
	"strings"
)

// drawing is SVG being written.
type drawing struct{ strings.Builder }

func (d *drawing) text(x, y float64, anchor, s, more string) {
	fmt.Fprintf(&d.Builder, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, more, html.EscapeString(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(&d.Builder, `<path d="M%.1f %.1fL%.1f %.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

// polyline joins the points, each with a dot.
func (d *drawing) polyline(s Series, x, y func(float64) float64) {
	var path strings.Builder
	for _, p := range s.Points {
		fmt.Fprintf(&path, "%.1f,%.1f ", x(p[0]), y(p[1]))
		fmt.Fprintf(&d.Builder, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p[0]), y(p[1]), s.colour())
	}
	fmt.Fprintf(&d.Builder, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(path.String()), s.colour())
}

// steps draws a line that holds each y until the next x.
func (d *drawing) steps(s Series, x, y func(float64) float64) {
	if !s.Fill {
		fmt.Fprintf(&d.Builder, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", outline(s, x, y), s.colour())
	}
}

// below colours what lies under such a line.
func (d *drawing) below(s Series, x, y func(float64) float64) {
	if s.Fill {
		fmt.Fprintf(&d.Builder, `<path d="%sV%.1fH%.1fZ" fill="%s"/>`+"\n", outline(s, x, y), y(0), x(s.Points[0][0]), s.colour())
	}
}

// outline is the path of a line in steps, to the plot's right edge. Of points that
// share a column of pixels the highest fills it, so that no peak is lost; the last
// one holds from there on.
func outline(s Series, x, y func(float64) float64) string {
	var path strings.Builder
	var drawn float64
	step := func(column int, v float64) {
		if v != drawn {
			fmt.Fprintf(&path, "H%dV%.1f", column, y(v))
			drawn = v
		}
	}
	for i := 0; i < len(s.Points); {
		column := int(x(s.Points[i][0]))
		high, last := s.Points[i][1], s.Points[i][1]
		for i++; i < len(s.Points) && int(x(s.Points[i][0])) == column; i++ {
			last = s.Points[i][1]
			high = max(high, last)
		}
		if path.Len() == 0 {
			drawn = high
			fmt.Fprintf(&path, "M%d %.1f", column, y(high))
		}
		step(column, high)
		if i == len(s.Points) || int(x(s.Points[i][0])) > column+1 {
			step(min(column+1, Right), last)
		}
	}
	fmt.Fprintf(&path, "H%d", Right)
	return path.String()
}
