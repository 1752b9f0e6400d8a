package main

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/inspect"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// requireFits checks that no line is wider than a terminal.
func requireFits(t *testing.T, text string, width int) {
	t.Helper()
	require.NotEmpty(t, text)
	require.NotContains(t, text, "\x1b", "colours, though it is no terminal")
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		require.LessOrEqual(t, utf8.RuneCountInString(line), width, line)
		require.Equal(t, strings.TrimRight(line, " "), line)
	}
}

func TestInspect(t *testing.T) {
	for _, trace := range []string{"train-gpt2", "decode-llama", "train-moe", "serve-4streams"} {
		stdout, stderr, code := metalloc(t, "inspect", tracePath(trace))
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		requireFits(t, stdout, defaultWidth)
		require.Contains(t, stdout, trace+": ")
	}
	stdout, _, _ := metalloc(t, "inspect", tracePath("serve-4streams"))
	for _, want := range []string{
		"61,777 events in 9.56s\nalloc 20,573, free_requested 20,565, free_completed 20,564, segment_alloc 75\n",
		"│ 0x7efb34003b10 │   5,116 │  5,114 │", "│ all            │  20,573 │ 20,565 │      606.1 MiB │    8 │",
		"1 MiB – 4 MiB", "100 – 1,000", "1ms – 10ms", "█",
		"Never freed: 8 blocks\n   32.00 MiB on 0x7efb34020b80, event 247, after 519ms\n",
		"─ active (requested), peak 606.1 MiB   ░ reserved by PyTorch, peak 2.121 GiB\n", "╭", "2.121 GiB ┤",
	} {
		require.Contains(t, stdout, want)
	}
}

func TestInspectJSON(t *testing.T) {
	stdout, stderr, code := metalloc(t, "inspect", "--json", tracePath("train-moe"))
	require.Zero(t, code)
	require.Empty(t, stderr)
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	var s inspect.Summary
	require.NoError(t, d.Decode(&s))
	require.Equal(t, "train-moe", s.Trace)
	require.EqualValues(t, 1_000_929_236, s.RequestedPeak)
	require.EqualValues(t, 1_266_679_808, s.ReservedPeak)
	require.Equal(t, []int{5803, 5800, 3}, []int{s.Mallocs, s.Frees, s.LiveEnd})
	require.Len(t, s.OverTime, 100)
	require.Len(t, s.Streams, 2)
}

// A file of few events, some of them odd, made by Python.
func TestInspectSmallFile(t *testing.T) {
	path := filepath.Join("..", "..", "telemetry", "torch", "testdata", "protocol4.pickle")
	stdout, _, code := metalloc(t, "inspect", path)
	require.Zero(t, code)
	requireFits(t, stdout, defaultWidth)
	require.Contains(t, stdout, "11 events in 10µs")
	require.Contains(t, stdout, "other 3")
	require.Contains(t, stdout, "1 frees without a malloc in the file")
}

func TestInspectBadFiles(t *testing.T) {
	requireRefused(t, exitFailure, []string{"is refused"}, "inspect", write(t, "call.pickle", []byte("\x80\x02cos\nsystem\n.")))
	requireRefused(t, exitFailure, []string{"empty.pickle"}, "inspect", "--json", write(t, "empty.pickle", nil))
	requireRefused(t, exitFailure, []string{"nothing"}, "inspect", filepath.Join(t.TempDir(), "nothing"))
}

// What no real file has, in terminals of any width.
func TestRenderSummary(t *testing.T) {
	nothing := &inspect.Summary{Trace: "nothing"}
	absurd := inspect.Summarize(&torch.History{Streams: []uint64{math.MaxUint64}, Mallocs: 1, Events: []torch.Event{
		{Action: torch.SegmentAlloc, Size: math.MaxInt64, Block: -1},
		{Action: torch.Alloc, Size: math.MaxInt64},
		{Action: torch.Other, TimeUS: math.MaxInt64, Block: -1, Stream: -1},
	}}, chartPoints(defaultWidth))
	requireFits(t, renderSummary(nothing, defaultWidth), defaultWidth)
	requireFits(t, renderSummary(absurd, defaultWidth), defaultWidth)

	h, err := torch.ReadFile(tracePath("train-moe"), nil)
	require.NoError(t, err)
	for _, width := range []int{75, 80, 120, maxWidth} {
		text := renderSummary(inspect.Summarize(h, chartPoints(width)), width)
		requireFits(t, text, width)
		widest := 0
		for line := range strings.Lines(text) {
			widest = max(widest, utf8.RuneCountInString(line)-1)
		}
		require.GreaterOrEqual(t, widest, width-5, "the width is used")
	}

	for i := range h.Events {
		h.Events[i].TimeUS = 0
	}
	text := renderSummary(inspect.Summarize(h, chartPoints(defaultWidth)), defaultWidth)
	requireFits(t, text, defaultWidth)
	require.NotContains(t, text, "lifetime in time")
	require.Contains(t, text, " 17,475\n", "the axis counts events")
}

func TestBlock(t *testing.T) {
	for _, c := range []struct {
		n, most int64
		width   int
		want    string
	}{
		{0, 10, 4, ""},
		{10, 10, 4, "████"},
		{5, 10, 4, "██"},
		{1, 1000, 4, "▏"},
		{11, 32, 4, "█▍"},
		{1, 1, 0, ""},
		{math.MaxInt64, math.MaxInt64, 2, "██"},
	} {
		require.Equal(t, c.want, block(c.n, c.most, c.width), "%+v", c)
	}
}
