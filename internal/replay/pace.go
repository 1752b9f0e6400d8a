package replay

import (
	"context"
	"math"
	"sync/atomic"
)

// pace keeps goroutines, each with events of its own in growing order, near each
// other. Events are given by their place in the history.
type pace struct {
	window  int64
	runners []runner
}

type runner struct {
	next  atomic.Int64  // its first event not yet done; written by itself alone
	wants atomic.Int64  // it sleeps until others are there; finished: awake
	wake  chan struct{} // one token: others may be there
	seen  int64         // its own: a least() that it saw
	_     [128]byte     // runners keep off each other's cache lines
}

// finished is the place behind all events.
const finished = math.MaxInt64

func newPace(n int, window int64) *pace {
	p := &pace{window: window, runners: make([]runner, n)}
	for i := range p.runners {
		p.runners[i].wants.Store(finished)
		p.runners[i].wake = make(chan struct{}, 1)
	}
	return p
}

// least is the first event not yet done by anybody.
func (p *pace) least() int64 {
	least := int64(finished)
	for i := range p.runners {
		least = min(least, p.runners[i].next.Load())
	}
	return least
}

// advance says that a runner has done all its events before next.
func (p *pace) advance(runner int, next int64) {
	before := p.runners[runner].next.Swap(next)
	for i := range p.runners {
		// Who sleeps has said what it wants and then looked at next once more, so
		// either it saw this step or its wish is seen here.
		if wants := p.runners[i].wants.Load(); before < wants && wants <= next {
			select {
			case p.runners[i].wake <- struct{}{}:
			default: // it has a token already
			}
		}
	}
}

// keep waits until a runner's next event is inside the window. The error is
// ctx's.
func (p *pace) keep(ctx context.Context, runner int) error {
	r := &p.runners[runner]
	next := r.next.Load()
	if next-r.seen > p.window {
		r.seen = p.least()
	}
	if next-r.seen <= p.window {
		return ctx.Err()
	}
	// Once asleep, sleep until half the window is free: waking takes longer than
	// most events.
	target := next - p.window/2
	return p.sleep(ctx, r, target, func() bool {
		r.seen = p.least()
		return r.seen >= target
	})
}

// await waits until another runner has done all its events before place.
func (p *pace) await(ctx context.Context, runner, other int, place int64) error {
	next := &p.runners[other].next
	if next.Load() >= place {
		return ctx.Err()
	}
	return p.sleep(ctx, &p.runners[runner], place, func() bool { return next.Load() >= place })
}

func (p *pace) sleep(ctx context.Context, r *runner, place int64, ready func() bool) error {
	r.wants.Store(place)
	defer r.wants.Store(finished)
	for !ready() {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
