package actors

import (
	"fmt"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// This file is what a ticket does in its stream's turns.

// lookOn looks for one size after the other, as long as the heap has them.
func (s *Stream) lookOn(t *ticket) stage {
	next := look
	for next == look {
		next = s.look(t)
	}
	return next
}

// look is a ticket's first stage, for each of its sizes: what the heap holds
// already, or a plan.
func (s *Stream) look(t *ticket) stage {
	if s.shut || s.broken != nil {
		s.drop(t)
		return s.answer(t, s.refusal())
	}
	t.give = append(t.give, s.poll()...)
	if len(t.entered) == 0 && t.grow.h == nil && t.room == 0 {
		if blks := s.hits(t.sizes); blks != nil {
			t.fresh = false
			return s.handOver(t, blks)
		}
	}
	s.pass()
	plan, err := s.plan(t)
	if err != nil || plan == nil {
		return s.answer(t, err)
	}
	t.plan, t.work, t.failed, t.err, t.short = plan, work{}, false, nil, nil
	s.plans++
	if plan.Missing() == 0 {
		s.settle(ledger.Change{})
		return s.commit(t)
	}
	t.missed = true
	if plan.Reserve == 0 { // here, since the segment is the turn's
		t.work.spans = plan.Spans(metal.Range{})
	}
	if s.core.ledger.CachedElsewhere(&s.row) >= s.core.leastPage() &&
		(s.core.policy == Guide || s.core.ledger.Fits(&s.row, plan.Missing())) {
		return borrow
	}
	s.lend(t, t.choose(s.offers(nil, t.own(s), s.core.now())))
	return t.borrowed()
}

// hits serves all sizes from the cache, or none.
func (s *Stream) hits(sizes []int64) []*streams.Block {
	blks := make([]*streams.Block, 0, len(sizes))
	for _, size := range sizes {
		blk := s.heap.Malloc(s.heap.Round(size), size)
		if blk == nil {
			for _, b := range blks {
				s.heap.Discard(b)
			}
			return nil
		}
		blks = append(blks, blk)
	}
	return blks
}

// plan claims a place for the ticket's next size. Nil without an error: it was
// answered.
func (s *Stream) plan(t *ticket) (*streams.Plan, error) {
	size := t.sizes[len(t.entered)]
	rounded := s.heap.Round(size)
	switch {
	case t.grow.h != nil:
		return s.planGrow(t, size, rounded)
	case t.room > 0:
		p := s.heap.PlanRoom(rounded, size, t.room)
		if p == nil {
			return nil, fmt.Errorf("room of %d bytes: %w: the device can't keep address space without memory", t.room, ErrUnsupported)
		}
		return p, nil
	case len(t.sizes) > 1:
		return s.heap.PlanFit(rounded, size), nil
	}
	return s.heap.Plan(rounded, size), nil
}

func (s *Stream) planGrow(t *ticket, size, rounded int64) (*streams.Plan, error) {
	blk := t.grow.block()
	if blk.Gen() == t.grow.gen {
		blk.Pin()
	}
	switch {
	case blk.Gen() != t.grow.gen: // a Free that saw no pin has been before
		return nil, ErrDoubleFree
	case size < blk.Requested(): // by another copy of the buffer
		return nil, fmt.Errorf("size %d: %w: the buffer has grown to %d", size, ErrInvalidSize, blk.Requested())
	case rounded == blk.Size():
		s.heap.Resize(blk, size)
		s.settle(ledger.Change{})
		s.deliver(t, []*streams.Block{blk})
		return nil, nil
	case s.growing[blk]:
		return nil, fmt.Errorf("%w: another Grow is under way", ErrBusy)
	}
	p := s.heap.PlanGrow(blk, t.grow.gen, rounded, size)
	if p == nil {
		return nil, ErrNoRoom
	}
	if s.growing == nil {
		s.growing = map[*streams.Block]bool{}
	}
	s.growing[blk] = true
	return p, nil
}

// commit is a size's last stage when the device has done its part.
func (s *Stream) commit(t *ticket) stage {
	plan := t.plan
	t.plan = nil
	s.plans--
	fresh := s.core.info.Zeroed && plan.Fresh() && t.work.moved == 0
	t.fresh = fresh && (t.fresh || len(t.entered) == 0)
	plan.Enter(t.work.rng, t.work.pages)
	t.entered = append(t.entered, plan)
	arrived := t.work.moved + t.work.created
	s.settle(ledger.Change{FromPool: arrived, Coming: -arrived})
	t.work = work{}
	switch {
	case len(t.entered) < len(t.sizes):
		return look
	case t.grow.h != nil && s.core.alwaysZero:
		t.plan, t.entered = plan, nil
		return wipe
	}
	return s.handAll(t)
}

// hand is the last stage of a Grow that had to be zeroed.
func (s *Stream) hand(t *ticket) stage {
	t.entered, t.plan = append(t.entered, t.plan), nil
	return s.handAll(t)
}

// handAll makes live what the ticket has entered.
func (s *Stream) handAll(t *ticket) stage {
	blks := make([]*streams.Block, 0, len(t.entered))
	for _, p := range t.entered {
		if blk := p.HandOut(); blk != nil {
			blks = append(blks, blk)
		}
	}
	t.entered = nil
	if t.grow.h != nil {
		return s.grown(t, blks)
	}
	return s.handOver(t, blks)
}

// grown ends a Grow.
func (s *Stream) grown(t *ticket, blks []*streams.Block) stage {
	delete(s.growing, t.grow.block())
	if len(blks) == 0 { // it was freed meanwhile: what it grew by is cache
		s.excess(t, ledger.Change{Misses: misses(t)})
		return s.answer(t, ErrDoubleFree)
	}
	s.settle(ledger.Change{Misses: misses(t), Grew: true})
	s.deliver(t, blks)
	return done
}

func misses(t *ticket) int64 {
	if t.missed {
		return 1
	}
	return 0
}

// handOver gives the blocks to whoever asked; if nobody wants them any more they
// go to the cache.
func (s *Stream) handOver(t *ticket, blks []*streams.Block) stage {
	s.taken = blks
	c := ledger.Change{Mallocs: int64(len(blks)), Misses: misses(t)}
	if s.closed.Load() {
		s.answer(t, ErrClosed)
	}
	if !s.deliver(t, blks) {
		for _, b := range blks {
			s.heap.Discard(b)
		}
		c.Mallocs = 0
	}
	s.taken = nil
	s.excess(t, c)
	return done
}

// excess books the change, and has the ticket give back what may not stay.
func (s *Stream) excess(t *ticket, c ledger.Change) {
	excess := s.settle(c)
	switch {
	case s.closed.Load():
		t.give = append(t.give, s.surrender()...)
	case excess > 0:
		t.give = append(t.give, s.trim(excess)...)
	}
}

// deliver answers with buffers, unless the ticket was answered or abandoned.
func (s *Stream) deliver(t *ticket, blks []*streams.Block) bool {
	if !t.state.CompareAndSwap(waiting, answered) {
		return false
	}
	t.err = nil // of an earlier try
	t.bufs = make([]Buffer, len(blks))
	for i, b := range blks {
		t.bufs[i] = s.buffer(b, t.sizes[i])
		if t.grow.h != nil { // it may have been freed meanwhile: b.Gen() is the next life's
			t.bufs[i].gen = t.grow.gen
		}
		if t.grow.h == nil { // it stays where it was asked for
			s.noteSite(b, t.site)
		}
	}
	return true
}

// answer ends a ticket without a buffer.
func (s *Stream) answer(t *ticket, err error) stage {
	if err != nil && t.state.CompareAndSwap(waiting, answered) {
		e := s.core.fail(t.op, s, t.total(), err)
		if refused(err) {
			s.core.ledger.Refused(&s.row)
			e.explain(t.short)
		}
		t.err = e
	}
	return done
}

// abort is a ticket's last stage when the limit or the device has said no; or
// its first again, if only now caches are swept or the program is asked.
func (s *Stream) abort(t *ticket) stage {
	next := refuse
	switch {
	case t.again:
		t.again = false
		next = look
	case t.mayPress():
		next = press
	case t.mayInquire():
		s.explain(t)
		next = explain
	}
	s.drop(t)
	if next == refuse { // in the same turn
		return s.answer(t, t.err)
	}
	return next
}

// drop gives back the places that the ticket has claimed.
func (s *Stream) drop(t *ticket) {
	if t.plan != nil {
		t.plan.Abort()
		s.plans--
	}
	for _, p := range t.entered {
		p.Abort()
	}
	t.plan, t.entered = nil, nil
	delete(s.growing, t.grow.block())
	s.excess(t, ledger.Change{})
	if t.failed && s.heap.Parting() {
		s.stranded = true
		s.watch()
	}
}
