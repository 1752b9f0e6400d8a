package actors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// supervisor owns what is global: the ledger's totals, the limits, the list of
// streams. Its turns are short and never wait for a stream or the device.
type supervisor struct {
	shell
	streams map[uint64]*Stream // open ones, and closed ones that still hold memory
}

func (p *supervisor) start(c *Core) {
	p.streams = map[uint64]*Stream{}
	p.init(c)
	p.spawn((*supervisorActor)(p))
}

// admit adds a stream that is about to be opened.
func (p *supervisor) admit(s *Stream) error {
	if p.core.closing.Load() {
		return fmt.Errorf("new stream %q: %w", s.name, ErrClosed)
	}
	p.streams[s.id] = s
	p.core.ledger.open(s.row)
	return nil
}

// byCache lists the streams, the largest cache first; streams without cache are
// left out unless all is set.
func (p *supervisor) byCache(all bool) []*Stream {
	type holding struct {
		s     *Stream
		cache int64
	}
	var hs []holding
	l := &p.core.ledger
	l.mu.Lock()
	for _, s := range p.streams {
		if n := s.row.heap.Cache; n > 0 || all {
			hs = append(hs, holding{s, n})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(hs, func(a, b holding) int {
		return cmp.Or(cmp.Compare(b.cache, a.cache), cmp.Compare(a.s.id, b.s.id))
	})
	ss := make([]*Stream, len(hs))
	for i, h := range hs {
		ss[i] = h.s
	}
	return ss
}

// promise is a ticket's second stage: may the process grow?
func (p *supervisor) promise(t *ticket) stage {
	need := t.plan.Missing() - t.work.moved
	v := p.core.ledger.grow(t.stream.row, need, p.core.policy, t.askedOwn, t.asked)
	switch {
	case v.ok:
		t.promised = need
		return serve
	case v.reclaim > 0:
		t.sweep = v.reclaim
		if v.own {
			t.askedOwn, t.sweepOver = true, []*Stream{t.stream}
		} else {
			t.asked, t.sweepOver = true, p.byCache(false)
		}
		return promise
	}
	if v.leaving > 0 && v.leaving != t.leaving { // the same again: the device won't have it
		t.leaving = v.leaving
		return settleUp
	}
	t.failed = true
	t.err = fmt.Errorf("%w: %d more bytes from the device would take reserved %d over the %s limit",
		ErrLimitExceeded, need, v.over, v.whose)
	return undo
}

// book enters what the metal actor has done. When the device was full, the
// caches are swept and the ticket tries once more.
func (p *supervisor) book(t *ticket) stage {
	l := &p.core.ledger
	coming := t.work.created
	if t.failed {
		coming = -t.work.moved
	}
	l.arrived(t.stream.row, t.promised, t.work.created, coming)
	t.promised = 0
	if !t.failed {
		return commit
	}
	l.left(t.work.released)
	if errors.Is(t.err, ErrOutOfMemory) && !t.swept {
		t.askedOwn, t.asked, t.swept, t.again = true, true, true, true
		t.sweep, t.sweepOver = everything, p.byCache(false)
	}
	return abort
}
