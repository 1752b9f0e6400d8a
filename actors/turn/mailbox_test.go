package turn

import (
	"reflect"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
)

func TestEnterAndExit(t *testing.T) {
	b := spawned(t, restarts)
	b.enterable()
	require.True(t, b.m.Enter())
	require.False(t, b.m.TryEnter(), "one at a time")
	require.False(t, b.m.Enter(), "spins, then gives up")
	b.m.Exit()
	b.enterable()
}

// What comes while the turn is held is served before anybody else can enter.
func TestExitHandsTheTurnOver(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.tell("a")
	b.post("b")
	b.tell("c")
	require.Empty(t, b.d.scheduled, "nobody else starts the loop while the turn is held")
	require.Equal(t, 3, b.m.UserMessageCount())
	b.m.Exit()
	require.Len(t, b.d.scheduled, 1)
	require.False(t, b.m.Enter(), "the turn was passed on, not let go")
	b.logged("a", "b", "c")
	require.Zero(t, b.m.UserMessageCount())
	b.enterable()
}

func TestNothingRunsBeforeStarted(t *testing.T) {
	b := newRig(t)
	require.False(t, b.m.Enter())
	b.post("op")
	b.m.PostUserMessage("message")
	b.m.PostSystemMessage(&actor.Unwatch{Watcher: actor.NewPID("nonhost", "nobody")}) // nothing to schedule it with yet
	require.Equal(t, 2, b.m.UserMessageCount())
	b.on["Started"] = func() {
		require.False(t, b.m.Enter())
		b.post("from Started")
	}
	b.spawn(restarts)
	require.Len(t, b.d.scheduled, 1)
	b.logged("Started", "op", "message", "from Started")
	b.enterable()
}

// Until RegisterHandlers there is nothing to start the run loop with.
func TestRegisterHandlersStartsWhatWaits(t *testing.T) {
	d := &manual{}
	m := New(seam.Real, nil)
	m.PostUserMessage("waits for Started")
	m.RegisterHandlers(nil, d)
	require.Empty(t, d.scheduled)
	m = New(seam.Real, nil)
	m.PostSystemMessage(&actor.SuspendMailbox{})
	m.RegisterHandlers(nil, d)
	require.Len(t, d.scheduled, 1)
}

func TestPanicInStartedIsRestarted(t *testing.T) {
	b := newRig(t)
	b.on["Started"] = func() { b.on["Started"] = nil; panic("not ready") }
	b.post("op")
	b.spawn(restarts)
	b.logged("Started", "Restarting", "Started", "op")
	b.enterable()
}

func TestSystemMessagesGoBeforeEachUserMessage(t *testing.T) {
	b := spawned(t, restarts)
	restart := func() { b.m.PostSystemMessage(&actor.Restart{}) }
	b.on["a"], b.on["b"] = restart, restart
	b.tell("a")
	b.post("b")
	b.tell("c")
	b.logged("a", "Restarting", "Started", "b", "Restarting", "Started", "c")
}

func TestSuspendAndResume(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	b.post("a") // taken along with suspend, but not to be run
	b.m.PostSystemMessage(&actor.SuspendMailbox{})
	b.m.Exit()
	b.logged()
	require.False(t, b.m.Enter())
	b.post("b")
	b.tell("c")
	require.Empty(t, b.d.scheduled, "held back work starts nothing")
	b.m.PostSystemMessage(&actor.Watch{Watcher: b.pid})
	b.logged()
	b.m.PostSystemMessage(&actor.ResumeMailbox{})
	b.logged("a", "b", "c")
	b.enterable()
}

func TestPostInOwnTurn(t *testing.T) {
	b := spawned(t, restarts)
	b.on["a"] = func() { b.post("c"); b.tell("d") }
	b.tell("a")
	b.post("b")
	b.logged("a", "b", "c", "d")
	require.True(t, b.m.TryEnter())
	b.post("e")
	b.m.Exit()
	b.logged("e")
	b.enterable()
}

type batch []any

func (b batch) GetMessages() []any { return b }

// As protoactor's own mailbox: each message, then the batch itself, also when it
// comes in an envelope; but an op that is told is a message, and nil is one too.
func TestForeignMessages(t *testing.T) {
	b := spawned(t, restarts)
	b.tell(batch{"a", "b"})
	b.logged("a", "b", "[a b]")
	system.Root.RequestWithCustomSender(b.pid, batch{"c", batch{"d"}}, b.pid)
	b.logged("c", "d", "[d]", "[c [d]]")
	b.tell(nil)
	b.logged("<nil>")
	b.on["op"] = func() { t.Error("run as an op") }
	b.m.PostUserMessage(&told{})
	b.logged("told")
}

type told struct{ step }

func (*told) String() string { return "told" }

func TestYieldsAfterThroughput(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	for range 9 {
		b.post("op")
	}
	b.m.Exit()
	b.d.drain()
	require.Len(t, b.log, 9)
	require.Equal(t, 2, b.yields, "manual.Throughput is 3, checked after more than that")
}

// What is written next to the word must not slow down who enters and leaves.
func TestWordHasItsCacheLines(t *testing.T) {
	mailbox := reflect.TypeFor[Mailbox]()
	word, ok := mailbox.FieldByName("word")
	require.True(t, ok)
	for i := range mailbox.NumField() {
		if f := mailbox.Field(i); f.Name != "word" && f.Name != "_" {
			apart := word.Offset >= f.Offset+f.Type.Size()+line-4 || f.Offset >= word.Offset+line
			require.True(t, apart, f.Name)
		}
	}
}

func TestSecondSpawnPanics(t *testing.T) {
	b := spawned(t, restarts)
	require.PanicsWithValue(t, "turn: a Mailbox serves one actor, but its Producer was used for a second spawn",
		func() { b.spawn(restarts) })
	b.enterable()
}
