package actors

import (
	"context"
	"sync/atomic"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// ticket is a malloc that could not be served in one turn: a busy stream, or a
// miss on its way through supervisor and metal actor. Each stage is a turn of
// its own; between them nobody holds anything but the ticket.
//
//	stream: look ─▶ supervisor: promise ─▶ metal: serve ─▶ supervisor: book ─▶ stream: commit
//	                    │ ▲ too much               │ device failed
//	                    ▼ │ (once)                 ▼
//	                  sweep the caches          supervisor: unbook ─▶ stream: abort (or once more)
type ticket struct {
	opBase
	core   *Core
	stream *Stream
	size   int64
	stage  stage
	asked  bool  // the caches have been swept as far as the limits want it
	swept  bool  // and altogether, since the device was full
	again  bool  // after abort the ticket tries once more
	sweep  int64 // bytes to sweep from caches before the next stage

	sweepOver []*Stream // whose caches
	failed    bool      // the device work was undone, err says why

	plan     *streams.Plan
	promised int64 // bytes that the ledger holds for it
	work     work  // what the metal actor has done
	give     runs  // pages of settled blocks that go back to the device

	gate  seam.Gate
	reply *PID // who asked by message; without this and a gate nobody waits
	state atomic.Uint32
	buf   Buffer
	err   error
}

type stage uint8

const (
	look stage = iota
	promise
	serve
	undo
	book
	commit
	abort
	done
)

// A ticket's end is decided once: by the turn that fills it in, or by the caller
// whose ctx has ended.
const (
	waiting uint32 = iota
	answered
	abandoned
)

func (c *Core) newTicket(s *Stream, size int64) *ticket {
	t := &ticket{core: c, stream: s, size: size}
	t.self = t
	c.begin()
	return t
}

// step does the present stage and picks the next.
func (t *ticket) step() {
	switch t.stage {
	case look:
		t.stage = t.stream.look(t)
	case promise:
		t.stage = t.core.sup.promise(t)
	case serve:
		t.stage = t.core.metal.serve(t)
	case undo:
		t.stage = t.core.metal.undo(t)
	case book:
		t.stage = t.core.sup.book(t)
	case commit:
		t.stage = t.stream.commit(t)
	case abort:
		t.stage = t.stream.abort(t)
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
		t.stream.answer(t, Buffer{}, err)
		t.stage = done
	}
}

func (t *ticket) hop(mayEnter bool) {
	if t.give != nil {
		give := t.give
		t.give = nil
		t.core.giveBack(give, nil, mayEnter)
	}
	if t.sweep > 0 {
		t.core.sweepFor(t, mayEnter)
		return
	}
	switch t.stage {
	case look, commit, abort:
		t.stream.send(t, mayEnter)
	case promise, book:
		t.core.sup.send(t, mayEnter)
	case serve, undo:
		t.core.metal.send(t, mayEnter)
	case done:
		t.finish()
	}
}

// finish tells whoever asked. A buffer that nobody wanted any more has gone back
// to the cache already.
func (t *ticket) finish() {
	core, reply := t.core, t.reply
	if s := t.stream; s.gone.Load() { // closed meanwhile
		core.background(func() { core.retire(s) })
	}
	switch {
	case reply != nil:
		core.sys.Root.Send(reply, MallocReply{Buffer: t.buf, Err: t.err})
	case t.gate != nil:
		t.gate.Open()
	}
	core.end()
}

// wait returns what became of the ticket; if ctx ends first it is abandoned, and
// whatever it gets later goes to the cache.
func (t *ticket) wait(ctx context.Context) (Buffer, error) {
	if err := t.gate.WaitContext(ctx); err == nil {
		return t.buf, t.err
	} else if t.state.CompareAndSwap(waiting, abandoned) {
		return Buffer{}, t.core.fail("malloc", t.stream, t.size, err, false)
	}
	t.gate.Wait() // it was answered a moment ago
	return t.buf, t.err
}

// work is what the metal actor has done for a ticket so far: after a failure it
// tells what to undo.
type work struct {
	rng      metal.Range    // of a new segment; Size 0: none
	segment  metal.Segment  // taken whole; Size 0: none
	handles  []metal.Handle // for the block's place: moved pages first, then new ones
	moves    []*leaving     // the plan's; empty once their handles are in handles
	moved    int64          // bytes of the plan's moves; look sets it
	released int64          // bytes that undo gave back
	created  int64          // bytes of new ones
	spans    runs
	mapped   int // of spans
}
