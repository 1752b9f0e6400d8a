package actors

import (
	"context"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/streams"
)

// This file is the hot path: a malloc that the stream's cache serves, and its
// free. One turn each, no allocation, no clock, no map; what is rare goes another
// way.

// Malloc hands out size bytes of device memory, aligned to at least 512. From
// the stream's cache that takes nanoseconds. A miss waits for the device, and
// only then is ctx looked at: when it ends first, the error unwraps to ctx's and
// the memory goes to the cache when it comes. Zero bytes give a valid, empty
// buffer. ErrInvalidSize (negative), ErrTooLarge, ErrLimitExceeded (policy
// Refuse), ErrOutOfMemory, ErrClosed, ErrStreamFailed, all in an *AllocError.
func (s *Stream) Malloc(ctx context.Context, size int64) (Buffer, error) {
	if size > 0 && size <= s.most && s.core.slow.Load() == 0 {
		var blk *streams.Block
		var err error
		if s.mb.Enter() {
			blk, err = s.hit(size)
		} else {
			blk, err = s.hitLater(size)
		}
		if blk != nil {
			return s.buffer(blk, size), nil
		}
		if err != nil {
			return Buffer{}, s.core.fail("malloc", s, size, err)
		}
	}
	return s.mallocSlow(ctx, size, MallocOptions{})
}

// hitLater is hit for a busy stream: it waits for the turn, which is never long.
func (s *Stream) hitLater(size int64) (*streams.Block, error) {
	c := s.core.newCall(func(c *call) {
		s := c.stream
		s.serve(c.n, &s.takenOne)
		c.block, s.takenOne = s.takenOne, nil
	})
	defer s.core.freeCall(c)
	c.stream, c.n = s, size
	s.do(c)
	return c.block, c.err
}

// hit serves a malloc from what the heap holds, or gives nil. The caller has taken
// the turn; it is let go here.
func (s *Stream) hit(size int64) (blk *streams.Block, err error) {
	ok := false
	defer func() {
		if !ok {
			s.takenOne, blk = blk, nil
			err = s.mb.Panicked(recover())
		}
	}()
	s.serve(size, &blk)
	ok = true
	s.mb.Exit()
	return blk, nil
}

// serve is hit inside the turn. The block is in blk as soon as it is handed out, so
// that a panic later on doesn't lose it.
func (s *Stream) serve(size int64, blk **streams.Block) {
	if s.shut || s.broken != nil {
		return
	}
	if *blk = s.heap.Malloc(s.heap.Round(size), size); *blk != nil {
		s.row.Malloc(s.heap.Now(), (*blk).Size())
	}
}

// free takes back a block that the caller has claimed.
func (s *Stream) free(blk *streams.Block, b Buffer) (err error) {
	if blk.Used() {
		return s.freeUsed(b)
	}
	var more bool
	if s.mb.TryEnter() {
		more, err = s.freeInTurn(blk)
	} else {
		more = s.freeFromOutside(blk)
	}
	if more {
		s.freeMore()
	}
	if err != nil {
		return s.core.fail("free", s, b.size, err)
	}
	return nil
}

// freeInTurn frees in the turn that the caller has taken, and lets it go. more: the
// memory may not stay in the cache.
func (s *Stream) freeInTurn(blk *streams.Block) (more bool, err error) {
	ok := false
	defer func() {
		if !ok {
			err = s.mb.Panicked(recover())
		}
	}()
	if s.sites != nil {
		delete(s.sites, blk)
	}
	n := blk.Size()
	s.heap.Free(blk)
	more = s.row.Free(s.heap.Now(), n) > 0 || s.closed.Load()
	if s.queue != 0 {
		s.noteFree(n)
	}
	ok = true
	s.mb.Exit()
	return more, nil
}

// freeFromOutside leaves a block for whoever is inside: from here on it isn't
// active, and it is in the heap before the turn is let go.
func (s *Stream) freeFromOutside(blk *streams.Block) (more bool) {
	s.row.Leave(blk.Size(), blk.Requested())
	if s.inbox.Push(blk) && s.mb.Leave() != nil { // the actor has stopped
		_ = s.afterwards(func() {})
	}
	return s.core.ledger.Bounded() || s.row.Limited() || s.closed.Load()
}

// takeUp frees the blocks that others have left. A panic leaves the rest where the
// restart finds it.
func (s *Stream) takeUp() {
	if s.arrived = s.inbox.Take(); s.arrived == nil {
		return
	}
	for blk := s.arrived; blk != nil; blk = s.arrived {
		s.arrived = blk.Left()
		s.takenUp.Blocks++
		s.takenUp.Bytes += blk.Size()
		s.takenUp.Requested += blk.Requested()
		if s.sites != nil {
			delete(s.sites, blk)
		}
		s.heap.Free(blk)
	}
	t := s.takenUp
	s.takenUp = ledger.Taken{}
	if s.row.TakenUp(s.heap.Now(), t) > 0 {
		s.ring()
	}
	if s.queue != 0 {
		s.noteFree(t.Bytes)
	}
}

// errands is takeUp for the mailbox, which calls it in the turn when something was
// left for the stream.
func (s *Stream) errands() {
	if s.gone.Load() { // the lock has taken the turn's place
		s.core.background(func() { _ = s.afterwards(func() {}) })
		return
	}
	s.takeUp()
}
