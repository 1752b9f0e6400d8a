package actors

import (
	"context"
	"fmt"
	"sync/atomic"

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
	most  int64          // largest malloc, bytes
	none  streams.Handle // of buffers of zero bytes

	inbox  streams.Inbox // blocks that others have freed while the stream was busy
	closed atomic.Bool   // set in the turn, read from anywhere

	// The turn's.
	heap     *streams.Heap
	shut     bool           // no more mallocs: Close is coming
	broken   error          // why the stream hands out nothing more
	takenOne *streams.Block // handed out by the heap, but not to anyone yet
	taken    []*streams.Block
	unsure   Buffer                  // claimed, but its free may yet fail
	arrived  *streams.Block          // taken out of the inbox, not freed yet
	takenUp  ledger.Taken            // of those that are freed, not booked yet
	growing  map[*streams.Block]bool // by a ticket under way
	sites    map[*streams.Block]*Site
	plans    int // misses under way, which may add memory
	passages []passage
	unmarked int64 // bytes freed since the last of them
	watched  map[metal.Mark]struct{}
	clearTo  uint64 // pages freed up to this clock go back as soon as they may
	stranded bool   // pages that have left early wait, somewhere on their way back, for their old place
	idle     idleState
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
	s.none.Home = &streams.Home{Owner: s}
	s.heap = streams.New(streams.Config{
		PageSize: c.metal.mappedPage(), Alignment: c.info.Alignment, MaxSegment: c.info.MaxBuffer, Home: s.none.Home,
		Aliases: c.info.Aliases,
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
	s.most = c.maxBlock() &^ (max(c.info.Alignment, streams.Unit) - 1)
	s.init(c, s.errands, s.takeUp)
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
			return Buffer{}, s.core.fail("malloc", s, size, ErrClosed)
		}
		return Buffer{h: &s.none}, nil
	}
	return Buffer{}, s.core.fail("malloc", s, size, s.core.checkSize(size))
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

// freeUsed frees a claimed block that other streams use too, or that is growing:
// that takes the owner's turn.
func (s *Stream) freeUsed(b Buffer) error {
	c := s.core.newCall(func(c *call) { c.runs, c.err = c.buf.stream().takeBack(c.buf) })
	defer s.core.freeCall(c)
	c.buf = b
	s.do(c)
	if c.err != nil {
		return s.core.fail("free", s, b.size, c.err)
	}
	s.settleRuns(c.runs)
	return nil
}

// freeMore gives back what the cache may not keep after a free.
func (s *Stream) freeMore() {
	c := s.core.newCall(func(c *call) { c.runs = c.stream.excessRuns() })
	defer s.core.freeCall(c)
	c.stream = s
	s.do(c)
	s.settleRuns(c.runs)
}

// settleRuns waits until the device has pages that excessRuns gave.
func (s *Stream) settleRuns(rs runs) {
	if rs == nil {
		return
	}
	defer s.core.end() // excessRuns has begun it
	s.core.await(rs)
	if s.gone.Load() {
		s.core.retire(s)
	}
}
