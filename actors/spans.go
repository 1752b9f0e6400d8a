package actors

import (
	"context"
	"fmt"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/telemetry"
)

// span is an open one; it belongs to the supervisor.
type span struct {
	name   string
	before int64
	point  ledger.Point
}

// beginSpan opens a span, in the supervisor's turn.
func (p *supervisor) beginSpan(name string) (id uint64, before int64) {
	sp := &span{name: name}
	sp.before = p.core.ledger.Begin(&sp.point)
	p.lastSpan++
	if p.spans == nil {
		p.spans = map[uint64]*span{}
	}
	p.spans[p.lastSpan] = sp
	return p.lastSpan, sp.before
}

func (p *supervisor) endSpan(id uint64) (telemetry.Span, error) {
	sp := p.spans[id]
	if sp == nil {
		return telemetry.Span{}, fmt.Errorf("span %d: %w: not open", id, ErrBadMessage)
	}
	delete(p.spans, id)
	after, peak := p.core.ledger.End(&sp.point)
	return telemetry.Span{Name: sp.name, Before: sp.before, After: after, Peak: peak}, nil
}

// Measure calls f and returns what was active, in the whole runtime, before and
// after it, and the highest active at any instant between. Spans nest and overlap,
// from any goroutines; each has its own peak. The error is f's; a panic of f goes
// through. While spans are open a malloc that makes a new peak costs a little
// more for each.
func (c *Core) Measure(ctx context.Context, name string, f func(context.Context) error) (sp telemetry.Span, err error) {
	if f == nil {
		return telemetry.Span{}, fmt.Errorf("measure %q: expected a function, not nil", name)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	id := c.beginSpan(name)
	defer func() { sp = c.endSpan(id) }()
	return sp, f(ctx)
}

func (c *Core) beginSpan(name string) (id uint64) {
	k := c.newCall(func(k *call) { id, _ = k.at.core.sup.beginSpan(name) })
	defer c.freeCall(k)
	c.sup.do(k)
	return id
}

func (c *Core) endSpan(id uint64) (sp telemetry.Span) {
	k := c.newCall(func(k *call) { sp, k.err = k.at.core.sup.endSpan(id) })
	defer c.freeCall(k)
	c.sup.do(k)
	return sp
}
