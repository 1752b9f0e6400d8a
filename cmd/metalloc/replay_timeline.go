package main

import (
	"bytes"
	"encoding/csv"
	"os"
	"strconv"

	"github.com/metalloc/metalloc/internal/replay"
)

// writeTimeline writes memory over time as CSV, for a plot.
func writeTimeline(path string, t *replay.Timeline) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	at := "event"
	if t.ByTime {
		at = "time_ns"
	}
	rows := [][]string{{at, "requested", "active", "cache", "slack", "reserved"}}
	for _, s := range t.States {
		var row []string
		for _, n := range []int64{s.At, s.Requested, s.Active, s.Cache, s.Slack, s.Reserved} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
