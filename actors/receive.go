package actors

import (
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/actors/turn"
)

// The actors' side of protoactor: a message becomes a call of what the methods
// call too.

type streamActor Stream

// Receive handles one message, in the stream's turn.
func (a *streamActor) Receive(ctx actor.Context) {
	s := (*Stream)(a)
	defer answerPanic(ctx)
	switch m := deref(ctx.Message()).(type) {
	case *actor.Restarting:
		s.restarted()
	case *actor.Stopped:
		s.stopped()
	case Malloc:
		s.receiveMalloc(ctx, m)
	case Free:
		s.receiveFree(ctx, m)
	case RecordUse:
		s.receiveUse(ctx, m)
	case ClearCache:
		s.core.receiveClear(ctx, []*Stream{s})
	case Snapshot:
		respond(ctx, SnapshotReply{Snapshot: s.core.picture()})
	default:
		receiveQuery(ctx, m, s.core.ledger, &s.row)
	}
}

func (s *Stream) receiveMalloc(ctx actor.Context, m Malloc) {
	if rounded := s.heap.Round(m.Size); m.Size <= 0 || rounded == 0 || rounded > s.core.maxBlock() {
		b, err := s.mallocOdd(m.Size)
		respond(ctx, MallocReply{Buffer: b, Err: err})
		return
	}
	t := s.core.newTicket(s, want{op: "malloc", sizes: []int64{m.Size}, zero: s.core.alwaysZero})
	if t.reply = ctx.Sender(); t.reply == nil {
		t.state.Store(abandoned) // nobody to have it: carried out, and kept as cache
	}
	defer func() {
		v := recover()
		if v != nil {
			t.broke(&turn.PanicError{Value: v, Stack: debug.Stack()})
		}
		t.hop(false)
		if v != nil {
			panic(v)
		}
	}()
	t.step()
}

// receiveFree frees a buffer of this stream in this turn; another stream's is
// passed on.
func (s *Stream) receiveFree(ctx actor.Context, m Free) {
	owner := m.Buffer.stream()
	switch {
	case owner == nil || owner.core != s.core:
		respond(ctx, FreeReply{Err: s.core.fail("free", s, m.Buffer.size, ErrForeignBuffer)})
	case m.Buffer.block() == nil:
		respond(ctx, FreeReply{})
	case owner != s:
		c, sender := s.core, ctx.Sender()
		c.background(func() { c.tell(sender, FreeReply{Err: m.Buffer.Free()}) })
	default:
		if !m.Buffer.block().Claim(m.Buffer.gen) {
			respond(ctx, FreeReply{Err: s.core.fail("free", s, m.Buffer.size, ErrDoubleFree)})
			return
		}
		rs, err := s.takeBack(m.Buffer)
		if err != nil {
			err = s.core.fail("free", s, m.Buffer.size, err)
		}
		if rs == nil {
			respond(ctx, FreeReply{Err: err})
			return
		}
		c, sender := s.core, ctx.Sender()
		c.giveBack(rs, func(bool) {
			c.tell(sender, FreeReply{})
			c.end() // takeBack has begun it
		}, false)
	}
}

func (s *Stream) receiveUse(ctx actor.Context, m RecordUse) {
	var err error
	switch owner := m.Buffer.stream(); {
	case owner == nil || m.Stream == nil || owner.core != s.core || m.Stream.core != s.core:
		err = s.core.fail("record use", s, m.Buffer.size, ErrForeignBuffer)
	case owner != s:
		err = s.core.fail("record use", s, m.Buffer.size, ErrBadMessage)
	case m.Buffer.block() != nil && m.Stream != s:
		err = s.noteUse(m.Buffer, m.Stream)
	}
	respond(ctx, RecordUseReply{Err: err})
}

type supervisorActor supervisor

// Receive handles one message, in the supervisor's turn.
func (a *supervisorActor) Receive(ctx actor.Context) {
	p := (*supervisor)(a)
	c := p.core
	defer answerPanic(ctx)
	switch m := deref(ctx.Message()).(type) {
	case *actor.Stopped:
		p.stopped()
	case MemoryLimit:
		n, _ := c.ledger.Limits()
		respond(ctx, MemoryReply{Bytes: n})
	case CacheLimit:
		_, n := c.ledger.Limits()
		respond(ctx, MemoryReply{Bytes: n})
	case WiredLimit:
		respond(ctx, MemoryReply{Bytes: c.metal.wiring.limit.Load()})
	case SetMemoryLimit:
		previous, over, err := p.setMemoryLimit(m.Bytes)
		c.receiveLimit(ctx, LimitReply{previous, err}, sweepPages, over)
	case SetCacheLimit:
		previous, over, err := p.setCacheLimit(m.Bytes)
		c.receiveLimit(ctx, LimitReply{previous, err}, sweepCache, over)
	case SetWiredLimit:
		sender := ctx.Sender()
		c.background(func() {
			previous, err := c.SetWiredLimit(m.Bytes)
			c.tell(sender, LimitReply{previous, err})
		})
	case ClearCache:
		c.receiveClear(ctx, p.byCache(false))
	case BeginSpan:
		id, active := p.beginSpan(m.Name)
		respond(ctx, BeginSpanReply{Span: id, Active: active})
	case EndSpan:
		sp, err := p.endSpan(m.Span)
		respond(ctx, EndSpanReply{sp, err})
	case Snapshot:
		respond(ctx, SnapshotReply{Snapshot: c.picture()})
	default:
		receiveQuery(ctx, m, c.ledger, nil)
	}
}

// receiveLimit answers when what is over a lowered limit has been trimmed.
func (c *Core) receiveLimit(ctx actor.Context, r LimitReply, kind sweepKind, over int64) {
	if r.Err != nil || over <= 0 {
		respond(ctx, r)
		return
	}
	sender := ctx.Sender()
	c.sweepOver(c.sup.byCache(false), kind, over, func(*sweep, bool) {
		c.warnOver()
		c.tell(sender, r)
	}, false)
}

func (c *Core) receiveClear(ctx actor.Context, ss []*Stream) {
	sender := ctx.Sender()
	c.sweepOver(ss, sweepClear, everything, func(s *sweep, _ bool) {
		c.tell(sender, ClearCacheReply{Released: s.released, Pending: s.pending})
	}, false)
}

// receiveQuery answers what streams and supervisor are asked alike; r is the
// stream's row, nil for the totals. Messages of protoactor itself end here too.
func receiveQuery(ctx actor.Context, m any, l *ledger.Ledger, r *ledger.Row) {
	read := func() ledger.Totals {
		if r == nil {
			return l.Totals()
		}
		return l.TotalsOf(r)
	}
	switch m.(type) {
	case ActiveMemory:
		respond(ctx, MemoryReply{Bytes: read().Active})
	case PeakMemory:
		respond(ctx, MemoryReply{Bytes: read().Peak})
	case CacheMemory:
		respond(ctx, MemoryReply{Bytes: read().Cache})
	case ReservedMemory:
		respond(ctx, MemoryReply{Bytes: read().Reserved})
	case ResetPeakMemory:
		if r == nil {
			l.ResetPeak()
		} else {
			l.ResetPeakOf(r)
		}
		respond(ctx, ResetPeakReply{})
	default: // a nil pointer, or sent to the wrong kind of actor
		if r := failure(ctx.Message(), ErrBadMessage); r != nil {
			respond(ctx, r)
		}
	}
}

// answerPanic, deferred, answers the message whose handling panicked; the
// mailbox deals with the rest.
func answerPanic(ctx actor.Context) {
	v := recover()
	if v == nil {
		return
	}
	r := failure(ctx.Message(), &turn.PanicError{Value: v, Stack: debug.Stack()})
	if _, ticket := r.(MallocReply); !ticket && r != nil { // a ticket answers itself
		respond(ctx, r)
	}
	panic(v)
}

// tell sends a reply later than in the handling of its message.
func (c *Core) tell(sender *PID, reply any) {
	if sender != nil {
		c.sys.Root.Send(sender, reply)
	}
}

func respond(ctx actor.Context, reply any) {
	if ctx.Sender() != nil {
		ctx.Respond(reply)
	}
}
