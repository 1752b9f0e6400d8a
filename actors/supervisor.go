package actors

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/metalloc/metalloc/actors/ledger"
)

// supervisor owns what is global: the ledger's totals, the limits, the list of
// streams. Its turns are short and never wait for a stream or the device.
type supervisor struct {
	shell
	streams  map[uint64]*Stream // open ones, and closed ones that still hold memory
	spans    map[uint64]*span   // open ones
	lastSpan uint64
}

func (p *supervisor) start(c *Core) {
	p.streams = map[uint64]*Stream{}
	p.init(c, nil, nil)
	p.spawn((*supervisorActor)(p))
}

// admit adds a stream that is about to be opened.
func (p *supervisor) admit(s *Stream, l StreamLimits) error {
	if p.core.closing.Load() {
		return fmt.Errorf("new stream %q: %w", s.name, ErrClosed)
	}
	p.streams[s.id] = s
	p.core.ledger.Open(&s.row, ledger.Owner{ID: s.id, Name: s.name, Tag: s.tag})
	p.core.ledger.SetMemoryLimitOf(&s.row, l.Memory)
	p.core.ledger.SetCacheLimitOf(&s.row, l.Cache)
	return nil
}

// caches lists all streams by age, and what each has cached at one instant.
func (p *supervisor) caches() (ss []*Stream, cached []int64) {
	ss = slices.SortedFunc(maps.Values(p.streams), func(a, b *Stream) int { return cmp.Compare(a.id, b.id) })
	rows := make([]*ledger.Row, len(ss))
	for i, s := range ss {
		rows[i] = &s.row
	}
	return ss, p.core.ledger.Cached(rows)
}

// cached lists the streams with a cache of at least that many bytes.
func (p *supervisor) cached(least int64) []*Stream {
	ss, caches := p.caches()
	n := 0
	for i, cache := range caches {
		if cache >= least {
			ss[n] = ss[i]
			n++
		}
	}
	return ss[:n]
}

// byCache lists the streams, the largest cache first; streams without cache are
// left out unless all is set.
func (p *supervisor) byCache(all bool) []*Stream {
	ss, caches := p.caches()
	cached := map[*Stream]int64{}
	for i, n := range caches {
		cached[ss[i]] = n
	}
	slices.SortStableFunc(ss, func(a, b *Stream) int { return cmp.Compare(cached[b], cached[a]) })
	if !all {
		ss = slices.DeleteFunc(ss, func(s *Stream) bool { return cached[s] <= 0 })
	}
	return ss
}

// maxSweeps: so often a ticket has the caches swept again, because others took the
// room that was made, or freed memory behind the sweep's back, before it is refused.
const maxSweeps = 100

// promise is a ticket's second stage: may the process grow?
func (p *supervisor) promise(t *ticket) stage {
	need := t.plan.Missing() - t.work.moved // not positive: only the stream's own limit has a say
	v := p.core.ledger.Grow(&t.stream.row, need, p.core.policy == Guide, t.askedOwn, t.asked)
	switch {
	case v.OK:
		t.promised = max(0, need)
		return serve
	case v.Reclaim > 0:
		t.sweep = v.Reclaim
		if v.Own {
			t.askedOwn, t.sweepOver = true, []*Stream{t.stream}
		} else {
			t.asked, t.sweepOver = true, p.byCache(false)
		}
		return promise
	}
	if v.Cache > 0 && t.sweeps < maxSweeps && (v.Cache != t.cached || t.gathered > 0) {
		t.sweeps++
		t.cached, t.gathered = v.Cache, 0
		t.sweep, t.sweepOver = v.Over, p.byCache(false)
		return promise
	}
	if v.Leaving > 0 && v.Leaving != t.leaving { // the same again: the device won't have it
		t.leaving = v.Leaving
		return settleUp
	}
	t.failed, t.err = true, p.refuseOver(t, need, v.Over, v.Whose, v.Own)
	return undo
}

// book enters what the metal actor has done. When the device was full, the
// caches are swept and the ticket tries once more.
func (p *supervisor) book(t *ticket) stage {
	l := p.core.ledger
	coming := t.work.created
	if t.failed {
		coming = -t.work.moved
	}
	l.Arrived(&t.stream.row, t.promised, t.work.created, coming)
	t.promised = 0
	p.served(t)
	if !t.failed {
		return commit
	}
	p.left(t.work.released)
	if errors.Is(t.err, ErrOutOfMemory) && !t.swept {
		t.askedOwn, t.asked, t.swept, t.again = true, true, true, true
		t.sweep, t.sweepOver = everything, p.byCache(false)
	} else if refused(t.err) && t.short == nil {
		p.refusedByDevice(t)
	}
	if errors.Is(t.err, errLingers) && !t.late {
		t.late, t.again = true, true
	}
	return abort
}
