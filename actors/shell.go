package actors

import (
	"errors"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/actors/turn"
	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/streams"
)

// shell is one of our actors as its callers see it: a mailbox whose turn they
// can take. The actor's state outlives the actor: after it has stopped, a lock
// takes the turn's place, so that buffers can be freed and figures asked for as
// long as anyone holds them.
type shell struct {
	core  *Core
	mb    *turn.Mailbox
	pid   *PID
	over  seam.Gate   // opened when the actor has stopped
	gone  atomic.Bool // stopped
	after seam.Gate   // the lock of a stopped actor's state: whoever passes opens it again
	first func()      // done before each op: what was left for the actor
}

// init makes the shell; errands is the mailbox's, first comes before each op.
func (a *shell) init(c *Core, errands, first func()) {
	a.core, a.first = c, first
	a.mb = turn.New(c.seam, errands)
	a.over, a.after = c.seam.NewGate(), c.seam.NewGate()
}

// spawn starts the actor. The same instance comes back after a restart: its
// state is the shell's owner, which a restart doesn't touch.
func (a *shell) spawn(receiver actor.Actor) {
	props := actor.PropsFromProducer(func() actor.Actor { return receiver },
		actor.WithMailbox(a.mb.Producer()),
		actor.WithDispatcher(a.core.dispatcher),
		actor.WithGuardian(alwaysRestart{}))
	a.pid = a.core.sys.Root.Spawn(props)
}

// stop ends the actor and returns when it has ended.
func (a *shell) stop() {
	a.core.sys.Root.Stop(a.pid)
	a.over.Wait()
}

// stopped is for the actor's Receive: from now on the lock guards the state.
func (a *shell) stopped() {
	a.gone.Store(true)
	a.after.Open()
	a.over.Open()
}

// alwaysRestart is the supervision of all our actors. Their state is checked on
// *actor.Restarting; if it is broken the actor says so itself.
type alwaysRestart struct{}

func (alwaysRestart) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, _, _ any,
) {
	s.RestartChildren(child)
}

// op is a piece of work that passes through turns.
type op interface {
	turn.Op
	// step does the work, in the turn.
	step()
	// broke is called, in place of the rest of step, when step panicked.
	broke(err error)
	// hop goes on to whatever comes next; mayEnter: the caller is in no turn that
	// others wait for, so the next turn may be taken right here.
	hop(mayEnter bool)
	base() *opBase
}

// opBase makes a struct that embeds it, and sets self, an op.
type opBase struct {
	turn.Node
	at   *shell
	self op
}

func (o *opBase) base() *opBase { return o }

// Run is the mailbox's call when the op was posted.
func (o *opBase) Run() {
	inMetal := o.at == &o.at.core.metal.shell // nobody waits for the metal actor's turn
	o.at.step(o.self)
	o.self.hop(inMetal)
}

// Fail is the mailbox's call when Run panicked or the actor stops.
func (o *opBase) Fail(err error) {
	if errors.Is(err, turn.ErrStopped) { // the actor is ending on this very goroutine
		o.at.core.seam.Go(func() { o.at.sendAfter(o.self) })
		return
	}
	o.self.broke(err)
	o.self.hop(false)
}

// send gives the op the actor's turn: right here if that may be and the actor is
// idle, else when it comes to it.
func (a *shell) send(o op, mayEnter bool) {
	o.base().at = a
	if mayEnter && a != &a.core.metal.shell && a.mb.Enter() {
		if err := a.guarded(o); err != nil {
			o.broke(err)
		}
		o.hop(true)
		return
	}
	if a.mb.Post(o) == nil {
		return
	}
	if mayEnter {
		a.sendAfter(o)
	} else {
		a.core.seam.Go(func() { a.sendAfter(o) })
	}
}

// step does the op's work, in the turn.
func (a *shell) step(o op) {
	if a.first != nil {
		a.first()
	}
	o.step()
}

// guarded runs the op's step in the turn, which the caller has taken, and lets go.
func (a *shell) guarded(o op) (err error) {
	ok := false
	defer func() {
		if !ok {
			err = a.mb.Panicked(recover())
		}
	}()
	a.step(o)
	ok = true
	a.mb.Exit()
	return nil
}

// sendAfter runs the op on the state of a stopped actor.
func (a *shell) sendAfter(o op) {
	if err := a.afterwards(o.step); err != nil {
		o.broke(err)
	}
	o.hop(true)
}

func (a *shell) afterwards(f func()) (err error) {
	a.after.Wait()
	defer a.after.Open()
	defer func() {
		if v := recover(); v != nil {
			err = &turn.PanicError{Value: v}
		}
	}()
	if a.first != nil {
		a.first()
	}
	f()
	return nil
}

// call is an op that its caller waits for.
type call struct {
	opBase
	gate seam.Gate
	f    func(*call)

	stream *Stream
	other  *Stream
	block  *streams.Block
	buf    Buffer
	n      int64
	result int64
	runs   runs
	err    error
}

func (c *call) step()           { c.f(c) }
func (c *call) broke(err error) { c.err = err }
func (c *call) hop(bool)        { c.gate.Open() }

// do runs the call in the actor's turn and returns when it has run.
func (a *shell) do(c *call) {
	c.at = a
	if a.mb.Enter() {
		if err := a.guarded(c); err != nil {
			c.err = err
		}
		return
	}
	if a.mb.Post(c) == nil {
		c.gate.Wait()
		return
	}
	if err := a.afterwards(c.step); err != nil {
		c.err = err
	}
}

// newCall takes a call from the pool.
func (c *Core) newCall(f func(*call)) *call {
	k, _ := c.calls.Get().(*call)
	if k == nil {
		k = &call{gate: c.seam.NewGate()}
		k.self = k
	}
	k.f = f
	return k
}

func (c *Core) freeCall(k *call) {
	*k = call{opBase: opBase{self: k}, gate: k.gate}
	c.calls.Put(k)
}

// figure has the actor answer with one figure, in its turn; s is for f.
func (a *shell) figure(s *Stream, f func(*call)) int64 {
	k := a.core.newCall(f)
	k.stream = s
	a.do(k)
	n := k.result
	a.core.freeCall(k)
	return n
}
