package turn

// Leave tells the actor that the caller has put something where errands, which
// New was given, will find it. Never waits for who is inside, and doesn't
// allocate: who is inside runs errands on its own goroutine before it lets go.
// If the actor is idle errands runs here, and what it does then happens to the
// caller: it may call runtime.Goexit, while a panic in it is the actor's failure.
// If the actor is held back errands waits until it comes back.
//
// ErrStopped: errands isn't called for it, and what was put there is the caller's
// to deal with; a call that others have yet to get may find it, too. After nil
// errands is called, even if the actor is stopped before that.
func (m *Mailbox) Leave() error {
	for {
		w := m.word.Load()
		if w&stopped != 0 {
			return ErrStopped
		}
		next, start := posted(w, errand)
		if next != w && !m.word.CompareAndSwap(w, next) {
			continue
		}
		if start { // it was idle: messages would have had a holder
			m.exitSlow()
		}
		return nil
	}
}

// exitSlow ends a caller's turn that something came into: errands are run here,
// because handing over costs a hundred times what they do, and for messages the
// turn passes to the run loop.
//
//go:noinline
func (m *Mailbox) exitSlow() {
	done := false
	defer func() {
		if !done { // errands panicked, or called runtime.Goexit; the caller has its own result
			defer m.handOver() // also if the supervisor's strategy panics
			m.broke(recover(), nil, nil)
		}
	}()
	for !m.letGo() {
		if m.word.Load()&(userPending|sysPending) != 0 {
			m.handOver()
			break
		}
		m.serveErrands()
	}
	done = true
}

// serveErrands calls errands, in the turn. What it didn't get to because of a
// panic is due again.
func (m *Mailbox) serveErrands() {
	m.word.And(^errand) // before the call: who leaves something later sets it again
	done := false
	defer func() {
		if !done {
			m.word.Or(errand)
		}
	}()
	m.errands()
	done = true
}
