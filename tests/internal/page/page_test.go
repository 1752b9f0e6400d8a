package page

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFill(t *testing.T) {
	ts := Tables{"one": func() string { return "1" }, "the-other": func() string { return "2" }}
	page, err := ts.Fill([]byte("a\n<!-- figures: one -->\nold\n<!-- end -->\nb\n<!-- figures: the-other --><!-- end -->"))
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- figures: one -->\n\n1\n\n<!-- end -->\nb\n<!-- figures: the-other -->\n\n2\n\n<!-- end -->", string(page))
	_, err = ts.Fill([]byte("<!-- figures: bogus -->\n<!-- end -->"))
	require.ErrorContains(t, err, `"bogus"`)
	_, err = ts.Fill([]byte("<!-- figures: one -->\n<!-- end -->\n<!-- figures: one -->"))
	require.ErrorContains(t, err, "1 of 2")
}

func TestUpdate(t *testing.T) {
	docs := t.TempDir()
	file := filepath.Join(docs, "it.md")
	require.NoError(t, os.WriteFile(file, []byte("<!-- figures: a -->\n<!-- end -->\n"), 0o644))
	chart := Chart{File: "plot", Label: func(x float64) string { return fmt.Sprint(x) }, Lines: []Series{{Name: "s", Points: [][2]float64{{1, 1}, {2, 3}}}}}
	require.NoError(t, Update(docs, "it.md", Tables{"a": func() string { return "table" }}, []Chart{chart}))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "\n\ntable\n\n")
	plot, err := os.ReadFile(filepath.Join(docs, "img", "plot.svg"))
	require.NoError(t, err)
	require.Equal(t, string(chart.SVG()), string(plot))
	require.ErrorContains(t, Update(docs, "it.md", nil, nil), "it.md")
}

func TestTable(t *testing.T) {
	table := NewTable("what", "n")
	table.Row("a", "1")
	require.Equal(t, "| what | n |\n|---|---:|\n| a | 1 |", table.String())
}

func TestRead(t *testing.T) {
	type row struct{ N int }
	file := filepath.Join(t.TempDir(), "rows.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"N":1}{"N":2}`), 0o644))
	var rows []row
	require.NoError(t, ReadLines(file, &rows))
	require.Equal(t, []row{{1}, {2}}, rows)
	var one *row
	require.ErrorContains(t, ReadJSON(file, &one), "got 2")
	require.NoError(t, Present(ReadJSON(file+".not", &one)))
	require.NoError(t, os.WriteFile(file, []byte(`{"N":1`), 0o644))
	require.ErrorContains(t, Present(ReadLines(file, &rows)), "rows.json")
	require.Equal(t, []int{1, 2}, Once([]row{{1}, {2}, {1}}, func(r row) int { return r.N }))
}

func TestTicks(t *testing.T) {
	require.Equal(t, []float64{10, 20, 50, 100, 200}, ticks(14, 130))
	require.Equal(t, []float64{10, 20}, ticks(10, 20))
	require.Equal(t, []float64{5, 10}, ticks(7, 7))
	require.Equal(t, []float64{10, 20}, ticks(10, 10))
	require.Equal(t, []float64{0.5, 1, 2}, ticks(0.6, 1.5))
}

func TestEven(t *testing.T) {
	for hi, want := range map[float64][]float64{
		11.8: {0, 2, 4, 6, 8, 10}, 9: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 4: {0, 1, 2, 3, 4}, 2.2: {0, 0.5, 1, 1.5, 2},
		0.19: {0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18}, 0: {0, 1},
	} {
		require.InDeltaSlice(t, want, even(hi), 1e-9, "%v", hi)
	}
}

func TestScale(t *testing.T) {
	x := scale(1, 100, 0, 10)
	require.InDeltaSlice(t, []float64{0, 5, 10}, []float64{x(1), x(10), x(100)}, 1e-9)
	require.InDelta(t, 3, scale(2, 2, 3, 9)(2), 0)
}

// Steps go first along, then up; of what falls on one column of pixels the
// highest is seen, and the last holds from there on.
func TestOutline(t *testing.T) {
	same := func(v float64) float64 { return v }
	s := Series{Points: [][2]float64{{100, 5}, {110.1, 7}, {110.2, 9}, {110.9, 1}, {120, 9}, {130, 2}}}
	require.Equal(t, fmt.Sprintf("M100 5.0H110V9.0H111V1.0H120V9.0H130V2.0H%d", Right), outline(s, same, same))
	require.Equal(t, fmt.Sprintf("M100 5.0H%d", Right), outline(Series{Points: s.Points[:1]}, same, same))
}

// A plot over time is well-formed, begins at 0, and stays inside its frame.
func TestLinear(t *testing.T) {
	c := Chart{
		Title: "<memory>", X: "time, s", Y: "GiB", Linear: true, Label: func(x float64) string { return fmt.Sprintf("%gs", x) },
		Lines: []Series{
			{Name: "low", Colour: "#abcdef", Fill: true, Points: [][2]float64{{0, 1}, {3, 2.1}, {10, 0.5}}},
			{Name: "high", Points: [][2]float64{{0, 2}, {5, 3.1}}},
		},
	}
	svg := string(c.SVG())
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	for _, want := range []string{">&lt;memory&gt;<", ">0s<", ">10s<", ">3.5<", ">high<", `V380.0H70.0Z" fill="#abcdef"`} {
		require.Contains(t, svg, want)
	}
	require.Less(t, strings.Index(svg, ">high<"), strings.Index(svg, ">low<"), "the legend in the lines' order")
	require.Less(t, strings.Index(svg, "#abcdef"), strings.Index(svg, ">high<"), "what is filled lies behind")
	steps := regexp.MustCompile(`([HV])(-?[0-9.]+)`).FindAllStringSubmatch(svg, -1)
	require.Len(t, steps, 7+3)
	for _, step := range steps {
		v, err := strconv.ParseFloat(step[2], 64)
		require.NoError(t, err)
		if step[1] == "H" {
			require.True(t, v >= Left && v <= Right, step[0])
		} else {
			require.True(t, v >= Top && v <= Bottom, step[0])
		}
	}
}
