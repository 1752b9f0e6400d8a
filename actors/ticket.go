package actors

import (
	"context"
	"sync/atomic"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// ticket is a request that could not be served in one turn: a busy stream, or a
// miss on its way through supervisor and metal actor. Each stage is a turn of
// its own; between them nobody holds anything but the ticket.
//
//	stream: look ─▶ all streams: borrow ─▶ supervisor: promise ─▶ metal: serve ─▶ supervisor: book ─▶ stream: commit
//	          ▲                                 │ ▲ too much               │ device failed               │ (next size)
//	          └─────────────────────────────────┼─┼────────────────────────┼─────────────────────────────┘
//	                                            ▼ │ (once)                 ▼
//	                                         sweep the caches           supervisor: book ─▶ stream: abort (or once more)
//
// A request for several buffers takes its sizes one after the other and keeps
// their places claimed; all are handed out in the last turn, or none.
type ticket struct {
	opBase
	core   *Core
	stream *Stream
	want
	stage stage

	asked     bool  // the caches have been swept as far as the limits want it
	askedOwn  bool  // and the stream's own for its own limit
	swept     bool  // and altogether, since the device was full
	pressed   bool  // the program's pressure hooks have been asked
	again     bool  // after abort the ticket tries once more
	late      bool  // it takes no page early: one could not be used
	sweeps    int   // how often they were swept again because there should be room
	cached    int64 // bytes in the caches at the last of these
	gathered  int64 // bytes that it brought back
	leaving   int64 // bytes whose return to the device it has waited for
	sweep     int64 // bytes to sweep from caches before the next stage
	sweepOver []*Stream
	failed    bool      // the device work was undone, err says why
	short     *Shortage // and if the memory did not suffice, what holds it

	entered  []*streams.Plan // sizes that have their memory
	plan     *streams.Plan   // of the next size; in wipe and hand the one that has grown
	promised int64           // bytes that the ledger holds for it
	work     work            // what the metal actor has done for it
	missed   bool            // the device was needed
	give     runs            // pages that go back to the device

	gate  seam.Gate
	reply *PID // who asked by message; without this and a gate nobody waits
	state atomic.Uint32
	bufs  []Buffer
	err   error
}

// want is what a ticket asks for.
type want struct {
	op    string
	sizes []int64
	room  int64  // address space to keep behind the one buffer, bytes
	grow  Buffer // the buffer to grow to the one size; none: zero
	zero  bool   // hand out zeros
	fresh bool   // set when the memory is new and zero already
	site  *Site  // where the call came from, if that is wanted
}

func (w *want) total() (n int64) {
	for _, size := range w.sizes {
		n += size
	}
	return n
}

type stage uint8

const (
	look stage = iota
	borrow
	promise
	settleUp // wait for what goes back to the device
	serve
	undo
	book
	commit
	wipe
	hand
	abort
	press
	explain // why it will be refused
	refuse
	done
)

// A ticket's end is decided once: by the turn that fills it in, or by the caller
// whose ctx has ended.
const (
	waiting uint32 = iota
	answered
	abandoned
)

func (c *Core) newTicket(s *Stream, w want) *ticket {
	t := &ticket{core: c, stream: s, want: w}
	t.self = t
	c.begin()
	return t
}

// step does the present stage and picks the next.
func (t *ticket) step() {
	switch t.stage {
	case look:
		t.stage = t.stream.lookOn(t)
	case promise:
		t.stage = t.core.sup.promise(t)
	case serve:
		t.stage = t.core.metal.serve(t)
	case undo:
		t.stage = t.core.metal.undo(t)
	case book:
		t.stage = t.core.sup.book(t)
	case commit:
		if t.stage = t.stream.commit(t); t.stage == look { // the next size, in the same turn
			t.stage = t.stream.lookOn(t)
		}
	case hand:
		t.stage = t.stream.hand(t)
	case abort:
		t.stage = t.stream.abort(t)
	case refuse:
		t.stage = t.stream.answer(t, t.err)
	}
}

// broke: the present stage panicked. What it had taken is given back by the
// stages that would have followed a device failure.
func (t *ticket) broke(err error) {
	switch {
	case t.stage == promise || t.stage == serve || t.stage == look && t.plan != nil:
		t.err, t.failed, t.stage = err, true, undo
	case t.stage == undo:
		t.stage = book
	case t.stage == book:
		t.err, t.failed, t.stage = err, true, abort
	default: // it may have been answered already: then that stands
		t.stream.answer(t, err)
		t.stage = done
	}
}

func (t *ticket) hop(mayEnter bool) {
	if t.give != nil {
		give := t.give
		t.give = nil
		if t.stage == done { // trimmed by the time the caller looks
			t.core.giveBack(give, t.hop, mayEnter)
			return
		}
		t.core.giveBack(give, nil, mayEnter)
	}
	if t.sweep > 0 {
		t.core.sweepFor(t, mayEnter)
		return
	}
	switch t.stage {
	case look, commit, hand, abort, refuse:
		t.stream.send(t, mayEnter)
	case promise, book:
		t.core.sup.send(t, mayEnter)
	case serve, undo:
		t.core.metal.send(t, mayEnter)
	case borrow:
		t.core.borrowFor(t, mayEnter)
	case settleUp:
		t.stage = promise
		t.core.flush(t.hop, mayEnter)
	case wipe:
		t.wipe(mayEnter)
	case press:
		t.press()
	case explain:
		t.inquire(mayEnter)
	case done:
		t.finish()
	}
}

// finish tells whoever asked. Buffers that nobody wanted any more have gone back
// to the cache already.
func (t *ticket) finish() {
	core, reply := t.core, t.reply
	if s := t.stream; s.gone.Load() { // closed meanwhile
		core.background(func() { core.retire(s) })
	}
	switch {
	case reply == nil && t.gate == nil:
	case reply == nil:
		t.gate.Open()
	case t.zero && t.err == nil: // may take long: not in the turn that this may be
		core.seam.Go(func() {
			buf, err := t.buffer()
			core.sys.Root.Send(reply, MallocReply{Buffer: buf, Err: err})
			core.end()
		})
		return
	default:
		buf, err := t.buffer()
		core.sys.Root.Send(reply, MallocReply{Buffer: buf, Err: err})
	}
	core.end()
}

// buffer is the answer to a request for one.
func (t *ticket) buffer() (Buffer, error) {
	if t.err != nil {
		return Buffer{}, t.err
	}
	b := t.bufs[0]
	if t.zero && !t.fresh {
		b.zero()
	}
	return b, nil
}

// wait returns when the ticket is answered. If ctx ends first it is abandoned,
// and whatever it gets later goes to the cache.
func (t *ticket) wait(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	t.gate = t.core.seam.NewGate()
	t.hop(true)
	if err := t.gate.WaitContext(ctx); err == nil {
		return t.err
	} else if t.state.CompareAndSwap(waiting, abandoned) {
		return t.core.fail(t.op, t.stream, t.total(), err)
	}
	t.gate.Wait() // it was answered a moment ago
	return t.err
}

// wipe zeroes what a buffer grows by, outside any turn and before anyone has it:
// afterwards the buffer may be freed, and the memory be another's, at any time.
func (t *ticket) wipe(mayEnter bool) {
	if !mayEnter {
		t.core.seam.Go(func() { t.wipe(true) })
		return
	}
	clear(hostBytes(t.plan.Place()))
	t.stage = hand
	t.hop(true)
}

// work is what the metal actor has done for a ticket so far: after a failure it
// tells what to undo.
type work struct {
	rng      metal.Range     // of a new segment; Size 0: none
	segment  metal.Segment   // taken whole; Size 0: none
	pages    []streams.Page  // for the block's place, in the order of spans; without a handle: not created yet
	moves    []*leaving      // free pages on their way to it; empty once they are in pages
	lent     []streams.Offer // free pages that were taken for it
	left     int64           // bytes of free pages that were left then
	moved    int64           // bytes that have left streams for the ticket and not gone back to the device
	own      int64           // bytes that have left the ticket's own stream for it
	released int64           // bytes that have, and are not booked yet
	created  int64           // bytes of new pages
	spans    runs
	mapped   int // of spans
}
