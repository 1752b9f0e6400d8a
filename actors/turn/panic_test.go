package turn

import (
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
)

func explode() { panic("boom") }

func TestPanicInPostedOp(t *testing.T) {
	for v, then := range map[verdict][]string{
		restarts: {"boom", "boom failed", "Restarting", "Started", "after", "message"},
		resumes:  {"boom", "boom failed", "after", "message"},
		stops:    {"boom", "boom failed", "Stopping", "Stopped", "after failed"},
		silent:   {"boom", "boom failed"},
	} {
		t.Run(string(v), func(t *testing.T) {
			b := spawned(t, v)
			require.True(t, b.m.TryEnter())
			op := b.post("boom")
			op.do = explode
			b.post("after")
			b.tell("message")
			b.m.Exit()
			b.logged(then...)
			var pe *PanicError
			require.ErrorAs(t, op.err, &pe)
			require.Equal(t, "boom", pe.Value)
			require.Contains(t, string(pe.Stack), "turn.explode")
			require.Equal(t, "turn: handler panicked: boom", pe.Error())
			require.NoError(t, errors.Unwrap(pe))
		})
	}
}

func TestPanicInReceive(t *testing.T) {
	b := spawned(t, restarts)
	b.on["boom"] = explode
	require.True(t, b.m.TryEnter())
	b.tell("boom")
	b.post("after")
	b.m.Exit()
	b.logged("boom", "Restarting", "Started", "after")
	b.enterable()
}

func TestPanicInline(t *testing.T) {
	b := spawned(t, restarts)
	inline := func(f func()) (err error) {
		require.True(t, b.m.Enter())
		ok := false
		defer func() {
			if !ok {
				err = b.m.Panicked(recover())
			}
		}()
		f()
		ok = true
		b.m.Exit()
		return nil
	}
	require.NoError(t, inline(func() {}))
	b.enterable()

	err := inline(func() { b.post("queued"); panic(io.EOF) })
	require.ErrorIs(t, err, io.EOF)
	var pe *PanicError
	require.ErrorAs(t, err, &pe)
	require.Contains(t, string(pe.Stack), "TestPanicInline")
	require.False(t, b.m.Enter(), "the turn went to the run loop")
	b.post("later")
	b.logged("Restarting", "Started", "queued", "later")
	b.enterable()

	gone := make(chan struct{})
	go func() { // the error of a goroutine that ends is for nobody
		defer close(gone)
		_ = inline(runtime.Goexit)
	}()
	<-gone
	b.logged("Restarting", "Started")
	b.enterable()
	require.True(t, b.m.TryEnter())
	require.ErrorIs(t, b.m.Panicked(nil), ErrGoexit)
	b.logged("Restarting", "Started")
}

// The caller gets the supervisor's panic, but the actor isn't lost to it.
func TestSupervisorPanics(t *testing.T) {
	b := spawned(t, panics)
	require.True(t, b.m.TryEnter())
	require.PanicsWithValue(t, "supervisor panicked", func() { _ = b.m.Panicked("boom") })
	b.m.PostSystemMessage(&actor.ResumeMailbox{})
	b.logged()
	b.enterable()
}

// The goroutine is gone with the turn in hand; the loop goes on with another.
func TestGoexit(t *testing.T) {
	b := spawned(t, restarts)
	require.True(t, b.m.TryEnter())
	op := b.post("op")
	op.do = runtime.Goexit
	b.on["message"] = runtime.Goexit
	b.tell("message")
	b.post("after")
	b.m.Exit()
	b.logged("op", "op failed", "Restarting", "Started", "message", "Restarting", "Started", "after")
	require.ErrorIs(t, op.err, ErrGoexit)
	b.enterable()
}

func TestFailMayPanicOrGoexit(t *testing.T) {
	for name, f := range map[string]func(){"panic": explode, "goexit": runtime.Goexit} {
		t.Run(name+" after a panic", func(t *testing.T) {
			b := spawned(t, resumes)
			require.True(t, b.m.TryEnter())
			op := b.post("boom")
			op.do, op.undo = explode, f
			b.post("after")
			b.m.Exit()
			b.logged("boom", "boom failed", "after")
			b.enterable()
		})
		t.Run(name+" after Goexit", func(t *testing.T) {
			b := spawned(t, resumes)
			require.True(t, b.m.TryEnter())
			op := b.post("boom")
			op.do, op.undo = runtime.Goexit, f
			b.post("after")
			b.m.Exit()
			b.logged("boom", "boom failed", "after")
			b.enterable()
		})
		t.Run(name+" after stop", func(t *testing.T) {
			b := spawned(t, restarts)
			require.True(t, b.m.TryEnter())
			b.post("a").undo = f
			b.post("b").undo = f
			b.post("c")
			system.Root.Stop(b.pid)
			b.m.Exit()
			b.logged("Stopping", "Stopped", "a failed", "b failed", "c failed")
		})
	}
}

// An op may be posted again by whoever was told that it ended.
func TestOpIsReusable(t *testing.T) {
	b := spawned(t, restarts)
	op := b.op("op")
	for range 3 {
		require.NoError(t, b.m.Post(op))
		b.logged("op")
	}
	n := 0
	op.do = func() { // as when a waiter that Run has told posts at once
		if n++; n < 3 {
			require.NoError(t, b.m.Post(op))
		}
	}
	require.NoError(t, b.m.Post(op))
	b.logged("op", "op", "op")
	n = 0
	op.undo = func() { // Fail ended it
		if n++; n < 3 {
			require.NoError(t, b.m.Post(op))
		}
	}
	op.do = explode
	require.NoError(t, b.m.Post(op))
	b.logged("op", "op failed", "Restarting", "Started", "op", "op failed", "Restarting", "Started",
		"op", "op failed", "Restarting", "Started")
	b.enterable()
}
