package actors

import (
	"context"
	"fmt"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// Stream is one GPU stream's allocator: an actor with a cache of its own. All
// methods may be called from any goroutine.
type Stream struct {
	shell
	id    uint64
	name  string
	tag   string
	queue metal.Queue // the driver's; 0: none, its marks are reached at once
	row   ledger.Row

	// The turn's.
	heap     *streams.Heap
	shut     bool // no more mallocs: Close is coming
	closed   bool
	broken   error          // why the stream hands out nothing more
	takenOne *streams.Block // handed out by the heap, but not to anyone yet
	taken    []*streams.Block
	growing  map[*streams.Block]bool // by a ticket under way
	sites    map[*streams.Block]*Site
	plans    int // misses under way, which may add memory
	passages []passage
	unmarked int64 // bytes freed since the last of them
	watched  map[metal.Mark]struct{}
	clearTo  uint64 // pages freed up to this clock go back as soon as they may
}

// StreamConfig is what a stream is opened with. The zero value works.
type StreamConfig struct {
	Name   string        // empty: "stream-<id>"
	Tag    string        // for accounting by owner; streams may share one
	Queue  metal.Queue   // the driver's handle of the stream; 0: none
	Limits *StreamLimits // the stream's own; nil: none
}

// StreamLimits bound one stream beside the runtime's limits, bytes; NoLimit and
// DefaultLimit: not.
type StreamLimits struct {
	Memory int64 // bounds reserved
	Cache  int64
}

// NewStream opens a stream. ErrClosed once Close was called.
func (c *Core) NewStream(cfg StreamConfig) (*Stream, error) {
	s := &Stream{id: c.ids.Add(1), name: cfg.Name, tag: cfg.Tag, queue: cfg.Queue}
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
	limits := StreamLimits{NoLimit, NoLimit}
	if l := cfg.Limits; l != nil {
		var err error
		if limits.Memory, err = resolve("stream's memory limit", l.Memory, NoLimit); err != nil {
			return nil, err
		}
		if limits.Cache, err = resolve("stream's cache limit", l.Cache, NoLimit); err != nil {
			return nil, err
		}
	}
	s.init(c)
	c.begin() // Close must not meet a stream that is admitted but not spawned
	defer c.end()
	call := c.newCall(func(k *call) { k.err = c.sup.admit(k.stream, limits) })
	defer c.freeCall(call)
	call.stream = s
	c.sup.do(call)
	if call.err != nil {
		return nil, call.err
	}
	s.spawn((*streamActor)(s))
	return s, nil
}

// ID tells the stream from all others of its runtime; Snapshot has it too.
func (s *Stream) ID() uint64 { return s.id }

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
	if s.core.slow.Load() != 0 { // zeroing or call sites are wanted
		return s.mallocSlow(ctx, size, MallocOptions{})
	}
	if !s.mb.Enter() {
		return s.mallocTicket(ctx, s.core.newTicket(s, want{op: "malloc", sizes: []int64{size}}))
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
		s.takenOne = blk
		f := s.heap.Figures()
		s.row.Malloc(&f, rounded)
		b = Buffer{s: s, blk: blk, gen: blk.Gen(), addr: blk.Addr(), size: size}
		s.takenOne = nil
	} else {
		t = s.core.newTicket(s, want{op: "malloc", sizes: []int64{size}})
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
	if err := t.wait(ctx); err != nil {
		return Buffer{}, err
	}
	return t.buffer()
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
	align := max(c.info.Alignment, streams.Unit)
	switch most := c.maxBlock(); {
	case size < 0:
		return fmt.Errorf("size %d: %w: expected bytes ≥ 0", size, ErrInvalidSize)
	case size > most || (size+align-1)&^(align-1) > most:
		return fmt.Errorf("size %d, rounded up: %w, %d bytes", size, ErrTooLarge, most)
	}
	return nil
}

// maxBlock is the device's largest buffer, bytes.
func (c *Core) maxBlock() int64 {
	if c.info.MaxBuffer > 0 {
		return min(c.info.MaxBuffer, c.info.Memory, streams.MaxBlock)
	}
	return min(c.info.Memory, streams.MaxBlock)
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
