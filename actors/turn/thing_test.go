package turn

import (
	"errors"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/steps"
)

// thing is what a client leaves for the actor.
type thing struct {
	how   fate
	more  *thing // left by errands when this one is served
	next  *thing // in the list that it is in
	state steps.Uint32
	done  seam.Gate // opened when it is left no longer
}

// A thing's states.
const (
	left uint32 = iota
	served
	withdrawn // its Leave was refused, and errands hadn't found it
)

func (w *world) newThing(how fate) *thing { return &thing{how: how, done: w.s.NewGate()} }

// leave is what the project's callers do: put it down, tell the actor, and deal
// with it themselves if that is refused.
func (w *world) leave(th *thing) {
	for {
		th.next = w.left.Load()
		if w.left.CompareAndSwap(th.next, th) {
			break
		}
	}
	if err := w.m.Leave(); err != nil {
		if !errors.Is(err, ErrStopped) || !w.cut {
			w.t.Errorf("seed %d: Leave: %v", w.seed, err)
		}
		w.withdraw(th)
	}
}

func (w *world) withdraw(th *thing) {
	for ; th != nil && th.state.CompareAndSwap(left, withdrawn); th = th.more {
		th.done.Open()
	}
}

// errands serves what was left. What a panic keeps it from is in w.taken.
func (w *world) errands() {
	for th := w.left.Swap(nil); th != nil; {
		next := th.next
		w.taken, th.next = th, w.taken
		th = next
	}
	for w.taken != nil {
		th := w.taken
		w.taken = th.next
		w.serve(th)
	}
}

func (w *world) serve(th *thing) {
	if !th.state.CompareAndSwap(left, served) {
		if th.state.Load() == served {
			w.t.Errorf("seed %d: served twice", w.seed)
		}
		return
	}
	w.alone(th.how, func() {
		if th.more != nil {
			w.leave(th.more)
		}
		th.done.Open()
	})
}

// leave leaves one thing, or two of which the first leaves the second.
func (c *client) leave(how fate) {
	th := c.w.newThing(how)
	c.things = append(c.things, th)
	if c.rng.IntN(4) == 0 {
		th.more = c.w.newThing(quick)
		c.things = append(c.things, th.more)
	}
	c.w.leave(th)
}
