// Package simseam runs goroutines one at a time in an order drawn from a seed:
// the same seed gives the same run. It is the [seam.Seam] of deterministic tests.
//
//	sim := simseam.New(seed)
//	sim.Go(func() { … })          // as many as needed, all using sim as their seam
//	err := sim.Run()              // until all have ended
//
// Another goroutine may get its turn inside every Go, Yield, Spin, Open, Wait and
// WaitContext, and nowhere else. So:
//
//   - What waits outside the seam (a contended mutex, a channel, a timer, an actor
//     future) stops the whole run: Run hangs. A mutex must not be held across a
//     call to the seam.
//   - Only goroutines that Go started may use the seam while Run runs. Before and
//     after, the test itself may call Go and Open.
//   - A ctx counts as ended when its Err says so. Time doesn't pass in a run:
//     cancel contexts, don't give them deadlines.
//   - When everybody left waits, Run returns ErrDeadlock. A pool's parked workers
//     wait too: the test's main goroutine has to close the pool before it ends
//     (turn.Dispatcher: Close).
package simseam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/metalloc/metalloc/internal/seam"
)

// ErrDeadlock means that goroutines are left and each of them waits.
var ErrDeadlock = errors.New("deadlock")

// Sim is a scheduler. There is no lock in it: at any time one goroutine runs, and
// it owns everything here; what it hands to the next along with the baton is
// ordered by the channel.
type Sim struct {
	seed     uint64
	rng      *rand.Rand
	trace    uint64
	routines []*routine // that haven't ended, oldest first
	started  uint64
	current  *routine      // nil: Run, or the test before and after
	back     chan struct{} // the baton's way to Run
	ready    []*routine    // scratch of pick
	panics   []error
	dead     bool // a deadlock was found: who is still there is being ended
}

var _ seam.Seam = (*Sim)(nil)

type routine struct {
	id    uint64
	baton chan struct{}
	gate  *gate           // that it waits for; nil: it can run
	ctx   context.Context // of the wait
	stack []uintptr       // of the wait
}

// New returns a scheduler whose choices follow from seed.
func New(seed uint64) *Sim {
	return &Sim{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), back: make(chan struct{})}
}

// Trace is a hash of all choices made so far: two runs with the same Trace were
// the same run.
func (s *Sim) Trace() uint64 { return s.trace }

// Run returns when all goroutines have ended. A panic in one of them, and a
// deadlock, come back as an error that names the seed. The goroutines of a
// deadlock have been ended by then (runtime.Goexit where they waited), and from
// then on Go starts nothing.
func (s *Sim) Run() error {
	s.handTo(s.pick())
	if len(s.routines) == 0 {
		return s.failure(nil)
	}
	err := s.deadlock()
	s.dead = true
	for len(s.routines) > 0 {
		s.handTo(s.routines[0])
	}
	return s.failure(err)
}

func (s *Sim) failure(err error) error {
	if err = errors.Join(append(s.panics, err)...); err == nil {
		return nil
	}
	return fmt.Errorf("simseam: seed %d: %w", s.seed, err)
}

// handTo lets r run and returns when no goroutine can run any more.
func (s *Sim) handTo(r *routine) {
	if r == nil {
		return
	}
	s.pass(r)
	<-s.back
}

// Go adds a goroutine.
func (s *Sim) Go(f func()) {
	if s.dead {
		return
	}
	s.started++
	r := &routine{id: s.started, baton: make(chan struct{}, 1)}
	s.routines = append(s.routines, r)
	go func() {
		<-r.baton
		defer s.end(r)
		if !s.dead {
			f()
		}
	}()
	s.Yield()
}

func (s *Sim) end(r *routine) {
	if v := recover(); v != nil {
		s.panics = append(s.panics, fmt.Errorf("goroutine %d panicked: %v\n%s", r.id, v, debug.Stack()))
	}
	s.routines = slices.DeleteFunc(s.routines, func(x *routine) bool { return x == r })
	if s.dead {
		s.pass(nil)
	} else {
		s.pass(s.pick())
	}
}

// pass gives the baton away: to Run if next is nil.
func (s *Sim) pass(next *routine) {
	s.current = next
	if next == nil {
		s.back <- struct{}{}
		return
	}
	next.baton <- struct{}{}
}

// pick chooses among those who can run.
func (s *Sim) pick() *routine {
	s.ready = s.ready[:0]
	for _, r := range s.routines {
		if r.gate == nil || r.gate.open || r.ctx.Err() != nil {
			s.ready = append(s.ready, r)
		}
	}
	if len(s.ready) == 0 {
		return nil
	}
	r := s.ready[s.rng.IntN(len(s.ready))]
	const prime = 1099511628211 // FNV-1a, a word at a time
	s.trace = (s.trace ^ r.id<<16 ^ uint64(len(s.ready))) * prime
	return r
}

// Yield lets the seed choose who goes on.
func (s *Sim) Yield() {
	if self := s.current; self != nil && !s.dead {
		s.switchFrom(self)
	}
}

func (s *Sim) switchFrom(self *routine) {
	next := s.pick()
	if next == self {
		return
	}
	s.pass(next)
	<-self.baton
}

// Spin lets others run, and then gives up in one of eight cases.
func (s *Sim) Spin(int) bool {
	if s.current == nil || s.dead {
		return false
	}
	s.Yield()
	return s.rng.IntN(8) != 0
}

// LockThread does nothing: which thread runs is no part of the order.
func (s *Sim) LockThread() {}

// UnlockThread does nothing.
func (s *Sim) UnlockThread() {}

// NewGate returns a gate that is shut.
func (s *Sim) NewGate() seam.Gate { return &gate{sim: s} }

type gate struct {
	sim  *Sim
	open bool
}

func (g *gate) Open() {
	g.open = true
	g.sim.Yield()
}

func (g *gate) Wait() {
	_ = g.wait(context.Background())
}

func (g *gate) WaitContext(ctx context.Context) error { return g.wait(ctx) }

func (g *gate) wait(ctx context.Context) error {
	s, self := g.sim, g.sim.current
	if self == nil {
		panic("simseam: Wait outside the goroutines that Go started")
	}
	if s.dead {
		runtime.Goexit()
	}
	self.gate, self.ctx = g, ctx
	pcs := make([]uintptr, 16)
	self.stack = pcs[:runtime.Callers(2, pcs)]
	s.switchFrom(self)
	if s.dead {
		runtime.Goexit()
	}
	self.gate, self.ctx, self.stack = nil, nil, nil
	if g.open {
		g.open = false
		return nil
	}
	return ctx.Err()
}
