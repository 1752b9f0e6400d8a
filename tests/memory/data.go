package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// data is all that was measured; what wasn't is empty.
type data struct {
	runs   []replay.Result
	others []other
	lines  map[string][]point // by trace
}

// point is memory at a time; bytes.
type point struct{ timeNS, active, reserved int64 }

func load(folder string) (*data, error) {
	d := data{lines: map[string][]point{}}
	err := errors.Join(
		page.Present(page.ReadLines(filepath.Join(folder, "memory.json"), &d.runs)),
		page.Present(page.ReadLines(filepath.Join(folder, "memory-others.json"), &d.others)),
	)
	for _, trace := range d.traces() {
		line, lineErr := readTimeline(filepath.Join(folder, "memory-"+trace+".csv"))
		err = errors.Join(err, page.Present(lineErr))
		d.lines[trace] = line
	}
	return &d, err
}

// readTimeline reads what metalloc replay --timeline wrote of a history with
// times.
func readTimeline(file string) ([]point, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	want := []string{"time_ns", "requested", "active", "cache", "slack", "reserved"}
	if len(rows) < 2 || !slices.Equal(rows[0], want) {
		return nil, fmt.Errorf("%s: want the columns %v and a row at least", file, want)
	}
	points := make([]point, 0, len(rows)-1)
	for i, row := range rows[1:] {
		var n [6]int64
		for column, cell := range row {
			if n[column], err = strconv.ParseInt(cell, 10, 64); err != nil {
				return nil, fmt.Errorf("%s: row %d, %s: %w", file, i+1, want[column], err)
			}
		}
		points = append(points, point{timeNS: n[0], active: n[2], reserved: n[5]})
	}
	return points, nil
}

func (d *data) traces() []string {
	return page.Once(d.runs, func(r replay.Result) string { return r.Trace })
}

// way is one way to play a trace.
type way struct {
	lagNS                int64
	concurrent, segments bool
}

func wayOf(r replay.Result) way { return way{r.LagNS, r.Concurrent, r.Segments} }

// run is the replay of a trace in a way; nil: there is none.
func (d *data) run(trace string, w way) *replay.Result {
	i := slices.IndexFunc(d.runs, func(r replay.Result) bool { return r.Trace == trace && wayOf(r) == w })
	if i < 0 {
		return nil
	}
	return &d.runs[i]
}

// ofOthers is what is known of a trace; empty: nothing.
func (d *data) ofOthers(trace string) other {
	for _, o := range d.others {
		if o.Trace == trace {
			return o
		}
	}
	return other{}
}
