package actors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/metalloc/metalloc/streams"
)

// inquiry asks the streams that hold most what they hold, and why it could not
// serve, for a ticket that is refused: one turn each, before the caller is told.
type inquiry struct {
	opBase
	t       *ticket
	listed  bool
	streams []*Stream
	next    int
}

const (
	mostHolders = 16 // that an inquiry visits
	mostGroups  = 3  // of live buffers that it tells per stream
	// retell: so long an inquiry's answer counts as known.
	retell = time.Second
)

// told is when the holders were told last, and how much was reserved.
type told struct {
	mu       sync.Mutex
	ever     bool
	at       time.Duration // by Core.clock
	reserved int64
}

// due reports whether they are to be told, and notes that they are.
func (w *told) due(now time.Duration, reserved int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ever && now-w.at < retell && reserved <= w.reserved {
		return false
	}
	w.ever, w.at, w.reserved = true, now, reserved
	return true
}

// mayInquire says whether somebody wants to know what holds the memory.
func (t *ticket) mayInquire() bool {
	return refused(t.err) && t.short != nil && t.state.Load() == waiting &&
		t.core.told.due(t.core.clock.Now(), t.short.Reserved)
}

func refused(err error) bool {
	return errors.Is(err, ErrLimitExceeded) || errors.Is(err, ErrOutOfMemory)
}

// inquire lets the ticket go on with its refusal when the streams were asked.
func (t *ticket) inquire(mayEnter bool) {
	q := &inquiry{t: t}
	q.self = q
	q.hop(mayEnter)
}

func (q *inquiry) step() {
	if !q.listed {
		q.listed = true
		q.streams = q.t.core.sup.largest(q.t)
		return
	}
	s := q.streams[q.next]
	q.next++
	q.t.give = append(q.t.give, s.poll()...)
	q.t.short.Held = append(q.t.short.Held, s.holding())
}

// broke: a turn panicked; the others are asked all the same.
func (q *inquiry) broke(error) {}

func (q *inquiry) hop(mayEnter bool) {
	switch {
	case q.t.state.Load() != waiting || q.listed && q.next == len(q.streams):
		slices.SortStableFunc(q.t.short.Held, func(a, b Holding) int { return cmp.Compare(b.reserved(), a.reserved()) })
		q.t.stage = refuse
		q.t.hop(mayEnter)
	case !q.listed:
		q.t.core.sup.send(q, mayEnter)
	default:
		q.streams[q.next].send(q, mayEnter)
	}
}

// largest lists the streams to ask beside the ticket's own, and notes how many are
// left out.
func (p *supervisor) largest(t *ticket) (ss []*Stream) {
	if t.short.own {
		return nil
	}
	for _, h := range p.core.ledger.Holders() {
		switch s := p.streams[h.ID]; {
		case s == t.stream:
		case s != nil && len(ss) < mostHolders-1:
			ss = append(ss, s)
		default:
			t.short.Others++
			t.short.OthersHold += h.Reserved
		}
	}
	return ss
}

// explain begins the inquiry with the ticket's own stream, while it still has its
// place there.
func (s *Stream) explain(t *ticket) {
	h := s.holding()
	h.Asked = true
	t.short.Held = []Holding{h}
}

// holding is what the stream holds now.
func (s *Stream) holding() Holding {
	s.pass()
	f, held := s.heap.Figures(), s.heap.Held()
	h := Holding{
		Stream: s.name, StreamID: s.id, Closed: s.closed.Load(),
		Active: f.Active, Cache: f.Cache, Slack: f.Slack,
		Queued: held.Queued, Shared: held.Shared, Large: held.Large, Claimed: held.Claimed, Free: held.Free,
	}
	for b := range s.heap.LiveBlocks() {
		h.Buffers++
		h.Largest = group(h.Largest, b, s.sites[b])
	}
	return h
}

// group counts the block among the largest, if it is one. A group that has had to
// make room never comes back: it is no larger than those that are left.
func group(gs []LiveGroup, b *streams.Block, site *Site) []LiveGroup {
	at := len(gs)
	for i, g := range gs {
		if g.Size == b.Requested() && sameSite(g.Site, site) {
			gs[i].Count++
			return gs
		}
		if at == len(gs) && g.Size < b.Requested() {
			at = i
		}
	}
	if at == mostGroups {
		return gs
	}
	if len(gs) < mostGroups {
		gs = append(gs, LiveGroup{})
	}
	copy(gs[at+1:], gs[at:])
	gs[at] = LiveGroup{b.Requested(), 1, site}
	return gs
}

func sameSite(a, b *Site) bool { return a == b || a != nil && b != nil && *a == *b }

// refuseOver ends a ticket's hope: need more bytes would pass a limit by over.
func (p *supervisor) refuseOver(t *ticket, need, over int64, whose string, own bool) error {
	b := p.core.ledger.Budget(&t.stream.row, own)
	t.short = &Shortage{
		Limit: b.Limit, Over: over, Need: need, own: own,
		Reserved: b.Reserved, Active: b.Active, Cache: b.Cache, Slack: b.Slack,
		Gathered: t.work.moved, Coming: b.Coming - t.work.moved, Leaving: b.Leaving, Promised: b.Promised,
	}
	return fmt.Errorf("%w: %s more would pass the %s limit of %s by %s",
		ErrLimitExceeded, sizeText(need), whose, sizeText(b.Limit), sizeText(over))
}

// refusedByDevice notes how things stand when the device gives no more.
func (p *supervisor) refusedByDevice(t *ticket) {
	b := p.core.ledger.Budget(&t.stream.row, false)
	t.short = &Shortage{
		Need: t.plan.Missing(), Reserved: b.Reserved, Active: b.Active, Cache: b.Cache, Slack: b.Slack,
		Coming: b.Coming, Leaving: b.Leaving, Promised: b.Promised,
	}
}
