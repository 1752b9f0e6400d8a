package actors

import (
	"slices"

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
		g.stage, g.next = ask, 0
	case ask:
		s := g.streams[g.next]
		n := len(g.offers)
		g.t.give = append(g.t.give, s.poll()...)
		g.offers = s.offers(g.offers)
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
		g.t.stage = g.t.borrowed()
		g.t.hop(mayEnter)
	}
}

// choose picks the pages to take, stream by stream.
func (g *borrowing) choose() {
	offers := g.offers
	g.offers = streams.Choose(offers, g.t.gaps())
	g.t.work.left = streams.Offered(offers[len(g.offers):])
	g.wanted = g.t.work.moved
	for _, o := range g.offers {
		g.wanted += o.Size
	}
	slices.SortStableFunc(g.offers, func(a, b streams.Offer) int { return a.From - b.From })
	g.stage = collect
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
// the device.
func (t *ticket) borrowed() stage {
	if t.work.moved >= t.plan.Missing() {
		return serve
	}
	return promise
}

// lenders lists the streams that may have free pages.
func (p *supervisor) lenders() []*Stream { return p.byCache(false) }
