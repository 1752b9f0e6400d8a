package allocator_test

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// The sequential runtime that histories are compared with. It knows bytes,
// counts and limits, and nothing of pages, caches, credits or turns.

const (
	players = 4   // goroutines of a history, each with a span of its own
	slots   = 4   // streams of a history; two are open from the start
	most    = 100 // buffers
)

// op is one call, or the half of one that takes effect at two instants.
type op struct {
	kind   byte // see step
	slot   int  // the stream
	player int
	buf    int
	n      int64 // bytes asked for, or a limit
}

func (o op) as(kind byte) op {
	o.kind = kind
	return o
}

// rounded is what n bytes count in active.
func rounded(n int64) int64 { return (n + 511) &^ 511 }

// sums are what a stream's buffers add up to.
type sums struct{ active, requested, buffers int64 }

func (s *sums) add(o sums, sign int64) {
	s.active += sign * o.active
	s.requested += sign * o.requested
	s.buffers += sign * o.buffers
}

type streamState struct {
	open bool
	live sums
	own  sums // what it says of itself; once closed that stays
	peak int64
}

// flight is a malloc under policy Refuse that is under way.
type flight struct {
	beside   bool // another was under way at a time
	n        int64
	open     bool // its stream was, when it began
	room     bool // the limit had room for it
	hit      bool // so much was cached for certain
	sweeping bool // it may be taking caches back, or pages from them
	decided  bool // refused, but what it had claimed may not be free again yet
}

type modelState struct {
	streams  [slots]streamState
	peak     int64
	poolPeak int64
	spans    [players]int64
	limit    int64

	top  int64 // reserved never was more than that
	sure int64 // cached for certain, by whichever stream: nobody can have taken it back

	cacheLimit int64
	bufs       [most]int64 // what was asked for each; 0: not live
	claimed    [most]bool  // a free has begun: no other one, nor a Grow, will find it

	flights  [players]flight
	freeing  [players]int64 // left for a busy stream, and maybe not in its cache yet
	sweeping [players]bool  // by a lowered limit
}

// picture is a Snapshot, or its like from the model.
type picture struct {
	total, pool sums
	peak        int64
	poolPeak    int64
	rows        [slots]sums
	peaks       [slots]int64
	open        [slots]bool
	limit       int64
	cacheLimit  int64
}

func (s *modelState) live() (all sums) {
	for i := range s.streams {
		all.add(s.streams[i].live, 1)
	}
	return all
}

func (s *modelState) picture() (p picture) {
	p.total, p.peak, p.poolPeak, p.limit, p.cacheLimit = s.live(), s.peak, s.poolPeak, s.limit, s.cacheLimit
	for i := range s.streams {
		r := &s.streams[i]
		if p.open[i] = r.open; r.open {
			p.rows[i], p.peaks[i] = r.live, r.peak
		} else {
			p.pool.add(r.live, 1)
		}
	}
	return p
}

func (s *modelState) pool() (active int64) {
	for i := range s.streams {
		if !s.streams[i].open {
			active += s.streams[i].live.active
		}
	}
	return active
}

// malloced and grown are a malloc's effect and a Grow's.
func (s *modelState) malloced(o op) {
	s.streams[o.slot].live.buffers++
	s.grown(o)
}

func (s *modelState) grown(o op) {
	r, old := &s.streams[o.slot], s.bufs[o.buf]
	s.bufs[o.buf] = o.n
	r.live.active += rounded(o.n) - rounded(old)
	r.live.requested += o.n - old
	if r.open {
		r.own = r.live
		r.peak = max(r.peak, r.live.active)
	}
	active := s.live().active
	s.peak, s.poolPeak = max(s.peak, active), max(s.poolPeak, s.pool())
	for i := range s.spans {
		s.spans[i] = max(s.spans[i], active)
	}
}

func (s *modelState) freed(o op) {
	r := &s.streams[o.slot]
	r.live.add(sums{rounded(s.bufs[o.buf]), s.bufs[o.buf], 1}, -1)
	s.bufs[o.buf] = 0
	if r.open {
		r.own = r.live
	}
}

// What has come of an operation.
const (
	served  = "served"
	refused = "refused"
	closed  = "closed"
	gone    = "gone"   // freed before
	larger  = "larger" // grown before
)

// step says whether the operation may have the outcome, and what is then.
func step(state, input, outcome any) (bool, any) {
	s, o := state.(modelState), input.(op)
	r := &s.streams[o.slot]
	switch o.kind {
	case 'm': // malloc, where nothing is refused
		if outcome == closed {
			return !r.open, s
		}
		s.malloced(o)
		return r.open, s
	case 'h': // a free takes effect twice: it has the buffer, …
		was := s.claimed[o.buf]
		s.claimed[o.buf] = true
		return outcome == gone == was, s
	case 'f': // … and it isn't active any more
		ok := s.claimed[o.buf] && s.bufs[o.buf] > 0
		s.freed(o)
		return ok, s
	case 'u': // another stream's use
		return outcome == gone == s.claimed[o.buf], s
	case 'g':
		return s.grow(o, outcome), s
	case 'k':
		previous := s.cacheLimit
		s.cacheLimit = o.n
		return outcome == previous, s
	case 'a':
		return outcome == s.live().active, s
	case 'p':
		return outcome == s.peak, s
	case 'A':
		return outcome == r.own.active, s
	case 'P':
		return outcome == r.peak, s
	case 'r':
		s.peak = 0
	case 'R':
		r.peak = 0
	case 's':
		return outcome == s.picture(), s
	case 'b':
		s.spans[o.player] = s.live().active
		return outcome == s.live().active, s
	case 'e':
		return outcome == [2]int64{s.live().active, s.spans[o.player]}, s
	case 'o':
		r.open = true
	case 'c':
		r.open, s.sure = false, 0
		s.poolPeak = max(s.poolPeak, s.pool())
	default:
		return s.refusing(o, outcome)
	}
	return true, s
}

func (s *modelState) grow(o op, outcome any) bool {
	size := s.bufs[o.buf]
	switch outcome {
	case gone:
		return s.claimed[o.buf]
	case closed:
		return !s.streams[o.slot].open
	case larger:
		return size > o.n
	case served:
		// A Grow that has found the buffer alive may take effect after a Free's first
		// instant, not after its second.
		if size == 0 || size > o.n {
			return false
		}
		s.grown(o)
	}
	return true
}

func modelFrom(initial modelState) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: step,
		DescribeOperation: func(input, outcome any) string {
			o := input.(op)
			return fmt.Sprintf("%c stream %d buffer %d: %d → %v", o.kind, o.slot, o.buf, o.n, outcome)
		},
	}
}
