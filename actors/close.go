package actors

import (
	"context"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// retire keeps the address ranges of a closed stream for others once it holds no
// memory and no miss is under way, and forgets the stream.
func (c *Core) retire(s *Stream) {
	var ranges []metal.Range
	empty := false
	err := s.afterwards(func() {
		if empty = s.plans == 0 && s.heap.Figures() == (streams.Figures{}) && !s.heap.Parting(); empty {
			ranges = s.heap.TakeRanges()
		}
	})
	if err != nil || !empty {
		return
	}
	c.onMetal(func(*call) { c.metal.spare = append(c.metal.spare, ranges...) })
	k := c.newCall(func(k *call) {
		delete(k.at.core.sup.streams, k.stream.id)
		k.at.core.ledger.Forget(&k.stream.row)
	})
	defer c.freeCall(k)
	k.stream = s
	c.sup.do(k)
}

// Close ends the runtime: Malloc gives ErrClosed from then on, misses under way
// are waited for, queued work that uses freed memory too, all free memory goes
// back, every goroutine ends. Buffers still live are reported as a *LeakError;
// their memory stays mapped and Free stays possible, and a second Close gives
// back what was freed meanwhile. When ctx ends first the error is ctx's, when the
// device doesn't take something back it is the device's; Close can be called
// again then too. Queries go on answering.
func (c *Core) Close(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := c.closeTurn.WaitContext(ctx); err != nil {
		return c.fail("close", nil, 0, err)
	}
	defer c.closeTurn.Open()
	c.closing.Store(true)
	if !c.ended {
		if err := c.wind(ctx); err != nil {
			return err
		}
	}
	return c.release(ctx)
}

// wind stops everything that runs.
func (c *Core) wind(ctx context.Context) error {
	if c.relief.stop != nil {
		c.relief.stop()
		c.relief.stop = nil
	}
	c.supervise((*supervisor).disarm)
	for _, s := range c.holders(true) {
		s.refuse()
	}
	if err := c.quiet(ctx); err != nil {
		return err
	}
	all := c.holders(true)
	for _, s := range all {
		if ctx.Err() != nil {
			return c.fail("close", s, 0, ctx.Err())
		}
		if err := s.Close(context.Background()); err != nil {
			c.log.Error("stream closed with an error", zap.Error(err))
		}
	}
	for _, s := range all {
		if err := c.drain(ctx, s); err != nil {
			return c.fail("close", s, 0, err)
		}
	}
	if err := c.quiet(ctx); err != nil {
		return err
	}
	c.sys.EventStream.Unsubscribe(c.deadSub)
	c.metal.stop()
	c.sup.stop()
	c.dispatcher.Close()
	if c.ownSystem {
		c.sys.Shutdown()
	}
	c.ended = true
	return nil
}

// drain waits for the marks that a closed stream's freed memory waits for.
func (c *Core) drain(ctx context.Context, s *Stream) error {
	for {
		var marks []metal.Mark
		var rs runs
		if err := s.afterwards(func() {
			rs = append(s.poll(), s.surrender()...)
			marks = s.waits()
		}); err != nil {
			return err
		}
		c.await(rs)
		if len(marks) == 0 {
			return nil
		}
		if err := c.waitMark(ctx, marks[0]); err != nil {
			return err
		}
	}
}

// release gives back what no live buffer holds, and reports the rest.
func (c *Core) release(ctx context.Context) error {
	for _, s := range c.holders(true) {
		var rs runs
		if err := s.afterwards(func() { rs = append(s.poll(), s.surrender()...) }); err != nil {
			return err
		}
		c.await(rs)
		c.retire(s)
	}
	if err := c.quiet(ctx); err != nil { // frees that came meanwhile
		return err
	}
	left := c.holders(true)
	k := c.onMetal(func(k *call) {
		m := &k.at.core.metal
		k.at.core.ledger.Left(m.drain())
		k.err = m.unreserveAll()
	})
	if err := c.quiet(ctx); err != nil { // log entries of that
		return err
	}
	switch {
	case len(left) > 0:
		return c.leaks(left)
	case k.err != nil:
		return c.fail("close", nil, 0, k.err)
	}
	return nil
}

func (c *Core) leaks(left []*Stream) error {
	e := &LeakError{}
	for _, s := range left {
		_ = s.afterwards(func() {
			f, n := s.heap.Figures(), int64(0)
			for range s.heap.LiveBlocks() {
				n++
			}
			e.Buffers += n
			e.Bytes += f.Active
			e.Pending += f.Cache // all that could go has gone
			if n > 0 {
				e.Streams = append(e.Streams, StreamLeak{Stream: s.name, Buffers: n, Bytes: f.Active})
			}
		})
	}
	return e
}
