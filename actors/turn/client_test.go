package turn

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/internal/seam"
)

// fate is how a visit goes.
type fate int

const (
	quick  fate = iota
	slow        // lets others run while it holds the turn
	crash       // panics
	goexit      // calls runtime.Goexit
)

// visit is an op, and a message: it numbers what a client has sent.
type visit struct {
	Node
	client *client
	n      int
	how    fate
	err    error
	done   seam.Gate
	ended  atomic.Int32
}

// Header is called between Post's look at the word and its push.
func (v *visit) Header() *Node {
	if v.how == slow {
		v.client.w.s.Yield()
	}
	return &v.Node
}

func (v *visit) Run() {
	v.client.w.come(v.client.id, v.n, v.how)
	v.end(nil)
}

func (v *visit) Fail(err error) { v.end(err) }

func (v *visit) end(err error) {
	v.ended.Add(1)
	v.err = err
	v.done.Open()
}

// pair is a batch that takes its time.
type pair struct {
	s    seam.Seam
	a, b *visit
}

func (p pair) GetMessages() []any {
	p.s.Yield()
	return []any{p.a, p.b}
}

type client struct {
	w      *world
	id     int
	rng    *rand.Rand
	n      int
	sure   int      // visits that must take place unless the actor is stopped
	posted []*visit // accepted by Post
	things []*thing // left
	steps  int      // that are still to be made
}

func (c *client) next(how fate) *visit {
	c.n++
	return &visit{client: c, n: c.n, how: how, done: c.w.s.NewGate()}
}

// work is a client's goroutine, and goes on with another when errands that the
// client served in its own turn has ended this one.
func (c *client) work() {
	returned := false
	defer func() {
		if !returned && !c.w.t.Failed() {
			c.w.s.Go(c.work)
		}
	}()
	for c.steps > 0 {
		c.steps--
		how := quick
		switch k := c.rng.IntN(100); {
		case k < 30:
			how = slow
		case k < 33:
			how = crash
		case k < 35:
			how = goexit
		}
		c.step(how)
	}
	for _, v := range c.posted { // those that nobody has waited for yet
		if v.ended.Load() == 0 {
			c.w.wait(v.done)
		}
	}
	for _, th := range c.things {
		if th.state.Load() == left {
			c.w.wait(th.done)
		}
	}
	returned = true
	c.w.rest()
}

func (c *client) step(how fate) {
	w := c.w
	switch k := c.rng.IntN(100); {
	case k < 35:
		c.visit(how)
	case k < 60:
		c.leave(how)
	case k < 70:
		c.post(how, true)
	case k < 75:
		c.post(how, false)
	case k < 90:
		c.sure++
		system.Root.Send(w.pid, c.next(how))
	case k < 93:
		c.sure += 2
		system.Root.Send(w.pid, pair{w.s, c.next(quick), c.next(quick)})
	case k < 94:
		c.request()
	case k < 97:
		w.m.PostSystemMessage(&actor.Restart{})
	default:
		w.m.PostSystemMessage(&actor.SuspendMailbox{})
		w.s.Yield()
		w.m.PostSystemMessage(&actor.ResumeMailbox{})
	}
}

// request waits on a channel of protoactor's, which a simulated run may not.
func (c *client) request() {
	if c.w.s != seam.Real || c.w.cut {
		return
	}
	c.sure++
	v := c.next(quick)
	if n, err := system.Root.RequestFuture(c.w.pid, v, time.Minute).Result(); n != v.n {
		c.w.t.Errorf("seed %d: request %d got %v, %v", c.w.seed, v.n, n, err)
	}
}

// visit is what the project's callers do: enter, else post and wait.
func (c *client) visit(how fate) {
	if !c.w.m.Enter() {
		c.post(how, true)
		return
	}
	c.sure++
	v := c.next(how)
	if how == goexit { // on a goroutine that can be spared, which takes the turn along
		c.w.s.Go(func() {
			defer v.done.Open()
			_ = c.inline(v)
		})
		c.w.wait(v.done)
		return
	}
	c.judge(v, c.inline(v))
}

func (c *client) inline(v *visit) (err error) {
	ok := false
	defer func() {
		if !ok {
			err = c.w.m.Panicked(recover())
		}
	}()
	c.w.come(c.id, v.n, v.how)
	ok = true
	c.w.m.Exit()
	return nil
}

func (c *client) post(how fate, wait bool) {
	v := c.next(how)
	if err := c.w.m.Post(v); err != nil {
		if !errors.Is(err, ErrStopped) || !c.w.cut {
			c.w.t.Errorf("seed %d: Post: %v", c.w.seed, err)
		}
		return
	}
	c.sure++
	c.posted = append(c.posted, v)
	if wait {
		c.w.wait(v.done)
		c.judge(v, v.err)
	}
}

// judge checks that a visit's error is the one that its fate asks for.
func (c *client) judge(v *visit, err error) {
	var pe *PanicError
	switch {
	case err == nil && v.how < crash:
	case errors.Is(err, ErrStopped) && c.w.cut:
	case errors.As(err, &pe) && v.how == crash && pe.Value == crash:
	case errors.Is(err, ErrGoexit) && v.how == goexit:
	default:
		c.w.t.Errorf("seed %d: visit with fate %d: %v", c.w.seed, v.how, err)
	}
}
