package inspect

import (
	"math"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// steps collects the figures of each step of time.
type steps struct {
	h        *torch.History
	points   []Point
	duration int64 // first to latest event; 0: no times, count events

	now                 int64 // the latest time so far: the file's may step back
	at                  int   // the step being filled; -1: none yet
	requested, reserved int64 // after the last event
}

func newSteps(h *torch.History, n int) *steps {
	s := &steps{h: h, points: make([]Point, n), at: -1}
	if len(h.Events) == 0 {
		s.points = s.points[:0]
	}
	for _, e := range h.Events {
		s.duration = max(s.duration, since(h.Events[0].TimeUS, e.TimeUS))
	}
	return s
}

// add takes the figures after event i.
func (s *steps) add(i int, requested, reserved int64) {
	s.now = max(s.now, since(s.h.Events[0].TimeUS, s.h.Events[i].TimeUS))
	for k := s.step(i); s.at < k; {
		s.at++
		s.points[s.at] = Point{TimeUS: s.begins(s.at), Event: i, Requested: s.requested, Reserved: s.reserved}
	}
	p := &s.points[s.at]
	p.Requested, p.Reserved = max(p.Requested, requested), max(p.Reserved, reserved)
	s.requested, s.reserved = requested, reserved
}

// step is where event i belongs.
func (s *steps) step(i int) int {
	part := float64(i) / float64(len(s.h.Events))
	if s.duration > 0 {
		part = float64(s.now) / float64(s.duration)
	}
	return min(int(part*float64(len(s.points))), len(s.points)-1)
}

func (s *steps) begins(k int) int64 {
	return int64(float64(s.duration) / float64(len(s.points)) * float64(k))
}

// since is the time from a to b, 0 if it runs backwards. Times of a hostile file
// may lie further apart than an int64 holds.
func since(a, b int64) int64 {
	if b <= a {
		return 0
	}
	return int64(min(uint64(b)-uint64(a), math.MaxInt64))
}

// sum is a + b, both at least 0, or the largest number there is.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
