package actors

import (
	"context"
	"errors"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/metal"
)

// The stream's queries, limits and end as methods.

// Synchronize waits until the stream's queue has passed this point; with ctx it
// ends early. A stream without a queue returns at once.
func (s *Stream) Synchronize(ctx context.Context) error {
	m := s.core.marks
	if m == nil || s.queue == 0 {
		return nil
	}
	mark, err := m.record(s.queue)
	if err != nil {
		return s.core.fail("synchronize", s, 0, err)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	if err := s.core.waitMark(ctx, mark); err != nil {
		return s.core.fail("synchronize", s, 0, err)
	}
	if _, err = m.reached(mark); err != nil {
		return s.core.fail("synchronize", s, 0, err)
	}
	return nil
}

// waitMark returns when the mark is reached, its queue has failed or ctx ends. An
// error is ctx's, or says that nobody can tell where the queue is.
func (c *Core) waitMark(ctx context.Context, mark metal.Mark) error {
	gate := c.seam.NewGate()
	if err := c.marks.notify(mark, gate.Open); err != nil {
		return err
	}
	if err := gate.WaitContext(ctx); err != nil {
		return err
	}
	if _, err := c.marks.reached(mark); unknown(err) {
		return err // whoever asked again would be told so for ever
	}
	return nil
}

// Close ends the stream: Malloc gives ErrClosed from then on, what is free goes
// back to the device, the rest as it is freed and its marks are reached. Buffers
// still live stay valid; they count as the runtime's (the row without a name),
// and the stream's own figures stay as they were. Closing again is nil. It waits
// for the device; ctx is looked at before.
func (s *Stream) Close(ctx context.Context) error {
	if ctx != nil && ctx.Err() != nil {
		return s.core.fail("close", s, 0, ctx.Err())
	}
	s.core.begin()
	defer s.core.end()
	c := s.core.newCall(func(c *call) {
		if c.stream.closed.Load() {
			c.err = ErrClosed
			return
		}
		c.runs = c.stream.retire()
	})
	defer s.core.freeCall(c)
	c.stream = s
	s.do(c)
	if errors.Is(c.err, ErrClosed) {
		return nil
	}
	s.core.await(c.runs)
	s.stop()
	s.core.retire(s)
	if c.err != nil { // a panic; the stream has ended all the same
		return s.core.fail("close", s, 0, c.err)
	}
	return nil
}

// refuse makes Malloc give ErrClosed from now on.
func (s *Stream) refuse() {
	c := s.core.newCall(func(c *call) { c.stream.shut = true })
	defer s.core.freeCall(c)
	c.stream = s
	s.do(c)
}

// ActiveMemory is the bytes in the stream's live buffers now. Like every query
// it never waits for a device.
func (s *Stream) ActiveMemory() int64 {
	return s.figure(s, func(k *call) { k.result = k.stream.totals().Active })
}

// PeakMemory is the highest ActiveMemory since start or ResetPeakMemory.
func (s *Stream) PeakMemory() int64 {
	return s.figure(s, func(k *call) { k.result = k.stream.totals().Peak })
}

// CacheMemory is the bytes that the stream keeps for reuse.
func (s *Stream) CacheMemory() int64 {
	return s.figure(s, func(k *call) { k.result = k.stream.totals().Cache })
}

// ReservedMemory is the bytes that the stream holds of the device.
func (s *Stream) ReservedMemory() int64 {
	return s.figure(s, func(k *call) { k.result = k.stream.totals().Reserved })
}

// ResetPeakMemory sets the stream's peak to 0; it follows active from the next
// malloc on.
func (s *Stream) ResetPeakMemory() {
	c := s.core.newCall(func(c *call) { c.stream.core.ledger.ResetPeakOf(&c.stream.row) })
	c.stream = s
	s.do(c)
	s.core.freeCall(c)
}

// ClearCache gives what the stream can reuse back to the device, and returns how
// many bytes went. Blocks that queued work may still use follow when their marks
// are reached.
func (s *Stream) ClearCache() (released int64, err error) {
	return s.core.awaitSweep([]*Stream{s}, sweepClear, everything).released, nil
}

// MemoryLimit is the stream's own memory limit, bytes; NoLimit: none.
func (s *Stream) MemoryLimit() int64 { return s.limit(false) }

// CacheLimit is the stream's own cache limit, bytes; NoLimit: none.
func (s *Stream) CacheLimit() int64 { return s.limit(true) }

func (s *Stream) limit(cache bool) int64 {
	c := s.core.newCall(func(c *call) {
		memory, cached := s.core.ledger.LimitsOf(&s.row)
		if c.result = memory; cache {
			c.result = cached
		}
	})
	defer s.core.freeCall(c)
	s.do(c)
	return c.result
}

// SetMemoryLimit bounds the stream's own reserved, bytes, beside the runtime's
// limit and with the same policy; DefaultLimit and NoLimit: none. It returns the
// limit before. Lowering gives the stream's cache back before it returns.
func (s *Stream) SetMemoryLimit(n int64) (previous int64, err error) {
	return s.setLimit("stream's memory limit", n, false, sweepPages)
}

// SetCacheLimit bounds the stream's own cache, bytes, beside the runtime's limit;
// DefaultLimit and NoLimit: none. It returns the limit before. Lowering trims
// before it returns.
func (s *Stream) SetCacheLimit(n int64) (previous int64, err error) {
	return s.setLimit("stream's cache limit", n, true, sweepCache)
}

func (s *Stream) setLimit(what string, n int64, cache bool, kind sweepKind) (previous int64, err error) {
	n, err = resolve(what, n, NoLimit)
	if err != nil {
		return s.limit(cache), err
	}
	c := s.core.newCall(func(c *call) {
		if cache {
			c.result, c.n = s.core.ledger.SetCacheLimitOf(&s.row, n)
		} else {
			c.result, c.n = s.core.ledger.SetMemoryLimitOf(&s.row, n)
		}
	})
	s.do(c)
	previous, over, err := c.result, c.n, c.err
	s.core.freeCall(c)
	if over > 0 && err == nil {
		s.core.awaitSweep([]*Stream{s}, kind, over)
	}
	return previous, err
}

func (s *Stream) totals() ledger.Totals { return s.core.ledger.TotalsOf(&s.row) }
