package allocator_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

func TestZeroBytes(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	s, other := newStream(t, rt), newStream(t, rt)
	b := malloc(t, s, 0)
	require.Equal(t, s, b.Stream())
	require.Zero(t, b.Size())
	require.Zero(t, b.Capacity())
	require.Zero(t, b.Addr())
	require.Nil(t, b.Bytes())
	require.NoError(t, b.RecordUse(other))
	for range 3 {
		require.NoError(t, b.Free(), "each time")
	}
	require.Zero(t, rt.Snapshot().Total)
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, b.Free())
	_, err := s.Malloc(ctx, 0)
	require.ErrorIs(t, err, allocator.ErrClosed)
}

func TestFreedBuffers(t *testing.T) {
	dev, err := host.Open()
	require.NoError(t, err)
	rt := open(t, dev)
	s := newStream(t, rt)
	b := malloc(t, s, 3000)
	stale := b
	addr := b.Addr()
	require.NotZero(t, addr)
	require.Zero(t, addr%512)
	require.Len(t, b.Bytes(), 3000)
	require.Equal(t, 3000, cap(b.Bytes()))
	old := b.Bytes()
	old[2999] = 1
	free(t, b)
	_ = old[2999] // stale, but no fault
	for _, c := range []allocator.Buffer{b, stale} {
		require.ErrorIs(t, c.Free(), allocator.ErrDoubleFree)
		require.ErrorIs(t, c.RecordUse(newStream(t, rt)), allocator.ErrDoubleFree)
		require.EqualValues(t, 3000, c.Size())
		require.EqualValues(t, 3072, c.Capacity())
		require.Equal(t, addr, c.Addr())
		require.Nil(t, c.Bytes())
	}
	again := malloc(t, s, 3000)
	require.Equal(t, addr, again.Addr(), "the block is used again")
	require.NotEqual(t, b, again)
	before := rt.Snapshot().Total
	require.ErrorIs(t, stale.Free(), allocator.ErrDoubleFree, "which doesn't make an old copy valid")
	require.Nil(t, stale.Bytes())
	require.Equal(t, before, rt.Snapshot().Total)
	free(t, again)
	_, err = rt.ClearCache()
	require.NoError(t, err)
	_ = old[2999]
	require.NoError(t, rt.Close(ctx))
	require.ErrorIs(t, stale.Free(), allocator.ErrDoubleFree)
	require.Nil(t, stale.Bytes())
	require.Equal(t, addr, stale.Addr())
}

func TestForeignBuffers(t *testing.T) {
	require.ErrorIs(t, allocator.Buffer{}.Free(), allocator.ErrForeignBuffer)
	require.Nil(t, allocator.Buffer{}.Bytes())
	require.Zero(t, allocator.Buffer{}.Capacity())
	require.Nil(t, allocator.Buffer{}.Stream())

	rt, _ := openSim(t, sim.Config{})
	foreign, _ := openSim(t, sim.Config{})
	s, f := newStream(t, rt), newStream(t, foreign)
	b := malloc(t, s, 1)
	require.Nil(t, b.Bytes(), "the host can't see it")
	for _, err := range []error{b.RecordUse(f), b.RecordUse(nil), allocator.Buffer{}.RecordUse(s), malloc(t, f, 0).RecordUse(s)} {
		require.ErrorIs(t, err, allocator.ErrForeignBuffer)
	}
	require.NoError(t, b.RecordUse(s), "its own stream needs no telling")
	err := allocator.FreeAll([]allocator.Buffer{{}, b, b})
	require.ErrorIs(t, err, allocator.ErrForeignBuffer)
	require.ErrorIs(t, err, allocator.ErrDoubleFree)
	require.Zero(t, rt.ActiveMemory())
	require.NoError(t, allocator.FreeAll(nil))
}

// A block used on other streams is not handed out again before all have passed
// the point of its Free, whatever the order in which they do.
func TestRecordUse(t *testing.T) {
	for name, order := range map[string][]int{"in order": {0, 1, 2}, "backwards": {2, 1, 0}, "mixed": {1, 2, 0}} {
		t.Run(name, func(t *testing.T) {
			rt, dev := openSim(t, sim.Config{})
			s := newStream(t, rt, allocator.WithName("s"))
			var queues []*metal.SoftQueue
			b := malloc(t, s, 1000)
			for range 3 {
				q, err := dev.NewQueue()
				require.NoError(t, err)
				queues = append(queues, q)
				side := newStream(t, rt, allocator.WithHandle(q.Handle()))
				q.Submit()
				require.NoError(t, b.RecordUse(side))
				require.NoError(t, b.RecordUse(side), "twice counts once")
			}
			free(t, b)
			require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
			for _, q := range queues {
				q.Submit() // after the Free: doesn't matter
			}
			for _, i := range order {
				f := rowOf(t, rt, "s")
				require.EqualValues(t, 1024, f.Pending)
				require.EqualValues(t, page, f.Cache, "pending bytes are cache")
				c := malloc(t, s, 1000)
				require.NotEqual(t, b.Addr(), c.Addr())
				free(t, c)
				queues[i].Complete(1)
			}
			miss := malloc(t, s, page) // looks at the marks
			require.Zero(t, rowOf(t, rt, "s").Pending)
			c := malloc(t, s, 1000)
			d := malloc(t, s, 1000)
			require.Contains(t, []uintptr{c.Addr(), d.Addr()}, b.Addr())
			identity(t, rt)
			for _, q := range queues {
				q.CompleteAll()
			}
			free(t, c, d, miss)
		})
	}
}

// Memory that waits for marks goes back when they are reached: nobody has to ask.
func TestPendingGoesBackByItself(t *testing.T) {
	for name, give := range map[string]func(t *testing.T, rt *allocator.Runtime, s *allocator.Stream){
		"cache limit": func(t *testing.T, rt *allocator.Runtime, _ *allocator.Stream) {
			_, err := rt.SetCacheLimit(0)
			require.NoError(t, err)
		},
		"clear": func(t *testing.T, rt *allocator.Runtime, _ *allocator.Stream) {
			n, err := rt.ClearCache()
			require.NoError(t, err)
			require.Zero(t, n)
		},
		"clear stream": func(t *testing.T, _ *allocator.Runtime, s *allocator.Stream) {
			n, err := s.ClearCache()
			require.NoError(t, err)
			require.Zero(t, n)
		},
		"close stream": func(t *testing.T, _ *allocator.Runtime, s *allocator.Stream) { require.NoError(t, s.Close(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			rt, dev := openSim(t, sim.Config{})
			own, err := dev.NewQueue()
			require.NoError(t, err)
			side, err := dev.NewQueue()
			require.NoError(t, err)
			s := newStream(t, rt, allocator.WithHandle(own.Handle()))
			b, c := malloc(t, s, 3*page), malloc(t, s, 2*page)
			require.NoError(t, b.RecordUse(newStream(t, rt, allocator.WithHandle(side.Handle()))))
			side.Submit()
			own.Submit()
			free(t, b, c)
			give(t, rt, s)
			require.EqualValues(t, 5*page, rt.ReservedMemory(), "queued work may still use it")
			own.CompleteAll()
			eventually(t, func() bool { return rt.ReservedMemory() == 3*page })
			side.CompleteAll()
			eventually(t, func() bool { return rt.ReservedMemory() == 0 })
			identity(t, rt)
		})
	}
}

// A queue that has failed runs nothing more: its memory is free, and Close clean.
func TestFailedQueue(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	own, err := dev.NewQueue()
	require.NoError(t, err)
	side, err := dev.NewQueue()
	require.NoError(t, err)
	s := newStream(t, rt, allocator.WithHandle(own.Handle()))
	o := newStream(t, rt, allocator.WithHandle(side.Handle()))
	b, c := malloc(t, s, page), malloc(t, s, page)
	require.NoError(t, b.RecordUse(o))
	require.NoError(t, c.RecordUse(o))
	side.Submit()
	own.Submit()
	free(t, b)
	side.Fail(nil)
	own.Fail(nil)
	free(t, c)
	require.ErrorIs(t, s.Synchronize(ctx), metal.ErrDeviceLost)
	_, err = rt.ClearCache()
	require.NoError(t, err)
	require.Zero(t, rt.ReservedMemory())
	_, err = rt.NewStream(allocator.WithHandle(own.Handle()))
	require.ErrorIs(t, err, metal.ErrDeviceLost)
	_, err = rt.NewStream(allocator.WithHandle(12345))
	require.ErrorIs(t, err, metal.ErrUnknownHandle)
}
