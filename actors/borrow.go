package actors

import (
	"slices"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/streams"
)

// borrowing finds free pages for a ticket, wherever they lie: before the device is
// asked for more, every stream is. Nobody is interrupted and no two turns are held
// at a time: the supervisor names the streams, each of them tells in its own turn
// which pages it could give up and since when they are free, and those that give
// some are visited again. In between pages may find another use; then the rest is
// looked for once more.
type borrowing struct {
	opBase
	t     *ticket
	stage borrowStage
	round int
	now   int64 // the same for all who are asked, so that ages compare

	streams []*Stream
	next    int
	offers  []streams.Offer // chosen ones once stage is collect
	wanted  int64           // bytes that these hold
}

type borrowStage uint8

const (
	survey borrowStage = iota
	ask
	collect
	lent
)

// maxRounds bounds how often a ticket asks everybody.
const maxRounds = 3

// borrowFor asks every stream for what the ticket misses, then lets it go on.
func (c *Core) borrowFor(t *ticket, mayEnter bool) {
	g := &borrowing{t: t}
	g.self = g
	g.hop(mayEnter)
}

func (g *borrowing) step() {
	switch g.stage {
	case survey:
		g.streams = g.t.core.sup.lenders()
		g.stage, g.next, g.now = ask, 0, g.t.core.now()
	case ask:
		s := g.streams[g.next]
		n := len(g.offers)
		g.t.give = append(g.t.give, s.poll()...)
		g.offers = s.offers(g.offers, g.t.own(s), g.now)
		for i := n; i < len(g.offers); i++ {
			g.offers[i].From = g.next
		}
		g.next++
	case collect:
		from := g.offers[0].From
		n := 1
		for n < len(g.offers) && g.offers[n].From == from {
			n++
		}
		chosen := g.offers[:n]
		g.offers = g.offers[n:]
		g.streams[from].lend(g.t, chosen)
	}
}

// broke: a turn panicked; the others are asked all the same.
func (g *borrowing) broke(error) {
	switch g.stage {
	case survey:
		g.stage = lent
	case ask:
		g.next++
	}
}

func (g *borrowing) hop(mayEnter bool) {
	if g.stage == ask && g.next == len(g.streams) {
		g.choose()
	}
	if g.stage == collect && len(g.offers) == 0 {
		g.stage = lent
		if g.t.work.moved < g.wanted && g.round < maxRounds {
			g.stage = survey
		}
	}
	switch g.stage {
	case survey:
		g.round++
		g.t.core.sup.send(g, mayEnter)
	case ask:
		g.streams[g.next].send(g, mayEnter)
	case collect:
		g.streams[g.offers[0].From].send(g, mayEnter)
	case lent:
		for _, s := range g.streams {
			if s.gone.Load() { // closed, and that may have been the last it had
				s.core.background(func() { s.core.retire(s) })
			}
		}
		g.t.stage = g.t.borrowed()
		g.t.hop(mayEnter)
	}
}

// choose picks the pages to take, stream by stream.
func (g *borrowing) choose() {
	g.offers = g.t.choose(g.offers)
	g.wanted = g.t.work.moved
	for _, o := range g.offers {
		g.wanted += o.Size
	}
	slices.SortStableFunc(g.offers, func(a, b streams.Offer) int { return a.From - b.From })
	g.stage = collect
}

// choose picks the free pages, or segments, that the ticket takes.
func (t *ticket) choose(offers []streams.Offer) (chosen []streams.Offer) {
	if t.plan.Segment > 0 {
		chosen = streams.ChooseSegment(offers, t.plan.Segment-t.work.moved)
	} else {
		chosen = streams.Choose(offers, t.gaps())
	}
	t.work.left = streams.Offered(offers[len(chosen):])
	return chosen
}

// gaps are the sizes of what the ticket's place still misses.
func (t *ticket) gaps() []int64 {
	pages := make([]streams.Page, 0, len(t.work.moves))
	for _, l := range t.work.moves {
		pages = append(pages, l.Pages...)
	}
	spans := t.work.spans
	if len(spans) == 0 {
		spans = runs{{Size: t.plan.Missing()}}
	}
	return streams.Gaps(spans, pages)
}

// borrowed goes on with what there is: only what is still missing has to come from
// the device. The stream's own limit counts what others have lent as well.
func (t *ticket) borrowed() stage {
	missing := t.plan.Missing()
	limit, _ := t.core.ledger.LimitsOf(&t.stream.row)
	if t.work.own >= missing || t.work.moved >= missing && limit == NoLimit {
		return serve
	}
	return promise
}

// own reports whether pages can move early from the stream to the ticket's place.
func (t *ticket) own(s *Stream) bool { return t.stream == s && !t.late }

// lenders lists the streams that may have free pages.
func (p *supervisor) lenders() []*Stream { return p.byCache(false) }

// offers adds what the stream could give up now to the list; own: to itself.
func (s *Stream) offers(list []streams.Offer, own bool, now int64) []streams.Offer {
	s.pass()
	s.heap.Note(now)
	return s.heap.Offers(list, own)
}

// lend sends free pages of the stream on their way to a ticket's place.
func (s *Stream) lend(t *ticket, offers []streams.Offer) {
	rs := s.heap.TakeOffered(offers, t.own(s))
	n := streams.SizeOf(rs)
	t.work.lent = append(t.work.lent, offers...)
	s.settle(ledger.Change{FromPool: -n, Coming: n, For: &t.stream.row})
	t.work.moves = append(t.work.moves, s.core.metal.leave(rs, true)...)
	t.work.moved += n
	if t.stream == s {
		t.work.own += n
	}
}
