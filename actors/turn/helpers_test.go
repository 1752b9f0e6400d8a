package turn

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
)

// system is the process's one actor system: each costs 2.5 MiB. The short
// throttle lets the dead letters' goroutine end before goleak looks.
var system = actor.NewActorSystem(
	actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
	actor.WithDeadLetterThrottleInterval(10*time.Millisecond),
)

// verdict is a supervisor that always decides the same. protoactor keeps one
// guardian per strategy for good, so they are few and comparable.
type verdict string

const (
	restarts verdict = "restart"
	resumes  verdict = "resume"
	stops    verdict = "stop"
	silent   verdict = "silent" // leaves the actor suspended
	panics   verdict = "panic"
)

func (v verdict) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, _, _ any) {
	switch v {
	case restarts:
		s.RestartChildren(child)
	case resumes:
		s.ResumeChildren(child)
	case stops:
		s.StopChildren(child)
	case panics:
		panic("supervisor panicked")
	}
}

// manual is a dispatcher that runs what was scheduled when the test says so.
type manual struct{ scheduled []func() }

func (d *manual) Schedule(fn func()) { d.scheduled = append(d.scheduled, fn) }
func (d *manual) Throughput() int    { return 3 }

// drain runs all that is scheduled, each on a goroutine of its own, so that
// runtime.Goexit ends only that.
func (d *manual) drain() {
	for len(d.scheduled) > 0 {
		fn := d.scheduled[0]
		d.scheduled = d.scheduled[1:]
		gone := make(chan struct{})
		go func() { defer close(gone); fn() }()
		<-gone
	}
}

// rig is an actor on a manual dispatcher; everything happens in program order.
type rig struct {
	*testing.T
	m      *Mailbox
	d      *manual
	pid    *actor.PID
	log    []string          // what happened in the turn
	on     map[string]func() // called by the actor when it logs that
	yields int
	spin   func(i int)

	left, taken []string // errands: not yet seen by the actor, and seen
}

type rigSeam struct {
	seam.Seam
	b *rig
}

func (s rigSeam) Yield() { s.b.yields++ }

func (s rigSeam) Spin(i int) bool {
	if s.b.spin != nil {
		s.b.spin(i)
	}
	return s.Seam.Spin(i)
}

func newRig(t *testing.T) *rig {
	b := &rig{T: t, d: &manual{}, on: map[string]func(){}}
	b.m = New(rigSeam{seam.Real, b}, b.errands)
	return b
}

// spawned returns a rig whose actor is alive and idle, with an empty log.
func spawned(t *testing.T, v verdict) *rig {
	b := newRig(t)
	b.spawn(v)
	b.d.drain()
	b.logged("Started")
	return b
}

func (b *rig) spawn(v verdict) {
	b.pid = system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return b },
		actor.WithMailbox(b.m.Producer()), actor.WithDispatcher(b.d), actor.WithGuardian(v)))
}

func (b *rig) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		b.did("Started")
	case *actor.Restarting:
		b.did("Restarting")
	case *actor.Stopping:
		b.did("Stopping")
	case *actor.Stopped:
		b.did("Stopped")
	default:
		b.did(fmt.Sprint(msg))
	}
}

func (b *rig) did(what string) {
	if b.m.word.Load()&running == 0 {
		b.Errorf("%s outside the turn", what)
	}
	b.log = append(b.log, what)
	if f := b.on[what]; f != nil {
		f()
	}
}

// errands looks once at what was left: for more it has to be called again. What a
// panic keeps it from it has taken already.
func (b *rig) errands() {
	b.taken, b.left = append(b.taken, b.left...), nil
	for len(b.taken) > 0 {
		what := b.taken[0]
		b.taken = b.taken[1:]
		b.did(what)
	}
}

// leave leaves something and expects that to be accepted.
func (b *rig) leave(what string) {
	b.Helper()
	b.left = append(b.left, what)
	require.NoError(b, b.m.Leave())
}

func (b *rig) tell(msg any) { system.Root.Send(b.pid, msg) }

// logged drains and checks what has happened since the last time.
func (b *rig) logged(want ...string) {
	b.Helper()
	b.d.drain()
	require.Equal(b, want, b.log)
	b.log = nil
}

// here checks what has happened since the last time, on the test's goroutine: all
// else that is to happen was not scheduled.
func (b *rig) here(want ...string) {
	b.Helper()
	require.Empty(b, b.d.scheduled)
	require.Equal(b, want, b.log)
	b.log = nil
}

// enterable checks that the actor is idle, and leaves it so.
func (b *rig) enterable() {
	b.Helper()
	require.Empty(b, b.d.scheduled)
	require.True(b, b.m.TryEnter(), "word %07b", b.m.word.Load())
	b.m.Exit()
	require.Empty(b, b.d.scheduled)
}

// step is an op that logs its name, and its failure.
type step struct {
	Node
	b     *rig
	name  string
	early func() // called by Post, after it has looked at the word
	do    func() // in Run
	undo  func() // in Fail
	err   error
}

func (b *rig) op(name string) *step { return &step{b: b, name: name} }

// post posts a step and expects it to be accepted.
func (b *rig) post(name string) *step {
	b.Helper()
	s := b.op(name)
	require.NoError(b, b.m.Post(s))
	return s
}

func (s *step) Header() *Node {
	if s.early != nil {
		s.early()
	}
	return &s.Node
}

func (s *step) Run() {
	s.b.did(s.name)
	if s.do != nil {
		s.do()
	}
}

func (s *step) Fail(err error) {
	s.err = err
	s.b.did(s.name + " failed")
	if s.undo != nil {
		s.undo()
	}
}
