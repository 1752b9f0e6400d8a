package actors_test

import (
	"errors"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
)

// asker sends one message and gives the reply; there are two kinds of sender.
type asker func(t *testing.T, to *actors.PID, msg any) any

func byFuture(sys *actors.System) asker {
	return func(t *testing.T, to *actors.PID, msg any) any {
		t.Helper()
		reply, err := sys.Root.RequestFuture(to, msg, long).Result()
		require.NoError(t, err, "%T", msg)
		return reply
	}
}

// byActor asks from within another actor's Receive.
func byActor(sys *actors.System) asker {
	type ask struct {
		to  *actors.PID
		msg any
	}
	return func(t *testing.T, to *actors.PID, msg any) any {
		t.Helper()
		replies := make(chan any, 1)
		pid := sys.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case ask:
				ctx.Request(m.to, m.msg)
			case actor.SystemMessage, actor.AutoReceiveMessage:
			default:
				replies <- m
			}
		}))
		defer func() { require.NoError(t, sys.Root.StopFuture(pid).Wait()) }()
		sys.Root.Send(pid, ask{to, msg})
		select {
		case r := <-replies:
			return r
		case <-time.After(long):
			t.Fatalf("no reply to %T", msg)
			return nil
		}
	}
}

func TestEveryMessage(t *testing.T) {
	sys := quietSystem(t)
	dev := simDevice(t)
	cfg := defaults()
	cfg.System = sys
	c := start(t, struct { // it can't wire
		metal.Device
		metal.Pager
		metal.Marker
	}{dev, dev, dev}, cfg)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, other := newStream(t, c, actors.StreamConfig{Name: "s"}), newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
	sup, pid := c.SupervisorPID(), s.PID()
	for name, ask := range map[string]asker{"future": byFuture(sys), "actor": byActor(sys)} {
		for _, ptr := range []bool{false, true} {
			send := func(to *actors.PID, byValue, byPointer any) any {
				if ptr {
					return ask(t, to, byPointer)
				}
				return ask(t, to, byValue)
			}
			malloc := func(n int64) actors.MallocReply {
				m := actors.Malloc{Size: n}
				return send(pid, m, &m).(actors.MallocReply)
			}
			free := func(to *actors.PID, b actors.Buffer) error {
				m := actors.Free{Buffer: b}
				return send(to, m, &m).(actors.FreeReply).Err
			}
			bytes := func(to *actors.PID, byValue, byPointer any) int64 {
				r := send(to, byValue, byPointer).(actors.MemoryReply)
				require.NoError(t, r.Err)
				return r.Bytes
			}
			t.Run(map[bool]string{true: name + "/pointer", false: name + "/value"}[ptr], func(t *testing.T) {
				r := malloc(1000)
				require.NoError(t, r.Err)
				require.EqualValues(t, 1000, r.Buffer.Size())
				for _, to := range []*actors.PID{sup, pid} {
					require.EqualValues(t, 1024, bytes(to, actors.ActiveMemory{}, &actors.ActiveMemory{}))
					require.EqualValues(t, 1024, bytes(to, actors.PeakMemory{}, &actors.PeakMemory{}))
					require.EqualValues(t, page, bytes(to, actors.ReservedMemory{}, &actors.ReservedMemory{}))
					snap := send(to, actors.Snapshot{}, &actors.Snapshot{}).(actors.SnapshotReply)
					require.NoError(t, snap.Err)
					require.Equal(t, c.Snapshot().Total, snap.Snapshot.Total)
				}
				use := actors.RecordUse{Buffer: r.Buffer, Stream: other}
				q.Submit()
				require.NoError(t, send(pid, use, &use).(actors.RecordUseReply).Err)
				require.NoError(t, free(pid, r.Buffer))
				require.ErrorIs(t, free(pid, r.Buffer), actors.ErrDoubleFree)
				require.ErrorIs(t, free(other.PID(), r.Buffer), actors.ErrDoubleFree)
				require.ErrorIs(t, send(pid, use, &use).(actors.RecordUseReply).Err, actors.ErrDoubleFree)
				require.EqualValues(t, 1024, c.Snapshot().Total.Pending)
				for _, to := range []*actors.PID{sup, pid} {
					require.EqualValues(t, page, bytes(to, actors.CacheMemory{}, &actors.CacheMemory{}))
				}
				cl := send(sup, actors.ClearCache{}, &actors.ClearCache{}).(actors.ClearCacheReply)
				require.Equal(t, actors.ClearCacheReply{Pending: page}, cl)
				q.CompleteAll()
				eventually(t, func() bool { return c.ReservedMemory() == 0 })
				r = malloc(1)
				require.NoError(t, free(other.PID(), r.Buffer), "passed on to its owner")
				cl = send(pid, actors.ClearCache{}, &actors.ClearCache{}).(actors.ClearCacheReply)
				require.Equal(t, actors.ClearCacheReply{Released: page}, cl)

				for _, to := range []*actors.PID{sup, pid} {
					require.NoError(t, send(to, actors.ResetPeakMemory{}, &actors.ResetPeakMemory{}).(actors.ResetPeakReply).Err)
					require.Zero(t, bytes(to, actors.PeakMemory{}, &actors.PeakMemory{}))
				}
				require.Equal(t, c.MemoryLimit(), bytes(sup, actors.MemoryLimit{}, &actors.MemoryLimit{}))
				require.Equal(t, c.CacheLimit(), bytes(sup, actors.CacheLimit{}, &actors.CacheLimit{}))
				require.Zero(t, bytes(sup, actors.WiredLimit{}, &actors.WiredLimit{}))

				for _, set := range []struct {
					msg, ptr any
					get      func() int64
				}{
					{actors.SetMemoryLimit{Bytes: 1 << 30}, &actors.SetMemoryLimit{Bytes: 1 << 30}, c.MemoryLimit},
					{actors.SetMemoryLimit{Bytes: actors.DefaultLimit}, &actors.SetMemoryLimit{Bytes: actors.DefaultLimit}, c.MemoryLimit},
					{actors.SetCacheLimit{Bytes: 0}, &actors.SetCacheLimit{Bytes: 0}, c.CacheLimit},
				} {
					before := set.get()
					require.Equal(t, actors.LimitReply{Previous: before}, send(sup, set.msg, set.ptr))
				}
				require.Zero(t, c.CacheLimit())
				r = malloc(1)
				require.NoError(t, free(pid, r.Buffer))
				require.Zero(t, c.ReservedMemory(), "the reply comes when the memory has gone back")
				require.Equal(t, actors.LimitReply{Previous: 0},
					send(sup, actors.SetCacheLimit{Bytes: actors.DefaultLimit}, &actors.SetCacheLimit{Bytes: actors.DefaultLimit}))

				bad := actors.SetWiredLimit{Bytes: 1}
				require.ErrorIs(t, send(sup, bad, &bad).(actors.LimitReply).Err, actors.ErrUnsupported)
				neg := actors.SetMemoryLimit{Bytes: -1}
				require.ErrorIs(t, send(sup, neg, &neg).(actors.LimitReply).Err, actors.ErrInvalidSize)
				require.ErrorIs(t, malloc(-1).Err, actors.ErrInvalidSize)
				require.ErrorIs(t, malloc(1<<62).Err, actors.ErrTooLarge)
				zero := malloc(0)
				require.NoError(t, zero.Err)
				require.NoError(t, free(pid, zero.Buffer))
				require.ErrorIs(t, free(pid, actors.Buffer{}), actors.ErrForeignBuffer)
				use = actors.RecordUse{Buffer: actors.Buffer{}, Stream: other}
				require.ErrorIs(t, send(pid, use, &use).(actors.RecordUseReply).Err, actors.ErrForeignBuffer)
				identity(t, c)
			})
		}
	}
}

// A request that can't be carried out is answered, so that nobody waits.
func TestBadMessages(t *testing.T) {
	sys := quietSystem(t)
	cfg := defaults()
	cfg.System = sys
	c := start(t, simDevice(t), cfg)
	s, ask := newStream(t, c, actors.StreamConfig{}), byFuture(sys)
	for _, m := range []struct {
		msg      any
		toStream bool // it belongs there; else to the supervisor
	}{
		{actors.Malloc{Size: 1}, true},
		{actors.Free{}, true},
		{actors.RecordUse{}, true},
		{actors.MemoryLimit{}, false},
		{actors.CacheLimit{}, false},
		{actors.WiredLimit{}, false},
		{actors.SetMemoryLimit{}, false},
		{actors.SetCacheLimit{}, false},
		{actors.SetWiredLimit{}, false},
	} {
		wrong := s.PID()
		if m.toStream {
			wrong = c.SupervisorPID()
		}
		require.ErrorIs(t, replyError(ask(t, wrong, m.msg)), actors.ErrBadMessage, "%T", m.msg)
	}
	for _, to := range []*actors.PID{s.PID(), c.SupervisorPID()} {
		for _, nilPointer := range []any{
			(*actors.Malloc)(nil), (*actors.Free)(nil), (*actors.RecordUse)(nil), (*actors.ActiveMemory)(nil),
			(*actors.PeakMemory)(nil), (*actors.CacheMemory)(nil), (*actors.ReservedMemory)(nil),
			(*actors.MemoryLimit)(nil), (*actors.CacheLimit)(nil), (*actors.WiredLimit)(nil),
			(*actors.ResetPeakMemory)(nil), (*actors.SetMemoryLimit)(nil), (*actors.SetCacheLimit)(nil),
			(*actors.SetWiredLimit)(nil), (*actors.ClearCache)(nil), (*actors.Snapshot)(nil),
		} {
			require.ErrorIs(t, replyError(ask(t, to, nilPointer)), actors.ErrBadMessage, "%T", nilPointer)
		}
	}
	require.EqualValues(t, 76<<30, c.MemoryLimit())
	require.EqualValues(t, 76<<30, c.CacheLimit())
	foreign := start(t, simDevice(t), defaults())
	b := malloc(t, newStream(t, foreign, actors.StreamConfig{}), 1)
	require.ErrorIs(t, replyError(ask(t, s.PID(), actors.Free{Buffer: b})), actors.ErrForeignBuffer)
	require.ErrorIs(t, replyError(ask(t, s.PID(), actors.RecordUse{Buffer: b, Stream: s})), actors.ErrForeignBuffer)
	require.NoError(t, b.Free())
	require.Equal(t, telemetry.Figures{}, c.Snapshot().Total)
}

func replyError(reply any) error {
	switch r := reply.(type) {
	case actors.MallocReply:
		return r.Err
	case actors.FreeReply:
		return r.Err
	case actors.RecordUseReply:
		return r.Err
	case actors.MemoryReply:
		return r.Err
	case actors.LimitReply:
		return r.Err
	case actors.ResetPeakReply:
		return r.Err
	case actors.ClearCacheReply:
		return r.Err
	case actors.SnapshotReply:
		return r.Err
	}
	return errors.New("not a reply")
}

// Messages without a sender are carried out and leave nothing behind.
func TestNoSender(t *testing.T) {
	sys := quietSystem(t)
	cfg := defaults()
	cfg.System = sys
	c := start(t, simDevice(t), cfg)
	s := newStream(t, c, actors.StreamConfig{})
	for range 2 { // a miss, then a hit
		sys.Root.Send(s.PID(), actors.Malloc{Size: 1 << 20})
		eventually(t, func() bool { f := c.Snapshot().Total; return f.Cache == page && f.Active == 0 })
	}
	sys.Root.Send(s.PID(), actors.Malloc{Size: -1})
	b := malloc(t, s, 1<<20)
	other := newStream(t, c, actors.StreamConfig{})
	sys.Root.Send(s.PID(), actors.RecordUse{Buffer: b, Stream: other})
	sys.Root.Send(other.PID(), actors.Free{Buffer: b})
	eventually(t, func() bool { return c.ActiveMemory() == 0 })
	for _, m := range []any{
		actors.ActiveMemory{},
		actors.Snapshot{},
		actors.ResetPeakMemory{},
		actors.MemoryLimit{},
		actors.SetMemoryLimit{Bytes: 1},
		actors.SetWiredLimit{},
		actors.Malloc{},
		nil, "what",
	} {
		sys.Root.Send(c.SupervisorPID(), m)
		sys.Root.Send(s.PID(), m)
	}
	sys.Root.Send(c.SupervisorPID(), actors.SetCacheLimit{Bytes: 0})
	eventually(t, func() bool { return c.ReservedMemory() == 0 })
	require.EqualValues(t, 1, c.MemoryLimit())
	identity(t, c)
}

// A buffer whose reply nobody is left to receive goes back to the cache.
func TestDeadLetterIsFreed(t *testing.T) {
	sys := quietSystem(t)
	dev := simDevice(t)
	cfg := defaults()
	cfg.System = sys
	c := start(t, dev, cfg)
	bystander := start(t, simDevice(t), cfg) // of the same system: sees the dead letters too
	s := newStream(t, c, actors.StreamConfig{})

	released := block(dev, sim.CallCreate)
	future := sys.Root.RequestFuture(s.PID(), actors.Malloc{Size: 1 << 20}, time.Millisecond)
	_, err := future.Result()
	require.ErrorIs(t, err, actor.ErrTimeout)
	released()
	eventually(t, func() bool { f := c.Snapshot().Total; return f.Frees == 1 && f.Cache == page })

	pid := sys.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
	require.NoError(t, sys.Root.StopFuture(pid).Wait())
	for i := range int64(10) {
		sys.Root.RequestWithCustomSender(s.PID(), actors.Malloc{Size: 512}, pid)
		eventually(t, func() bool { f := c.Snapshot().Total; return f.Frees == 2+i && f.Active == 0 })
	}
	require.Zero(t, bystander.Snapshot().Total.Frees)
	identity(t, c)
}

// block makes the next device calls of this kind wait until the function that it
// returns is called.
func block(dev interface{ Hook(func(sim.Call)) }, call sim.Call) (release func()) {
	gate := make(chan struct{})
	dev.Hook(func(c sim.Call) {
		if c == call {
			<-gate
		}
	})
	return func() { close(gate); dev.Hook(nil) }
}

func TestSharedSystem(t *testing.T) {
	sys := quietSystem(t)
	cfg := defaults()
	cfg.System = sys
	a, b := start(t, simDevice(t), cfg), start(t, simDevice(t), cfg)
	sa, sb := newStream(t, a, actors.StreamConfig{}), newStream(t, b, actors.StreamConfig{})
	x, y := malloc(t, sa, 1<<20), malloc(t, sb, 3<<20)
	require.EqualValues(t, 1<<20, a.ActiveMemory())
	require.EqualValues(t, 3<<20, b.ActiveMemory())
	require.ErrorIs(t, x.RecordUse(sb), actors.ErrForeignBuffer)
	require.NoError(t, x.Free())
	require.NoError(t, a.Close(ctx))
	require.False(t, sys.IsStopped())
	require.EqualValues(t, 3<<20, byFuture(sys)(t, sb.PID(), actors.ActiveMemory{}).(actors.MemoryReply).Bytes)
	_, err := sys.Root.RequestFuture(sa.PID(), actors.ActiveMemory{}, long).Result()
	require.ErrorIs(t, err, actor.ErrDeadLetter)
	require.NoError(t, y.Free())
}

// Requests of one sender to one stream are served in order.
func TestOrderPerSender(t *testing.T) {
	sys := quietSystem(t)
	cfg := defaults()
	cfg.System = sys
	c := start(t, simDevice(t), cfg)
	s := newStream(t, c, actors.StreamConfig{})
	require.NoError(t, malloc(t, s, 4096).Free())
	for range 100 {
		m := sys.Root.RequestFuture(s.PID(), actors.Malloc{Size: 4096}, long)
		a := sys.Root.RequestFuture(s.PID(), actors.ActiveMemory{}, long)
		r, err := a.Result()
		require.NoError(t, err)
		require.EqualValues(t, 4096, r.(actors.MemoryReply).Bytes)
		r, err = m.Result()
		require.NoError(t, err)
		require.NoError(t, r.(actors.MallocReply).Buffer.Free())
	}
}
