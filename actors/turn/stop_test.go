package turn

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
)

func TestStopFailsWhatIsQueued(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	op := b.post("a")
	b.tell("lost, as in protoactor's mailbox")
	op2 := b.post("b")
	require.False(t, b.m.Stopped())
	system.Root.Stop(b.pid)
	require.True(t, b.m.Stopped(), "from the post on")
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped)
	b.m.Exit()
	b.logged("Stopping", "Stopped", "a failed", "b failed")
	require.ErrorIs(t, op.err, ErrStopped)
	require.ErrorIs(t, op2.err, ErrStopped)
	require.False(t, b.m.Enter())
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped)
	require.Zero(t, b.m.UserMessageCount())
	require.Empty(t, b.d.scheduled)
}

func TestPoisonPillStopsInOrder(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.post("a")
	system.Root.Poison(b.pid)
	b.post("b")
	require.False(t, b.m.Stopped(), "the pill has yet to be reached")
	b.m.Exit()
	b.logged("a", "Stopping", "Stopped", "b failed")
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped)
}

// Each op is posted by a sender that has looked at the word, found the actor
// alive, and is late with its push: meanwhile the actor comes to rest in a word
// that has stopped in it and another bit that holds user work back.
func TestLatePostIsAnswered(t *testing.T) {
	for name, meanwhile := range map[string]func(*rig){
		"stop": func(b *rig) {
			system.Root.Stop(b.pid)
			b.logged("Stopping", "Stopped")
		},
		"panic, then the supervisor stops": func(b *rig) { // word: suspended, stopped
			b.on["boom"] = func() { panic("boom") }
			b.post("boom")
			b.logged("boom", "boom failed", "Stopping", "Stopped")
			require.Equal(b, suspended|stopped, b.m.word.Load())
		},
		"stop, then a panic": func(b *rig) {
			b.on["boom"] = func() { system.Root.Stop(b.pid); panic("boom") }
			b.post("boom")
			b.logged("boom", "boom failed", "Stopping", "Stopped")
			require.Equal(b, suspended|stopped, b.m.word.Load())
		},
		"inline panic, then the supervisor stops": func(b *rig) {
			require.True(b, b.m.TryEnter())
			require.Error(b, b.m.Panicked("boom"))
			b.logged("Stopping", "Stopped")
			require.Equal(b, suspended|stopped, b.m.word.Load())
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := spawned(t, stops)
			late := b.op("late")
			late.early = func() { meanwhile(b) }
			require.NoError(t, b.m.Post(late))
			b.logged("late failed")
			require.ErrorIs(t, late.err, ErrStopped)
			require.Empty(t, b.d.scheduled)
		})
	}
}

// The poster of Stop has pushed it, and before it gets to publishing that, the
// run loop takes it along with another system message.
func TestStopIsTakenBeforeItIsPublished(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.post("a")
	b.m.PostSystemMessage(&actor.Unwatch{Watcher: b.pid})
	b.m.sys.push(foreign(&actor.Stop{}))
	b.m.Exit()
	b.logged("Stopping", "Stopped", "a failed")
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped)
	b.m.publish(sysPending | stopped)
	b.logged()
}

func TestStopBeforeStarted(t *testing.T) {
	b := newRig(t)
	b.post("a")
	b.m.PostSystemMessage(&actor.Stop{})
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped)
	b.spawn(restarts)
	b.logged("Stopping", "Stopped", "a failed")
}

// A panic in Stopping makes protoactor revive the actor. Until then its messages
// are kept, in order, and its ops are failed, not kept.
func TestMessagesOutliveAFailedStop(t *testing.T) {
	b := spawned(t, silent)
	b.on["Stopping"] = func() { panic("can't") }
	require.True(t, b.m.TryEnter())
	b.tell("a")
	b.post("b")
	b.tell("c")
	system.Root.Stop(b.pid)
	b.m.Exit()
	b.logged("Stopping", "b failed")
	require.Equal(t, 2, b.m.UserMessageCount())
	b.m.PostUserMessage("d")
	b.logged()
	b.m.PostSystemMessage(&actor.Restart{})
	b.m.PostUserMessage("e")
	b.logged("Restarting", "Started", "a", "c", "d", "e")
	require.Zero(t, b.m.UserMessageCount())
	require.ErrorIs(t, b.m.Post(b.op("refused")), ErrStopped, "stopped is for good")
}

// protoactor alone would build a new actor from a Restart that comes after Stop.
func TestStopWinsOverRestart(t *testing.T) {
	b := spawned(t, restarts)
	b.on["boom"] = func() { system.Root.Stop(b.pid); panic("boom") }
	b.post("boom")
	b.logged("boom", "boom failed", "Stopping", "Stopped")
	b.m.PostSystemMessage(&actor.Restart{})
	b.m.PostSystemMessage(&actor.Stop{})
	b.logged()
}
