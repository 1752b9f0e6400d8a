package actors

import (
	"slices"

	"github.com/metalloc/metalloc/actors/idle"
	"github.com/metalloc/metalloc/streams"
)

// This file is what a stream does in its turn so that idle memory goes back.

// ring tells that a stream has something cached. It is called in the stream's turn,
// when a free has found more than it was to.
func (s *Stream) ring() {
	c := s.core
	if c.giver.asleep.Load() && s.heap.Figures().Cache >= c.leastPage() && c.giver.asleep.CompareAndSwap(true, false) {
		c.background(func() {
			c.supervise(func(p *supervisor) {
				c.ledger.Ring(p.rows(), NoLimit)
				p.arm()
			})
		})
	}
}

// idleState is what a stream told of its free pages, and what it must not have
// changed to tell the same.
type idleState struct {
	clock, passed uint64
	figures       streams.Figures
	free          []idle.Amount
}

// idleNow tells what the stream could give up, by when it was freed. A stream that
// has done nothing since it was asked last is not searched again.
func (s *Stream) idleNow() (free []idle.Amount, give runs) {
	give = s.poll()
	s.pass()
	s.heap.Note(s.core.now())
	now := idleState{clock: s.heap.Clock(), passed: s.heap.Passed(), figures: s.heap.Figures(), free: s.idle.free}
	if now.clock != s.idle.clock || now.passed != s.idle.passed || now.figures != s.idle.figures {
		now.free = amounts(s.heap.Offers(nil, false))
	}
	s.idle = now
	return now.free, give
}

// amounts sums offers by age, the oldest first.
func amounts(offers []streams.Offer) (as []idle.Amount) {
	streams.OldestFirst(offers)
	for _, o := range offers {
		if n := len(as); n > 0 && as[n-1].Since == o.Since {
			as[n-1].Bytes += o.Size
		} else {
			as = append(as, idle.Amount{Since: o.Since, Bytes: o.Size})
		}
	}
	return as
}

// giveIdle gives up to n bytes of free pages, those that were freed first.
func (s *Stream) giveIdle(n int64) runs {
	offers := s.offers(nil, false, s.core.now())
	streams.OldestFirst(offers)
	rs := s.heap.TakeOffered(slices.DeleteFunc(offers, func(o streams.Offer) bool {
		if n < o.Size {
			return true
		}
		n -= o.Size
		return false
	}), false)
	s.leave(rs)
	return rs
}
