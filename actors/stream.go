package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// Stream is one GPU stream's allocator: an actor with a cache of its own. All
// methods may be called from any goroutine.
type Stream struct {
	shell
	id    uint64
	name  string
	queue metal.Queue // the driver's; 0: none, its marks are reached at once
	row   *row

	// The turn's.
	heap     *streams.Heap
	shut     bool // no more mallocs: Close is coming
	closed   bool
	broken   error          // why the stream hands out nothing more
	taken    *streams.Block // handed out by the heap, but not to anyone yet
	plans    int            // misses under way, which may add memory
	passages []passage
	watched  map[metal.Mark]struct{}
	clearTo  uint64 // pages freed up to this clock go back as soon as they may
}

// StreamConfig is what a stream is opened with.
type StreamConfig struct {
	Name  string      // empty: "stream-<id>"
	Queue metal.Queue // the driver's handle of the stream; 0: none
}

// NewStream opens a stream. ErrClosed once Close was called.
func (c *Core) NewStream(cfg StreamConfig) (*Stream, error) {
	s := &Stream{id: c.ids.Add(1), name: cfg.Name, queue: cfg.Queue}
	if s.name == "" {
		s.name = fmt.Sprintf("stream-%d", s.id)
	}
	if c.marks != nil && s.queue != 0 {
		if _, err := c.marks.record(s.queue); err != nil {
			return nil, fmt.Errorf("stream %q: queue %#x: %w", s.name, s.queue, err)
		}
	}
	s.heap = streams.New(streams.Config{
		PageSize: c.metal.mappedPage(), Alignment: c.info.Alignment, MaxSegment: c.info.MaxBuffer,
	})
	s.init(c)
	c.begin() // Close must not meet a stream that is admitted but not spawned
	defer c.end()
	call := c.newCall(func(k *call) { k.err = k.stream.core.sup.admit(k.stream) })
	defer c.freeCall(call)
	call.stream = s
	c.sup.do(call)
	if call.err != nil {
		return nil, call.err
	}
	s.spawn((*streamActor)(s))
	return s, nil
}

// Name is the name that the stream was opened with.
func (s *Stream) Name() string { return s.name }

// PID is the stream's actor, for programs built of actors; see the messages.
func (s *Stream) PID() *PID { return s.pid }

// Malloc hands out size bytes of device memory, aligned to at least 512. From
// the stream's cache that takes nanoseconds. A miss waits for the device, and
// only then is ctx looked at: when it ends first, the error unwraps to ctx's and
// the memory goes to the cache when it comes. Zero bytes give a valid, empty
// buffer. ErrInvalidSize (negative), ErrTooLarge, ErrLimitExceeded (policy
// Refuse), ErrOutOfMemory, ErrClosed, ErrStreamFailed, all in an *AllocError.
func (s *Stream) Malloc(ctx context.Context, size int64) (Buffer, error) {
	rounded := s.heap.Round(size)
	if size <= 0 || rounded == 0 || rounded > s.core.maxBlock() {
		return s.mallocOdd(size)
	}
	if !s.mb.Enter() {
		return s.mallocTicket(ctx, s.core.newTicket(s, size))
	}
	b, t, err := s.mallocInTurn(size, rounded)
	if t != nil {
		return s.mallocTicket(ctx, t)
	}
	return b, err
}

// mallocInTurn serves a hit, or gives the ticket of a miss. The caller has taken
// the turn; it is let go here.
func (s *Stream) mallocInTurn(size, rounded int64) (b Buffer, t *ticket, err error) {
	ok := false
	defer func() {
		if ok {
			return
		}
		err = s.mb.Panicked(recover())
		if t != nil {
			t.broke(err)
			err = nil
			return
		}
		b, err = Buffer{}, s.core.fail("malloc", s, size, err, false)
	}()
	if s.shut || s.broken != nil {
		err = s.refusal()
	} else if blk := s.heap.Malloc(rounded, size); blk != nil {
		s.taken = blk
		s.core.ledger.settle(s.row, s.heap.Figures(), change{mallocs: 1})
		b = Buffer{s: s, blk: blk, gen: blk.Gen(), addr: blk.Addr(), size: size}
		s.taken = nil
	} else {
		t = s.core.newTicket(s, size)
		t.step()
	}
	ok = true
	s.mb.Exit()
	if err != nil {
		err = s.core.fail("malloc", s, size, err, false)
	}
	return b, t, err
}

// mallocTicket sends the ticket on its way and waits for what becomes of it.
func (s *Stream) mallocTicket(ctx context.Context, t *ticket) (Buffer, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	t.gate = s.core.seam.NewGate()
	t.hop(true)
	return t.wait(ctx)
}

// mallocOdd answers for sizes that never reach the heap.
func (s *Stream) mallocOdd(size int64) (Buffer, error) {
	if size == 0 {
		if s.core.closing.Load() || s.gone.Load() {
			return Buffer{}, s.core.fail("malloc", s, size, ErrClosed, false)
		}
		return Buffer{s: s}, nil
	}
	return Buffer{}, s.core.fail("malloc", s, size, s.core.checkSize(size), false)
}

// checkSize names what is wrong with a size that no block can have.
func (c *Core) checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("size %d: %w: expected bytes ≥ 0", size, ErrInvalidSize)
	}
	return fmt.Errorf("size %d, rounded up: %w, %d bytes", size, ErrTooLarge, c.maxBlock())
}

// maxBlock is the device's largest buffer, bytes.
func (c *Core) maxBlock() int64 {
	if c.info.MaxBuffer > 0 {
		return min(c.info.MaxBuffer, c.info.Memory)
	}
	return c.info.Memory
}

func (s *Stream) refusal() error {
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrStreamFailed, s.broken)
	}
	return ErrClosed
}

func (s *Stream) free(b Buffer) error {
	var rs runs
	var err error
	if s.mb.Enter() {
		rs, err = s.freeInTurn(b)
	} else {
		c := s.core.newCall(func(c *call) { c.runs, c.err = c.buf.s.takeBack(c.buf) })
		c.buf = b
		s.do(c)
		rs, err = c.runs, c.err
		s.core.freeCall(c)
	}
	if err != nil {
		return s.core.fail("free", s, b.size, err, false)
	}
	if rs != nil {
		defer s.core.end() // takeBack has begun it
		s.core.await(rs)
		if s.gone.Load() {
			s.core.retire(s)
		}
	}
	return nil
}

// freeInTurn frees in the turn that the caller has taken, and lets it go.
func (s *Stream) freeInTurn(b Buffer) (rs runs, err error) {
	ok := false
	defer func() {
		if !ok {
			rs, err = nil, s.mb.Panicked(recover())
		}
	}()
	rs, err = s.takeBack(b)
	ok = true
	s.mb.Exit()
	return rs, err
}

// Synchronize waits until the stream's queue has passed this point; with ctx it
// ends early. A stream without a queue returns at once.
func (s *Stream) Synchronize(ctx context.Context) error {
	m := s.core.marks
	if m == nil || s.queue == 0 {
		return nil
	}
	mark, err := m.record(s.queue)
	if err != nil {
		return s.core.fail("synchronize", s, 0, err, false)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	if err := s.core.waitMark(ctx, mark); err != nil {
		return s.core.fail("synchronize", s, 0, err, false)
	}
	if _, err = m.reached(mark); err != nil {
		return s.core.fail("synchronize", s, 0, err, false)
	}
	return nil
}

// waitMark returns when the mark is reached, its queue has failed or ctx ends.
func (c *Core) waitMark(ctx context.Context, mark metal.Mark) error {
	gate := c.seam.NewGate()
	if err := c.marks.notify(mark, gate.Open); err != nil {
		return err
	}
	return gate.WaitContext(ctx)
}

// Close ends the stream: Malloc gives ErrClosed from then on, what is free goes
// back to the device, the rest as it is freed and its marks are reached. Buffers
// still live stay valid; they count as the runtime's (the row without a name),
// and the stream's own figures stay as they were. Closing again is nil. It waits
// for the device; ctx is looked at before.
func (s *Stream) Close(ctx context.Context) error {
	if ctx != nil && ctx.Err() != nil {
		return s.core.fail("close", s, 0, ctx.Err(), false)
	}
	s.core.begin()
	defer s.core.end()
	c := s.core.newCall(func(c *call) {
		if c.stream.closed {
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
		return s.core.fail("close", s, 0, c.err, false)
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
func (s *Stream) ActiveMemory() int64 { return s.figures().Active }

// PeakMemory is the highest ActiveMemory since start or ResetPeakMemory.
func (s *Stream) PeakMemory() int64 { return s.figures().Peak }

// CacheMemory is the bytes that the stream keeps for reuse.
func (s *Stream) CacheMemory() int64 { return s.figures().Cache }

// ReservedMemory is the bytes that the stream holds of the device.
func (s *Stream) ReservedMemory() int64 { return s.figures().Reserved }

// ResetPeakMemory sets the stream's peak to 0; it follows active from the next
// malloc on.
func (s *Stream) ResetPeakMemory() {
	c := s.core.newCall(func(c *call) { c.stream.core.ledger.resetPeak(c.stream.row) })
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

func (s *Stream) figures() figures {
	c := s.core.newCall(func(c *call) { c.figs = c.stream.core.ledger.read(c.stream.row) })
	c.stream = s
	s.do(c)
	f := c.figs
	s.core.freeCall(c)
	return f
}
