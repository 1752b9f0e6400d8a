package actors

import "math"

// sweep gathers pages from streams, one turn each, and gives them back to the
// device. Nobody waits for it inside a turn; whoever needs it is told by then.
type sweep struct {
	opBase
	core    *Core
	kind    sweepKind
	need    int64 // bytes to gather; gathering stops when it is reached
	streams []*Stream
	next    int
	stage   sweepStage

	runs     runs
	released int64
	pending  int64 // bytes that will follow as marks are reached (sweepClear)
	then     func(mayEnter bool)
}

type sweepKind uint8

const (
	sweepPages sweepKind = iota // free pages
	sweepCache                  // free pages, then cached bytes become slack
	sweepClear                  // everything reusable
)

type sweepStage uint8

const (
	gather sweepStage = iota
	deliver
	tell
	swept
)

// sweepOver starts a sweep over streams.
func (c *Core) sweepOver(ss []*Stream, kind sweepKind, need int64, then func(*sweep, bool), mayEnter bool) {
	s := &sweep{core: c, kind: kind, need: need, streams: ss}
	s.then = func(mayEnter bool) { then(s, mayEnter) }
	s.start(mayEnter)
}

func (s *sweep) start(mayEnter bool) {
	s.self = s
	s.core.begin()
	s.hop(mayEnter)
}

// giveBack returns pages that have left their stream to the device.
func (c *Core) giveBack(rs runs, then func(mayEnter bool), mayEnter bool) {
	s := &sweep{core: c, stage: deliver, runs: rs, then: then}
	s.start(mayEnter)
}

// flush calls then when all that had left its stream by now is booked as back with
// the device, whoever brought it.
func (c *Core) flush(then func(mayEnter bool), mayEnter bool) {
	s := &sweep{core: c, kind: sweepClear, stage: deliver, then: then}
	s.start(mayEnter)
}

// sweepFor sweeps the caches for a ticket that the supervisor has put off.
func (c *Core) sweepFor(t *ticket, mayEnter bool) {
	need, ss := t.sweep, t.sweepOver
	t.sweep, t.sweepOver = 0, nil
	c.sweepOver(ss, sweepPages, need, func(s *sweep, mayEnter bool) {
		t.gathered = s.released
		t.hop(mayEnter)
	}, mayEnter)
}

// await is giveBack, and returns when the pages have gone back.
func (c *Core) await(rs runs) {
	if len(rs) == 0 {
		return
	}
	gate := c.seam.NewGate()
	c.giveBack(rs, func(bool) { gate.Open() }, true)
	gate.Wait()
}

// awaitSweep is sweepOver, and returns when the sweep is over.
func (c *Core) awaitSweep(ss []*Stream, kind sweepKind, need int64) *sweep {
	gate := c.seam.NewGate()
	var over *sweep
	c.sweepOver(ss, kind, need, func(s *sweep, _ bool) {
		over = s
		gate.Open()
	}, true)
	gate.Wait()
	return over
}

func (s *sweep) step() {
	switch s.stage {
	case gather:
		st := s.streams[s.next]
		s.next++
		rs, reduced, pending := st.giveUp(s.kind, s.need)
		s.runs = append(s.runs, rs...)
		s.pending += pending
		s.need -= reduced
	case deliver:
		s.stage = tell
		s.released = s.core.metal.drain()
	case tell:
		s.stage = swept
		s.core.sup.left(s.released)
		if s.kind == sweepClear && len(s.streams) > 0 { // without streams it is a flush
			s.core.giver.clears.Cleared(s.core.now(), s.released)
		}
	}
}

// broke: a stream's turn panicked; the others are asked all the same. Pages that
// the metal actor had not got to stay with it.
func (s *sweep) broke(error) {
	if s.stage == tell {
		s.released = 0
	}
}

func (s *sweep) hop(mayEnter bool) {
	if s.stage == gather && (s.next == len(s.streams) || s.need <= 0) {
		s.stage = deliver
	}
	// A clearing takes along what the device has refused before.
	if s.stage == deliver && len(s.runs) == 0 && s.kind != sweepClear {
		s.stage = swept
	}
	switch s.stage {
	case gather:
		s.streams[s.next].send(s, mayEnter)
	case deliver:
		s.core.metal.send(s, mayEnter)
	case tell:
		s.core.sup.send(s, mayEnter)
	case swept:
		if s.then != nil {
			s.then(mayEnter)
		}
		s.core.end()
	}
}

// everything as a sweep's need.
const everything = math.MaxInt64
