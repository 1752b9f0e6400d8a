package turn

import "github.com/asynkron/protoactor-go/actor"

// handOver passes the caller's turn to the run loop.
func (m *Mailbox) handOver() { m.dispatcher.Schedule(m.runFn) }

// letGo ends the caller's turn, unless there is work for the run loop.
func (m *Mailbox) letGo() bool {
	for {
		w := m.word.Load()
		if runnable(w) {
			return false
		}
		if m.word.CompareAndSwap(w, w&^running) {
			return true
		}
	}
}

// run is the run loop. It comes with the turn and returns without.
func (m *Mailbox) run() {
	returned := false
	defer func() {
		// drain stops panics, so this is runtime.Goexit: the goroutine is lost, the
		// turn must not be.
		if !returned {
			m.handOver()
		}
	}()
	for !m.drain() || !m.letGo() {
	}
	returned = true
}

// drain serves errands and what is queued, the system's messages before each of
// the users', until nothing is runnable (true) or a handler has panicked (false).
func (m *Mailbox) drain() (done bool) {
	var op Op // what is being served
	var msg any
	defer func() {
		if !done {
			m.broke(recover(), op, msg)
		}
	}()
	throughput := m.dispatcher.Throughput()
	for i := 0; ; i++ {
		if i > throughput {
			i = 0
			m.seam.Yield()
		}
		op, msg = nil, nil
		if m.sys.taken == nil && errandsDue(m.word.Load()) {
			m.serveErrands() // then on with the rest, so that no stream of errands keeps messages waiting
		}
		if n := m.sys.pop(&m.word, sysPending); n != nil {
			msg = unwrap(n)
			m.system(msg)
			continue
		}
		w := m.word.Load()
		n := m.nextUser(w)
		switch {
		case n == nil:
			return true
		case n.op == nil && heldBack(w):
			m.held.push(n)
		case n.op == nil:
			m.queued.Add(-1)
			msg = unwrap(n)
			m.invoker.InvokeUserMessage(msg)
		case w&stopped != 0:
			m.queued.Add(-1)
			m.fail(n.op, ErrStopped)
		default:
			m.queued.Add(-1)
			op = n.op
			op.Run()
		}
	}
}

// nextUser returns the oldest message or op that may be looked at under w. Of an
// actor that is held back that is none, unless it is stopped: then all but the
// messages that were held already.
func (m *Mailbox) nextUser(w uint32) *Node {
	if heldBack(w) {
		if w&stopped == 0 {
			return nil
		}
	} else if n := m.held.pop(); n != nil {
		return n
	}
	return m.user.pop(&m.word, userPending)
}

func (m *Mailbox) system(msg any) {
	switch msg.(type) {
	case *actor.SuspendMailbox:
		m.word.Or(suspended)
	case *actor.ResumeMailbox:
		m.word.And(^suspended)
	case *actor.Started:
		m.word.And(^unborn) // first: a restart after a panic in here posts no second *Started
		m.invoker.InvokeSystemMessage(msg)
	case *actor.Stop:
		m.word.Or(stopped) // its poster may have pushed it and not yet got to that
		m.invoker.InvokeSystemMessage(msg)
		m.ended = true
	case *actor.Restart:
		if !m.ended {
			m.invoker.InvokeSystemMessage(msg)
		}
	default:
		m.invoker.InvokeSystemMessage(msg)
	}
}

// broke deals with a handler that panicked or, v being nil, called Goexit. The
// supervisor is told while the turn is held: that touches the actor's context.
func (m *Mailbox) broke(v any, op Op, msg any) {
	if op == nil {
		m.invoker.EscalateFailure(cause(v), msg)
		return
	}
	err := newPanicError(v)
	m.invoker.EscalateFailure(err.Value, op)
	m.fail(op, err)
}

// fail calls op.Fail. A panic in there is the actor's failure, not the loop's end.
func (m *Mailbox) fail(op Op, err error) {
	defer func() {
		if v := recover(); v != nil {
			m.invoker.EscalateFailure(v, op)
		}
	}()
	op.Fail(err)
}
