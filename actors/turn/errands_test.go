package turn

import (
	"runtime"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
)

func TestLeaveWithABusyActor(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	b.leave("b")
	b.here()
	b.m.Exit()
	b.here("a", "b")
	b.enterable()
}

func TestLeaveWithAnIdleActor(t *testing.T) {
	b := spawned(t, restarts)
	b.leave("a")
	b.here("a")
	b.enterable()
}

// Whoever is inside when something is left, be it errands itself, sees to it.
func TestLeaveInOwnTurn(t *testing.T) {
	b := spawned(t, restarts)
	b.on["a"] = func() { b.leave("b") }
	b.on["b"] = func() { b.leave("c") }
	b.leave("a")
	b.here("a", "b", "c")
	require.True(t, b.m.TryEnter())
	b.leave("a")
	b.m.Exit()
	b.here("a", "b", "c")
	b.on["op"] = func() { b.leave("a") }
	b.post("op")
	b.logged("op", "a", "b", "c")
	b.on["message"] = func() { b.leave("a") }
	b.tell("message")
	b.logged("message", "a", "b", "c")
	b.enterable()
}

// With messages pending the turn is handed over anyway, and errands with it.
func TestRunLoopServesErrands(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.post("a")
	b.leave("left")
	b.m.PostSystemMessage(&actor.Restart{})
	b.m.Exit()
	require.Empty(t, b.log)
	require.Len(t, b.d.scheduled, 1)
	b.leave("and left")
	b.logged("Restarting", "Started", "left", "and left", "a")
	b.enterable()
}

// What errands itself posts is handed over; who leaves without end keeps nobody waiting.
func TestErrandsAndMessagesTakeTurns(t *testing.T) {
	b := spawned(t, restarts)
	n := 0
	b.on["left"] = func() {
		if n++; n <= 3 {
			b.post("op")
			b.leave("left")
		}
	}
	b.leave("left")
	b.logged("left", "left", "op", "left", "op", "left", "op")
	b.enterable()
}

func TestEnterWaitsForErrands(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	b.spin = func(i int) {
		if i == 1 { // Enter has looked at the word once
			b.m.Exit()
		}
	}
	require.True(t, b.m.Enter())
	b.m.Exit()
	b.here("a")
}

func TestHeldBackErrandsAreServedOnResume(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	b.m.PostSystemMessage(&actor.SuspendMailbox{})
	b.m.Exit()
	b.logged()
	b.leave("b")
	b.here()
	require.False(t, b.m.Enter())
	b.m.PostSystemMessage(&actor.ResumeMailbox{})
	b.logged("a", "b")
	b.enterable()
}

func TestErrandsWaitForStarted(t *testing.T) {
	b := newRig(t)
	b.leave("a")
	b.on["Started"] = func() { b.on["Started"] = nil; b.leave("b"); panic("not ready") }
	b.spawn(restarts)
	b.leave("c")
	b.logged("Started", "Restarting", "Started", "a", "c", "b")
	b.enterable()
}

// errandsFrom has errands called, for three things of which the first is "boom",
// by each of those who may do that.
var errandsFrom = map[string]func(b *rig){
	"exit": func(b *rig) {
		require.True(b, b.m.TryEnter())
		b.left = []string{"boom", "a"}
		b.leave("b")
		b.m.Exit()
	},
	"leave": func(b *rig) {
		b.left = []string{"boom", "a"}
		b.leave("b")
	},
	"run loop": func(b *rig) {
		b.on["message"] = func() { b.left = []string{"boom", "a"}; b.leave("b") }
		b.tell("message")
	},
}

// Where errands is called from makes no difference to what becomes of the actor.
func TestErrandsFail(t *testing.T) {
	for how, f := range map[string]func(){"panic": explode, "goexit": runtime.Goexit} {
		for from, call := range errandsFrom {
			for v, then := range map[verdict][]string{
				restarts: {"boom", "Restarting", "Started", "a", "b", "c"},
				resumes:  {"boom", "a", "b", "c"},
				stops:    {"boom", "Stopping", "Stopped", "a", "b", "c"},
				silent:   {"boom"},
			} {
				t.Run(how+" from "+from+", then "+string(v), func(t *testing.T) {
					b := spawned(t, v)
					b.on["boom"] = func() { b.leave("c"); f() }
					returned, gone := false, make(chan struct{})
					go func() {
						defer close(gone)
						call(b)
						returned = true
					}()
					<-gone
					inLoop := from == "run loop"
					require.Equal(t, how == "panic" || inLoop, returned)
					require.False(t, b.m.Enter(), "the turn went to the run loop")
					if inLoop {
						then = append([]string{"message"}, then...)
					}
					b.logged(then...)
					switch v {
					case silent:
						b.m.PostSystemMessage(&actor.ResumeMailbox{})
						b.logged("a", "b", "c")
						b.enterable()
					case stops:
						require.ErrorIs(t, b.m.Leave(), ErrStopped)
					default:
						b.enterable()
					}
				})
			}
		}
	}
}

// The failure is known by what was panicked with, and has no message.
func TestErrandsFailureIsEscalated(t *testing.T) {
	m, d, told := New(seam.Real, explode), &manual{}, &escalations{}
	m.RegisterHandlers(told, d)
	m.PostSystemMessage(&actor.Started{})
	d.drain()
	require.NoError(t, m.Leave())
	require.Equal(t, []any{"boom", nil}, told.got)
	require.Equal(t, running|errand, m.word.Load(), "due again")
	require.Len(t, d.scheduled, 1)
}

type escalations struct {
	actor.MessageInvoker
	got []any
}

func (*escalations) InvokeSystemMessage(any)         {}
func (e *escalations) EscalateFailure(why, what any) { e.got = append(e.got, why, what) }

// As from Panicked the caller gets the supervisor's panic, but the actor isn't
// lost to it, and nor are its errands.
func TestSupervisorPanicsOverErrands(t *testing.T) {
	b := spawned(t, panics)
	b.on["boom"] = explode
	require.True(t, b.m.TryEnter())
	b.left = []string{"boom"}
	b.leave("a")
	require.PanicsWithValue(t, "supervisor panicked", b.m.Exit)
	b.m.PostSystemMessage(&actor.ResumeMailbox{})
	b.logged("boom", "a")
	b.enterable()
}

// A caller whose handler panicked has its errands served after the restart.
func TestErrandsOutliveAPanic(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	require.Error(t, b.m.Panicked("boom"))
	b.leave("b")
	b.logged("Restarting", "Started", "a", "b")
	b.enterable()
}

func TestLeaveAfterStop(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("before")
	system.Root.Stop(b.pid)
	require.ErrorIs(t, b.m.Leave(), ErrStopped, "from the post on")
	b.m.Exit()
	b.logged("Stopping", "Stopped", "before")
	require.ErrorIs(t, b.m.Leave(), ErrStopped)
	b.here()
}

// Also with an actor that is held back and won't come back.
func TestStopServesHeldBackErrands(t *testing.T) {
	b := spawned(t, silent)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	require.Error(t, b.m.Panicked("boom"))
	b.logged()
	b.leave("b")
	system.Root.Stop(b.pid)
	b.logged("Stopping", "Stopped", "a", "b")
	require.Equal(t, suspended|stopped, b.m.word.Load())

	b = newRig(t)
	b.leave("a")
	b.m.PostSystemMessage(&actor.Stop{})
	require.ErrorIs(t, b.m.Leave(), ErrStopped)
	b.spawn(restarts)
	b.logged("Stopping", "Stopped", "a")
}

// Both are taken at once, and stopped is in the word before Stop is handled: what
// is held back then isn't served before that.
func TestHeldBackErrandsWaitForStop(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.leave("a")
	b.m.PostSystemMessage(&actor.SuspendMailbox{})
	system.Root.Stop(b.pid)
	b.m.Exit()
	b.logged("Stopping", "Stopped", "a")
}

// The rest is served although nobody restarts a stopped actor.
func TestErrandsFailAfterStop(t *testing.T) {
	for how, f := range map[string]func(){"panic": explode, "goexit": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			b := spawned(t, restarts)
			b.on["boom"] = f
			require.True(t, b.m.TryEnter())
			b.left = []string{"boom"}
			b.leave("a")
			system.Root.Stop(b.pid)
			b.m.Exit()
			b.logged("Stopping", "Stopped", "boom", "a")
			require.Empty(t, b.d.scheduled)
		})
	}
}

func TestNoErrands(t *testing.T) {
	m, d := New(seam.Real, nil), &manual{}
	m.RegisterHandlers(&escalations{}, d)
	m.PostSystemMessage(&actor.Started{})
	d.drain()
	require.NoError(t, m.Leave())
	require.True(t, m.TryEnter())
	require.NoError(t, m.Leave())
	m.Exit()
	require.Zero(t, m.word.Load())
	require.Empty(t, d.scheduled)
}
