package turn

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/steps"
)

var firstSeed = flag.Uint64("seed", 1, "first seed of the random runs")

// world is one actor under random load: clients enter, post, tell, panic and
// restart, and the main goroutine stops the actor, at the end or in between. The
// same load runs on real goroutines, where the race detector proves exclusivity,
// and under simseam, where the seed decides the order.
type world struct {
	t       *testing.T
	s       seam.Seam
	seed    uint64
	m       *Mailbox
	pid     *actor.PID
	started seam.Gate
	over    seam.Gate // the actor was stopped
	cut     bool      // the actor is stopped while clients are at work

	// Owned by the turn, and unsynchronised on purpose.
	inside  bool
	latest  []int // per client: the number of its latest visit
	visits  int
	stopped int

	left  steps.Pointer[thing] // newest first
	taken *thing               // the turn's

	clients []*client
	running atomic.Int64
	done    seam.Gate // no client is running
}

func newWorld(t *testing.T, s seam.Seam, seed uint64, d actor.Dispatcher, clients int, cut bool) *world {
	w := &world{t: t, s: s, seed: seed, started: s.NewGate(), over: s.NewGate(), done: s.NewGate(), cut: cut}
	w.m = New(s, w.errands)
	for i := range clients {
		w.clients = append(w.clients, &client{w: w, id: i, rng: rand.New(rand.NewPCG(seed, uint64(i)))})
		w.latest = append(w.latest, 0)
	}
	w.pid = system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return w },
		actor.WithMailbox(w.m.Producer()), actor.WithDispatcher(d), actor.WithGuardian(restarts)))
	return w
}

// live is the main goroutine: it returns when the actor has stopped and all that
// was posted has ended.
func (w *world) live(n int) {
	w.wait(w.started)
	w.running.Store(int64(len(w.clients)))
	for _, c := range w.clients {
		c.steps = n
		w.s.Go(c.work)
	}
	rng := rand.New(rand.NewPCG(w.seed, 1<<32))
	if w.cut {
		for range rng.IntN(10 * n) {
			w.s.Yield()
		}
	} else {
		w.wait(w.done)
	}
	if w.cut && rng.IntN(2) == 0 {
		system.Root.Stop(w.pid)
	} else {
		system.Root.Poison(w.pid) // behind what was sent
	}
	w.wait(w.over)
	if w.cut {
		w.wait(w.done)
	}
	w.check()
}

// rest is the end of one client.
func (w *world) rest() {
	if w.running.Add(-1) == 0 {
		w.done.Open()
	}
}

// check needs no turn: the actor has stopped and the clients have ended.
func (w *world) check() {
	if err := w.m.Post(&visit{}); !errors.Is(err, ErrStopped) {
		w.t.Errorf("seed %d: Post to the stopped actor: %v", w.seed, err)
	}
	if w.stopped != 1 {
		w.t.Errorf("seed %d: stopped %d times", w.seed, w.stopped)
	}
	sure := 0
	for _, c := range w.clients {
		for _, v := range c.posted {
			if ended := v.ended.Load(); ended != 1 {
				w.t.Errorf("seed %d: op %d of client %d ended %d times", w.seed, v.n, c.id, ended)
			}
		}
		for i, th := range c.things {
			if state := th.state.Load(); state != served && (state != withdrawn || !w.cut) {
				w.t.Errorf("seed %d: thing %d of client %d: state %d", w.seed, i, c.id, state)
			}
		}
		sure += c.sure
	}
	// Messages that are queued when the actor stops are lost, ops never.
	if !w.cut && w.visits != sure {
		w.t.Errorf("seed %d: %d visits, %d were sent", w.seed, w.visits, sure)
	}
}

// wait fails the test, instead of hanging for ever, when a real gate stays shut.
func (w *world) wait(g seam.Gate) {
	ctx, cancel := context.Background(), func() {}
	if w.s == seam.Real {
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
	}
	defer cancel()
	if err := g.WaitContext(ctx); err != nil {
		buf := make([]byte, 1<<20)
		w.t.Errorf("seed %d: nobody came, word %07b\n%s", w.seed, w.m.word.Load(), buf[:runtime.Stack(buf, true)])
		runtime.Goexit()
	}
}

// come is one visit to the actor, in the turn.
func (w *world) come(client, n int, how fate) {
	w.alone(how, func() {
		if w.stopped > 0 {
			w.t.Errorf("seed %d: client %d: visit %d after Stopped", w.seed, client, n)
		}
		if n <= w.latest[client] {
			w.t.Errorf("seed %d: client %d: visit %d after %d", w.seed, client, n, w.latest[client])
		}
		w.latest[client] = n
		w.visits++
	})
}

// alone does something that takes the turn.
func (w *world) alone(how fate, f func()) {
	if w.inside {
		w.t.Errorf("seed %d: two in the turn", w.seed)
	}
	w.inside = true
	f()
	if how == slow {
		w.s.Yield()
	}
	w.inside = false
	switch how {
	case crash:
		panic(crash)
	case goexit:
		runtime.Goexit()
	}
}

// Receive handles a told visit as Run does a posted one.
func (w *world) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		if w.stopped > 0 {
			w.t.Errorf("seed %d: started after Stopped", w.seed)
		}
		w.started.Open()
	case *actor.Stopped:
		w.stopped++
		w.over.Open()
	case *visit:
		w.come(msg.client.id, msg.n, msg.how)
		if c.Sender() != nil {
			c.Respond(msg.n)
		}
	}
}
