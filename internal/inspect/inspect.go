// Package inspect sums up a recorded allocation history: who allocated how much,
// in what sizes, for how long, and what was left at the end. It plays nothing.
//
// Not stable: it serves cmd/metalloc.
package inspect

import (
	"cmp"
	"maps"
	"slices"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// Summary is what a history holds; bytes and microseconds. "End" is after the
// last event. A block counts as requested from its malloc to its free_completed,
// as in PyTorch's own statistics.
type Summary struct {
	Trace  string `json:"trace"`  // the caller's to set
	Device int    `json:"device"` // index into the snapshot's devices

	Events     int            `json:"events"`      // in the file
	Actions    map[string]int `json:"actions"`     // of Events, by PyTorch's name of the action; what is not told apart is "other"
	DurationUS int64          `json:"duration_us"` // first to last event; 0 also where the file has no times

	Mallocs int `json:"mallocs"`
	Frees   int `json:"frees"`
	Skipped int `json:"skipped"` // frees of blocks that are not in the file
	LiveEnd int `json:"live_end"`

	RequestedPeak int64 `json:"requested_peak"`
	RequestedEnd  int64 `json:"requested_end"`

	// Reserved is what PyTorch took from the device in segments, as far as the file
	// tells: segments that it had taken before and never freed are not in it, nor
	// those that grow (expandable_segments:True).
	ReservedPeak int64 `json:"reserved_peak"`
	ReservedEnd  int64 `json:"reserved_end"`

	Streams []Stream `json:"streams"` // in order of appearance

	Sizes          []Bin `json:"sizes"`           // of mallocs, bytes
	LifetimeEvents []Bin `json:"lifetime_events"` // events from malloc to free_requested, of the blocks that were freed
	LifetimeUS     []Bin `json:"lifetime_us"`     // the same in time; none where the file has no times

	Live     []Block `json:"live"`      // never free_requested, the largest first
	OverTime []Point `json:"over_time"` // in equal steps, of time, or of events where the file has no times
}

// Stream is one stream of the file. A block belongs to the stream it was
// allocated on.
type Stream struct {
	Stream        uint64 `json:"stream"` // the file's handle; 0 is the default stream
	Mallocs       int64  `json:"mallocs"`
	Frees         int64  `json:"frees"`
	RequestedPeak int64  `json:"requested_peak"`
	LiveEnd       int64  `json:"live_end"`   // blocks
	LiveBytes     int64  `json:"live_bytes"` // in them
}

// Block is one that was never freed.
type Block struct {
	Size   int64  `json:"size"`
	Stream uint64 `json:"stream"`
	Event  int    `json:"event"`   // its malloc
	TimeUS int64  `json:"time_us"` // of its malloc, from the first event on
	Addr   uint64 `json:"addr"`
}

// Point is a step of time: the highest figures in it.
type Point struct {
	TimeUS    int64 `json:"time_us"` // when it begins, from the first event on
	Event     int   `json:"event"`   // the first in it, or the next one
	Requested int64 `json:"requested"`
	Reserved  int64 `json:"reserved"`
}

// Summarize reads a history as torch.Read gives it. points is how many steps
// OverTime has, at least 1.
func Summarize(h *torch.History, points int) *Summary {
	s := &Summary{
		Device: h.Device, Events: len(h.Events) - h.Implied, Actions: map[string]int{},
		Mallocs: h.Mallocs, Frees: h.Frees, Skipped: h.Skipped, LiveEnd: h.Live(),
		Live: []Block{},
	}
	s.count(h)
	s.follow(h, newSteps(h, points))
	return s
}

// count fills in what the blocks tell.
func (s *Summary) count(h *torch.History) {
	var peaks []int64
	s.RequestedPeak, peaks = h.RequestedPeaks()
	s.Streams = make([]Stream, len(h.Streams))
	for i, handle := range h.Streams {
		s.Streams[i] = Stream{Stream: handle, RequestedPeak: peaks[i]}
	}
	mallocs := make([]int, 0, h.Mallocs) // their events, by block
	freed := make([]bool, h.Mallocs)
	sizes, events, times := newHistogram(4), newHistogram(10), newHistogram(10)
	for i, e := range h.Events {
		s.Actions[e.Action.String()]++
		switch {
		case e.Block < 0:
		case e.Action == torch.Alloc:
			mallocs = append(mallocs, i)
			sizes.add(e.Size, e.Size)
			s.Streams[e.Stream].Mallocs++
		case e.Action == torch.FreeRequested:
			born := h.Events[mallocs[e.Block]]
			freed[e.Block] = true
			events.add(int64(i-mallocs[e.Block]), born.Size)
			if e.TimeUS != 0 {
				times.add(since(born.TimeUS, e.TimeUS), born.Size)
			}
			s.Streams[born.Stream].Frees++
		}
	}
	s.Sizes, s.LifetimeEvents = sizes.bins(), events.bins()
	s.LifetimeUS = times.bins()
	for block, at := range mallocs {
		if e := h.Events[at]; !freed[block] {
			s.Live = append(s.Live, Block{e.Size, h.Streams[e.Stream], at, since(h.Events[0].TimeUS, e.TimeUS), e.Addr})
			s.Streams[e.Stream].LiveEnd++
			s.Streams[e.Stream].LiveBytes += e.Size
		}
	}
	slices.SortStableFunc(s.Live, func(a, b Block) int { return cmp.Compare(b.Size, a.Size) })
	s.impliedAside(h)
}

// impliedAside takes what the reader made up out of the counts of actions: a
// free_completed for each address used again, otherwise free_requested.
func (s *Summary) impliedAside(h *torch.History) {
	s.Actions[torch.FreeCompleted.String()] -= h.Reused
	s.Actions[torch.FreeRequested.String()] -= h.Implied - h.Reused
	maps.DeleteFunc(s.Actions, func(_ string, n int) bool { return n == 0 })
}

// follow fills in what changes over time.
func (s *Summary) follow(h *torch.History, steps *steps) {
	sizes := make([]int64, 0, h.Mallocs)
	segments, reserved := segmentsBefore(h)
	var requested int64
	s.ReservedPeak = reserved
	for i, e := range h.Events {
		switch {
		case e.Action == torch.Alloc && e.Block >= 0:
			sizes = append(sizes, e.Size)
			requested += e.Size
		case e.Action == torch.FreeCompleted && e.Block >= 0:
			requested -= sizes[e.Block]
		case e.Action == torch.SegmentAlloc:
			reserved = sum(reserved-segments[e.Addr], e.Size) // there is one if its segment_free is missing
			segments[e.Addr] = e.Size
		case e.Action == torch.SegmentFree:
			reserved = max(0, reserved-segments[e.Addr])
			delete(segments, e.Addr)
		}
		s.ReservedPeak = max(s.ReservedPeak, reserved)
		steps.add(i, requested, reserved)
	}
	s.RequestedEnd, s.ReservedEnd = requested, reserved
	s.OverTime, s.DurationUS = steps.points, steps.duration
}

// segmentsBefore are the segments whose first event is their segment_free, so
// that were there before.
func segmentsBefore(h *torch.History) (segments map[uint64]int64, reserved int64) {
	segments = map[uint64]int64{}
	seen := map[uint64]bool{}
	for _, e := range h.Events {
		if e.Action != torch.SegmentAlloc && e.Action != torch.SegmentFree || seen[e.Addr] {
			continue
		}
		seen[e.Addr] = true
		if e.Action == torch.SegmentFree {
			segments[e.Addr] = e.Size
			reserved = sum(reserved, e.Size)
		}
	}
	return segments, reserved
}
