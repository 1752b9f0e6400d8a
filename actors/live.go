package actors

import (
	"context"
	"fmt"

	"github.com/metalloc/metalloc/metal"
)

// LiveBuffer is one buffer that somebody holds.
type LiveBuffer struct {
	Stream     string
	StreamID   uint64
	Tag        string
	Size       int64 // requested, bytes
	Addr       uintptr
	Generation uint64 // with StreamID and Addr it tells this buffer from all others
	Site       *Site  // where it was asked for; nil: not noted (TrackCallSites)
}

// LiveBuffers lists the stream's live buffers by address. It walks the stream's
// memory in its turn: for tests and reports.
func (s *Stream) LiveBuffers() (bs []LiveBuffer) {
	visit := func(*call) {
		for b := range s.heap.LiveBlocks() {
			bs = append(bs, LiveBuffer{
				Stream: s.name, StreamID: s.id, Tag: s.tag,
				Size: b.Requested(), Addr: b.Addr(), Generation: b.Gen(), Site: s.sites[b],
			})
		}
	}
	c := s.core.newCall(visit)
	defer s.core.freeCall(c)
	s.do(c)
	return bs
}

// LiveBuffers lists the live buffers of all streams, closed ones included.
func (c *Core) LiveBuffers() (bs []LiveBuffer) {
	for _, s := range c.holders(true) {
		bs = append(bs, s.LiveBuffers()...)
	}
	return bs
}

// Settle waits until no freed memory waits for a mark any more, on any stream;
// with ctx it ends early.
func (c *Core) Settle(ctx context.Context) error {
	for _, s := range c.holders(true) {
		if err := s.Settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Settle waits until none of the stream's freed memory waits for a mark any
// more; with ctx it ends early.
func (s *Stream) Settle(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := s.settled(ctx); err != nil {
		return s.core.fail("settle", s, 0, err)
	}
	return nil
}

func (s *Stream) settled(ctx context.Context) error {
	for {
		var marks []metal.Mark
		var rs runs
		c := s.core.newCall(func(*call) {
			rs = s.poll()
			marks = s.heap.NextMarks()
		})
		s.do(c)
		err := c.err
		s.core.freeCall(c)
		if err != nil {
			return err
		}
		s.core.await(rs)
		if len(marks) == 0 {
			return nil
		}
		if err := s.core.waitMark(ctx, marks[0]); err != nil {
			return fmt.Errorf("waiting for freed memory that queued work still uses: %w", err)
		}
	}
}
