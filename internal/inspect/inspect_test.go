package inspect

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/telemetry/torch"
)

const start = 1_700_000_000_000_000 // µs

func event(a torch.Action, us, addr, size int64, block, stream int32) torch.Event {
	return torch.Event{Action: a, TimeUS: start + us, Addr: uint64(addr), Size: size, Block: block, Stream: stream}
}

func TestSummarize(t *testing.T) {
	h := &torch.History{
		Device: 1, Streams: []uint64{0, 7}, Mallocs: 3, Frees: 1, Skipped: 1, Others: 1,
		Events: []torch.Event{
			event(torch.SegmentAlloc, 0, 4096, 2000, -1, 0),
			event(torch.Alloc, 10, 4096, 1000, 0, 0),
			event(torch.FreeCompleted, 20, 99, 5, -1, 1),
			event(torch.Alloc, 30, 5096, 300, 1, 1),
			event(torch.FreeRequested, 40, 4096, 1000, 0, 0),
			event(torch.Alloc, 50, 5396, 400, 2, 1),
			event(torch.FreeCompleted, 60, 4096, 1000, 0, 0),
			event(torch.Other, 70, 0, 0, -1, -1),
			event(torch.SegmentFree, 100, 4096, 2000, -1, 0),
		},
	}
	require.Equal(t, &Summary{
		Device: 1, Events: 9, DurationUS: 100,
		Actions: map[string]int{
			"alloc": 3, "free_requested": 1, "free_completed": 2, "segment_alloc": 1, "segment_free": 1, "other": 1,
		},
		Mallocs: 3, Frees: 1, Skipped: 1, LiveEnd: 2,
		RequestedPeak: 1700, RequestedEnd: 700, ReservedPeak: 2000, ReservedEnd: 0,
		Streams: []Stream{
			{Stream: 0, Mallocs: 1, Frees: 1, RequestedPeak: 1000},
			{Stream: 7, Mallocs: 2, RequestedPeak: 700, LiveEnd: 2, LiveBytes: 700},
		},
		Sizes:          []Bin{{256, 1024, 3, 1700}},
		LifetimeEvents: []Bin{{1, 10, 1, 1000}},
		LifetimeUS:     []Bin{{10, 100, 1, 1000}},
		Live: []Block{
			{Size: 400, Stream: 7, Event: 5, TimeUS: 50, Addr: 5396},
			{Size: 300, Stream: 7, Event: 3, TimeUS: 30, Addr: 5096},
		},
		OverTime: []Point{
			{TimeUS: 0, Event: 0, Requested: 1000, Reserved: 2000},
			{TimeUS: 25, Event: 3, Requested: 1300, Reserved: 2000},
			{TimeUS: 50, Event: 5, Requested: 1700, Reserved: 2000},
			{TimeUS: 75, Event: 8, Requested: 700, Reserved: 2000},
		},
	}, Summarize(h, 4))
}

func TestEmpty(t *testing.T) {
	s := Summarize(&torch.History{}, 4)
	require.Equal(t, &Summary{
		Actions: map[string]int{}, Streams: []Stream{}, Sizes: []Bin{}, LifetimeEvents: []Bin{}, LifetimeUS: []Bin{},
		Live: []Block{}, OverTime: []Point{},
	}, s)
}

// Without times everything is told by events.
func TestWithoutTimes(t *testing.T) {
	h := &torch.History{Streams: []uint64{0}, Mallocs: 1, Frees: 1, Events: []torch.Event{
		{Action: torch.Alloc, Size: 10},
		{Action: torch.FreeRequested, Size: 10},
		{Action: torch.FreeCompleted, Size: 10},
		{Action: torch.Other, Block: -1, Stream: -1},
	}}
	s := Summarize(h, 2)
	require.Zero(t, s.DurationUS)
	require.Empty(t, s.LifetimeUS)
	require.Len(t, s.LifetimeEvents, 1)
	require.Equal(t, []Point{{Event: 0, Requested: 10}, {Event: 2, Requested: 10}}, s.OverTime)
}

// Events that the reader made up are none of the file's.
func TestImpliedEventsAreNotCounted(t *testing.T) {
	h := &torch.History{Streams: []uint64{0}, Mallocs: 2, Frees: 2, Reused: 1, Implied: 3, Events: []torch.Event{
		{Action: torch.Alloc, Addr: 1, Size: 10},
		{Action: torch.FreeRequested, Addr: 1, Size: 10}, // made up, as the next
		{Action: torch.FreeCompleted, Addr: 1, Size: 10},
		{Action: torch.Alloc, Addr: 1, Size: 20, Block: 1},
		{Action: torch.FreeRequested, Addr: 1, Size: 20, Block: 1}, // made up
		{Action: torch.FreeCompleted, Addr: 1, Size: 20, Block: 1},
	}}
	s := Summarize(h, 1)
	require.Equal(t, 3, s.Events)
	require.Equal(t, map[string]int{"alloc": 2, "free_completed": 1}, s.Actions)
}

func TestSegmentsFromBefore(t *testing.T) {
	h := &torch.History{Streams: []uint64{0}, Events: []torch.Event{
		event(torch.SegmentAlloc, 0, 1, 100, -1, 0),
		event(torch.SegmentFree, 1, 2, 1000, -1, 0), // was there before
		event(torch.SegmentAlloc, 2, 1, 300, -1, 0), // its free is missing
		event(torch.SegmentFree, 3, 3, 10, -1, 0),   // there before, too
		event(torch.SegmentFree, 4, 3, 10, -1, 0),   // again: nothing to free
	}}
	s := Summarize(h, 10)
	require.EqualValues(t, 1110, s.ReservedPeak)
	require.EqualValues(t, 300, s.ReservedEnd)
}

// Nothing in a hostile file's numbers breaks the sums.
func TestAbsurdNumbers(t *testing.T) {
	const most = math.MaxInt64
	h := &torch.History{Streams: []uint64{0}, Mallocs: 1, Frees: 1, Events: []torch.Event{
		{Action: torch.SegmentAlloc, Addr: 1, Size: most, TimeUS: math.MinInt64, Block: -1},
		{Action: torch.SegmentAlloc, Addr: 2, Size: most, TimeUS: most, Block: -1},
		{Action: torch.Alloc, Size: most, TimeUS: math.MinInt64},
		{Action: torch.SegmentFree, Addr: 1, Size: 0, Block: -1},
		{Action: torch.SegmentFree, Addr: 2, Size: 0, Block: -1},
		{Action: torch.FreeRequested, Size: most, TimeUS: most},
		{Action: torch.FreeCompleted, Size: most, TimeUS: -5},
	}}
	s := Summarize(h, 3)
	require.EqualValues(t, most, s.DurationUS)
	require.EqualValues(t, most, s.ReservedPeak)
	require.GreaterOrEqual(t, s.ReservedEnd, int64(0))
	require.Equal(t, []Bin{{1 << 62, most, 1, most}}, s.Sizes)
	require.Len(t, s.OverTime, 3)
}

func TestBins(t *testing.T) {
	h := newHistogram(4)
	require.Empty(t, h.bins())
	for _, v := range []int64{0, 1, 3, 4, 16, 17, math.MaxInt64} {
		h.add(v, 2)
	}
	bins := h.bins()
	require.Equal(t, []Bin{{0, 1, 1, 2}, {1, 4, 2, 4}, {4, 16, 1, 2}, {16, 64, 2, 4}, {64, 256, 0, 0}}, bins[:5])
	require.EqualValues(t, math.MaxInt64, bins[len(bins)-1].To)
	for i := range len(bins) - 1 {
		require.Equal(t, bins[i].To, bins[i+1].From)
	}
	require.Equal(t, []Bin{{0, 1, 1, 1}}, func() []Bin { h := newHistogram(10); h.add(0, 1); return h.bins() }())
}

// On a real history: the sums agree with each other and with PyTorch's.
func TestRealHistory(t *testing.T) {
	h, err := torch.ReadFile(filepath.Join("..", "..", "tests", "testdata", "traces", "serve-4streams.pickle.gz"), nil)
	require.NoError(t, err)
	s := Summarize(h, 50)
	require.EqualValues(t, 635_594_096, s.RequestedPeak)
	require.EqualValues(t, 2_277_507_072, s.ReservedPeak, "as in peaks.jsonl")
	require.Equal(t, 8, s.LiveEnd)
	require.Len(t, s.Live, 8)
	require.Len(t, s.OverTime, 50)
	var mallocs, frees, live, sized, lived, requested, reserved int64
	for _, r := range s.Streams {
		mallocs, frees, live = mallocs+r.Mallocs, frees+r.Frees, live+r.LiveEnd
	}
	for _, bin := range s.Sizes {
		sized += bin.Count
	}
	for _, bin := range s.LifetimeUS {
		lived += bin.Count
	}
	for i, p := range s.OverTime {
		requested, reserved = max(requested, p.Requested), max(reserved, p.Reserved)
		require.Equal(t, s.DurationUS*int64(i)/50, p.TimeUS)
	}
	require.Equal(t, []int64{20_573, 20_565, 8}, []int64{mallocs, frees, live})
	require.Equal(t, []int64{20_573, 20_565}, []int64{sized, lived})
	require.Equal(t, []int64{s.RequestedPeak, s.ReservedPeak}, []int64{requested, reserved})
	for i := 1; i < len(s.Live); i++ {
		require.LessOrEqual(t, s.Live[i].Size, s.Live[i-1].Size)
	}
}
