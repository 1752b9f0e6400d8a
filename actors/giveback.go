package actors

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors/idle"
	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/metal"
)

// DefaultIdle as a time: free memory goes back to the device when it was not needed
// for a while, which adapts (see package idle).
const DefaultIdle time.Duration = math.MinInt64

// giver gives free memory back that nobody has needed for a while. Package idle
// decides what; here is who asks, and when: a timer, that is there only while
// something may be idle. When nothing is, each stream tells, by a free that takes
// its cache to a page's size (ledger.Ring), that this has changed.
type giver struct {
	on    bool
	meter metal.Meter // nil: the device has none

	// The supervisor's.
	log      idle.Log
	patience *idle.Patience
	clears   idle.Clears
	spent    int64       // time in device calls when the clears that may be a loop began, ns
	stop     func() bool // of the timer; nil: there is none
	over     bool        // Close has begun

	asleep atomic.Bool // streams are to tell when they have something cached
}

func (g *giver) open(c *Core, after time.Duration) error {
	switch {
	case after == DefaultIdle:
		after = 0
	case after < 0:
		return fmt.Errorf("idle release %v: %w: expected a time ≥ 0 or DefaultIdle", after, ErrInvalidSize)
	case after == 0:
		return nil
	}
	_, timeless := c.clock.(*stepClock)
	g.on = !timeless
	g.patience = idle.NewPatience(after)
	g.meter, _ = c.dev.(metal.Meter)
	return nil
}

// arm sets the timer, if none is set.
func (p *supervisor) arm() {
	g := &p.core.giver
	if !g.on || g.over || g.stop != nil {
		return
	}
	if g.asleep.Swap(false) {
		p.core.ledger.Ring(p.rows(), NoLimit)
	}
	g.stop = p.core.clock.AfterFunc(g.patience.Next(), p.core.look)
}

// rest ends the present look: the timer is set anew, or nothing is idle and whoever
// has something is to tell.
func (p *supervisor) rest() {
	g, rows, least := &p.core.giver, p.rows(), p.core.leastPage()
	some := func() bool { return slices.Max(append(p.core.ledger.Cached(rows), 0)) >= least }
	g.stop = nil
	if !g.over && !some() {
		g.asleep.Store(true)
		p.core.ledger.Ring(rows, least-1)
		if !some() { // looked at last: a free that comes later rings
			return
		}
	}
	p.arm()
}

// disarm ends it for good: Close has begun.
func (p *supervisor) disarm() {
	g := &p.core.giver
	g.over = true
	g.asleep.Store(false)
	if g.stop != nil {
		g.stop()
	}
}

// rows are those of all streams.
func (p *supervisor) rows() []*ledger.Row {
	rows := make([]*ledger.Row, 0, len(p.streams))
	for _, s := range p.streams {
		rows = append(rows, &s.row)
	}
	return rows
}

// supervise runs f in the supervisor's turn and returns when it has run.
func (c *Core) supervise(f func(*supervisor)) {
	k := c.newCall(func(k *call) { f(&k.at.core.sup) })
	defer c.freeCall(k)
	c.sup.do(k)
}

// look is the timer's: it asks all streams what is free and gives back what has been
// idle for long enough. It runs on the timer's goroutine, which Close waits for; each
// stream is visited in a turn of its own, and no turn is held meanwhile.
func (c *Core) look() {
	c.begin()
	defer c.end()
	if c.closing.Load() {
		return
	}
	defer c.supervise((*supervisor).rest)
	shares := c.askIdle()
	if c.short(shares) {
		s := c.awaitSweep(c.holders(false), sweepPages, everything)
		c.log.Info("gave caches back: others have taken most of the device", zap.Int64("released", s.released))
		return
	}
	var rs runs
	c.supervise(func(p *supervisor) { p.decide(shares) })
	for _, sh := range shares {
		if sh.give > 0 {
			rs = append(rs, c.visit(sh.stream, func(s *Stream) runs { return s.giveIdle(sh.give) })...)
		}
	}
	c.await(rs)
}

// portion is one stream's in a look.
type portion struct {
	stream *Stream
	free   []idle.Amount // the oldest first; not to be changed
	give   int64         // bytes of it to give back
}

// askIdle asks the streams that have a page's worth of cache what is free.
func (c *Core) askIdle() []portion {
	var shares []portion
	c.supervise(func(p *supervisor) {
		for _, s := range p.cached(c.leastPage()) {
			shares = append(shares, portion{stream: s})
		}
	})
	for i := range shares {
		c.await(c.visit(shares[i].stream, func(s *Stream) (rs runs) {
			shares[i].free, rs = s.idleNow()
			return rs
		}))
	}
	return shares
}

// visit runs f in the stream's turn; what it returns has left the stream.
func (c *Core) visit(s *Stream, f func(*Stream) runs) runs {
	k := c.newCall(func(k *call) { k.runs = f(k.stream) })
	defer c.freeCall(k)
	k.stream = s
	s.do(k)
	return k.runs
}

// decide says how much of its free memory each stream gives back: what was freed
// first goes first, wherever it is.
func (p *supervisor) decide(shares []portion) {
	type part struct {
		idle.Amount
		of *portion
	}
	var parts []part
	for i := range shares {
		for _, a := range shares[i].free {
			parts = append(parts, part{a, &shares[i]})
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.Since, b.Since) })
	free := make([]idle.Amount, len(parts))
	for i, pt := range parts {
		free[i] = pt.Amount
	}
	g, now := &p.core.giver, p.core.now()
	v := g.log.Look(now, g.patience.Now(), free)
	g.patience.Looked(now, v.Reused)
	if v.Give > 0 {
		g.patience.Gave(v.Since, v.Give)
	}
	for _, pt := range parts {
		n := min(pt.Bytes, v.Give)
		pt.of.give += n
		v.Give -= n
	}
}

// served tells what a miss took, and how much that left, when the metal actor has
// done its part.
func (p *supervisor) served(t *ticket) {
	g := &p.core.giver
	if t.plan.Segment == 0 { // segments don't move
		g.log.Moved(amounts(t.work.lent), t.work.left)
	}
	if t.work.created > 0 && !t.failed {
		now := p.core.now()
		if g.on {
			g.patience.Grew(now, t.work.created)
		}
		p.hint(now)
	}
	p.arm()
}

// left books n bytes that no stream has as given back to the device.
func (p *supervisor) left(n int64) {
	p.core.ledger.Left(n)
	p.core.giver.log.Left(n)
}

// hint tells a program, once, that it clears its cache in a loop.
func (p *supervisor) hint(now int64) {
	g := &p.core.giver
	h, first, ok := g.clears.Grew(now)
	if first {
		g.spent = p.core.metal.driverTime()
	}
	if ok {
		p.core.log.Warn("ClearCache in a loop: what it gives back is taken again at once. "+
			"Idle memory goes back by itself (WithIdleRelease)",
			zap.Int("calls", h.Calls), zap.Duration("within", h.Within), zap.Int64("released", h.Released),
			zap.Duration("device calls took", time.Duration(p.core.metal.driverTime()-g.spent)))
	}
}

// short tells whether others have grown so much that what is free should be theirs
// at once: less than a twentieth of the device is left, and they hold as much or more.
// Where only we do, giving back helps nobody.
func (c *Core) short(shares []portion) bool {
	if c.giver.meter == nil || !slices.ContainsFunc(shares, func(s portion) bool { return len(s.free) > 0 }) {
		return false
	}
	u, err := usage(c.giver.meter)
	if err != nil {
		c.log.Warn("device doesn't tell its usage", zap.Error(err))
		return false
	}
	reserve := c.info.Memory / 20
	return u.Available >= 0 && u.Available < reserve && c.info.Memory-u.Available-u.Taken >= reserve
}

func usage(m metal.Meter) (u metal.Usage, err error) {
	defer catch(&err)
	return m.Usage()
}
