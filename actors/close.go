package actors

import (
	"context"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// retire keeps the address ranges of a closed stream for others once it holds no
// memory, and forgets the stream.
func (c *Core) retire(s *Stream) {
	var ranges []metal.Range
	empty := false
	err := s.afterwards(func() {
		if empty = s.heap.Figures() == (streams.Figures{}); empty {
			ranges = s.heap.TakeRanges()
		}
	})
	if err != nil || !empty {
		return
	}
	c.onMetal(func(*call) { c.metal.spare = append(c.metal.spare, ranges...) })
	k := c.newCall(func(k *call) { delete(k.at.core.sup.streams, k.stream.id) })
	defer c.freeCall(k)
	k.stream = s
	c.sup.do(k)
}

// Close ends the runtime: Malloc gives ErrClosed from then on, misses under way
// are waited for, queued work that uses freed memory too, all free memory goes
// back, every goroutine ends. Buffers still live are reported as a *LeakError;
// their memory stays mapped and Free stays possible, and a second Close gives
// back what was freed meanwhile. Queries go on answering. When ctx ends first
// the error is ctx's and Close can be called again.
func (c *Core) Close(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	for !c.closeTurn.CompareAndSwap(false, true) {
		c.seam.Yield()
	}
	defer c.closeTurn.Store(false)
	c.closing.Store(true)
	if !c.ended {
		if err := c.wind(ctx); err != nil {
			return err
		}
	}
	return c.release()
}

// wind stops everything that runs.
func (c *Core) wind(ctx context.Context) error {
	for c.underway.Load() != 0 {
		if err := c.idle.WaitContext(ctx); err != nil {
			return c.fail("close", nil, 0, err, false)
		}
	}
	all := c.holders(true)
	for _, s := range all {
		if err := s.Close(ctx); err != nil {
			return err
		}
	}
	for _, s := range all {
		if err := c.drain(ctx, s); err != nil {
			return c.fail("close", s, 0, err, false)
		}
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
func (c *Core) release() error {
	for _, s := range c.holders(true) {
		var rs runs
		if err := s.afterwards(func() { rs = append(s.poll(), s.surrender()...) }); err != nil {
			return err
		}
		c.await(rs)
		c.retire(s)
	}
	left := c.holders(true)
	c.onMetal(func(k *call) {
		n := k.at.core.metal.drain()
		k.at.core.ledger.left(n)
		k.at.core.metal.unreserveAll()
	})
	if len(left) == 0 {
		return nil
	}
	return c.leaks(left)
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
			e.Pending += f.Pending
			if n > 0 {
				e.Streams = append(e.Streams, StreamLeak{Stream: s.name, Buffers: n, Bytes: f.Active})
			}
		})
	}
	return e
}
