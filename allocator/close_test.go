package allocator_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

func TestCloseWithLiveBuffers(t *testing.T) {
	dev := simDevice(t, sim.Config{})
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	s := newStream(t, rt, allocator.WithName("left"))
	newStream(t, rt, allocator.WithName("clean"))
	b, c, d := malloc(t, s, 4<<20), malloc(t, s, 100), malloc(t, s, 200)
	free(t, c)
	var leak *allocator.LeakError
	require.ErrorAs(t, rt.Close(ctx), &leak)
	require.EqualValues(t, 2, leak.Buffers)
	require.EqualValues(t, 4<<20+512, leak.Bytes)
	require.Equal(t, `2 buffers still live, 4194816 bytes: 2 of stream "left" (4.0 MiB)`, leak.Error())
	require.ErrorIs(t, dev.Close(), metal.ErrBusy)
	require.EqualValues(t, 4<<20+512, rt.ActiveMemory())
	free(t, d)
	require.ErrorAs(t, rt.Close(ctx), &leak)
	require.EqualValues(t, 1, leak.Buffers)
	free(t, b)
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, dev.Close())
	total := identity(t, rt).Total
	require.EqualValues(t, 4<<20+1024, total.Peak, "the peak stays")
	require.Zero(t, total.Reserved)
}

func TestClosedRuntime(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	q := newStream(t, rt)
	free(t, malloc(t, q, 5000))
	require.NoError(t, rt.Close(ctx))
	_, err := q.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrClosed)
	_, err = rt.NewStream()
	require.ErrorIs(t, err, allocator.ErrClosed)
	require.NoError(t, q.Close(ctx))
	// Everything else goes on answering.
	require.Zero(t, rt.ActiveMemory()+rt.CacheMemory()+rt.ReservedMemory()+q.ActiveMemory())
	require.EqualValues(t, 5120, rt.PeakMemory())
	require.EqualValues(t, 5120, q.PeakMemory())
	rt.ResetPeakMemory()
	q.ResetPeakMemory()
	require.Zero(t, rt.PeakMemory()+q.PeakMemory())
	previous, err := rt.SetMemoryLimit(7)
	require.NoError(t, err)
	require.EqualValues(t, 76<<30, previous)
	require.EqualValues(t, 7, rt.MemoryLimit())
	_, err = rt.SetCacheLimit(0)
	require.NoError(t, err)
	_, err = rt.SetWiredLimit(0)
	require.NoError(t, err)
	n, err := rt.ClearCache()
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, q.Synchronize(ctx))
}

func TestStreamCloseWithLiveBuffers(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s, other := newStream(t, rt, allocator.WithName("s")), newStream(t, rt, allocator.WithName("other"))
	b, c := malloc(t, s, 3*page), malloc(t, s, 100)
	x := malloc(t, s, page)
	free(t, x)
	before := rowOf(t, rt, "s")
	require.NoError(t, s.Close(ctx))
	require.NoError(t, s.Close(ctx), "again")
	_, err := s.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrClosed)
	require.Equal(t, before.Active, s.ActiveMemory(), "its own figures stay as they were")
	require.Equal(t, before.Peak, s.PeakMemory())
	require.EqualValues(t, 4*page, rt.ReservedMemory(), "what was free went back")
	snap := identity(t, rt)
	require.Len(t, snap.Streams, 2)
	pool := rowOf(t, rt, "")
	require.EqualValues(t, 2, pool.Buffers)
	require.EqualValues(t, 3*page+512, pool.Active)
	require.NoError(t, c.RecordUse(other))
	free(t, b)
	require.EqualValues(t, page, rt.ReservedMemory(), "it goes back at once")
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	free(t, c)
	require.Zero(t, rt.ReservedMemory())
	require.Equal(t, before.Active, s.ActiveMemory())
	identity(t, rt)
	u, err := dev.Usage()
	require.NoError(t, err)
	require.Zero(t, u.Taken)
	free(t, malloc(t, other, 1))
}

// Streams that come and go leave nothing behind: not even address space.
func TestManyStreams(t *testing.T) {
	dev := simDevice(t, sim.Config{AddressSpace: 8 << 30})
	rt := open(t, dev)
	side, err := dev.NewQueue()
	require.NoError(t, err)
	user := newStream(t, rt, allocator.WithHandle(side.Handle()))
	for i := range 100 {
		s := newStream(t, rt)
		b, c := malloc(t, s, 3*page), malloc(t, s, 1000)
		require.NoError(t, b.RecordUse(user))
		side.Submit()
		if i%2 == 0 {
			free(t, b)
			require.NoError(t, s.Close(ctx))
			free(t, c)
		} else {
			free(t, c)
			require.NoError(t, s.Close(ctx))
			free(t, b)
		}
		side.CompleteAll()
		eventually(t, func() bool { return rt.ReservedMemory() == 0 })
		eventually(t, func() bool { return dev.Calls()[sim.CallReserve] <= 4 })
	}
	identity(t, rt)
}

func TestCloseWaitsForMarks(t *testing.T) {
	dev := simDevice(t, sim.Config{})
	rt := open(t, dev)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s := newStream(t, rt, allocator.WithHandle(q.Handle()))
	b := malloc(t, s, page)
	q.Submit()
	free(t, b)
	short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	err = rt.Close(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, page, rt.ReservedMemory())
	_, err = s.Malloc(ctx, page)
	require.ErrorIs(t, err, allocator.ErrClosed)
	require.ErrorIs(t, rt.Close(short), context.DeadlineExceeded)
	closed := make(chan error)
	go func() { closed <- rt.Close(ctx) }()
	second := make(chan error)
	go func() { second <- rt.Close(short) }()
	require.ErrorIs(t, <-second, context.DeadlineExceeded)
	q.CompleteAll()
	require.NoError(t, <-closed)
	require.Zero(t, rt.ReservedMemory())
}

// From the start of Close on nothing is handed out, not even from a cache, also
// when Close has to give up.
func TestCloseRefusesMallocAtOnce(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s, other := newStream(t, rt), newStream(t, rt)
	free(t, malloc(t, other, page), malloc(t, other, 1000)) // s will take the first
	release := block(dev, sim.CallMap)
	result := make(chan error, 1)
	go func() {
		b, err := s.Malloc(ctx, page)
		if err == nil {
			err = b.Free()
		}
		result <- err
	}()
	eventually(t, func() bool { return dev.Calls()[sim.CallMap] == 3 })
	require.EqualValues(t, page, other.CacheMemory())
	short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, rt.Close(short), context.DeadlineExceeded)
	_, err := other.Malloc(ctx, 1000)
	require.ErrorIs(t, err, allocator.ErrClosed)
	_, err = rt.NewStream()
	require.ErrorIs(t, err, allocator.ErrClosed)
	release()
	require.NoError(t, <-result, "a miss under way is served")
}

// Close amid everything else: it ends, and what it says is true.
func TestCloseAmidTraffic(t *testing.T) {
	sys := allocator.NewSystem(zap.NewNop())
	defer sys.Shutdown()
	for range 60 {
		dev := simDevice(t, sim.Config{})
		rt, err := allocator.Open(dev, allocator.WithActorSystem(sys), allocator.WithCacheLimit(4*page))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					s, err := rt.NewStream()
					if err != nil {
						require.ErrorIs(t, err, allocator.ErrClosed)
						return
					}
					for n := range int64(3) {
						b, err := s.Malloc(ctx, (1+n)*page)
						if err != nil {
							require.ErrorIs(t, err, allocator.ErrClosed)
							continue
						}
						require.NoError(t, b.Free())
					}
					if s.PID() != nil {
						require.NoError(t, s.Close(ctx))
					}
				}
			})
		}
		within(t, func() {
			for rt.PeakMemory() == 0 {
				time.Sleep(time.Microsecond)
			}
			err = rt.Close(ctx)
		})
		wg.Wait()
		if err != nil { // buffers were live at that moment
			var leak *allocator.LeakError
			require.ErrorAs(t, err, &leak)
			require.NoError(t, rt.Close(ctx))
		}
		total := identity(t, rt).Total
		require.Zero(t, total.Reserved)
		require.NoError(t, dev.Close())
	}
}

// block makes device calls of this kind wait until the function that it returns
// is called.
func block(dev interface{ Hook(func(sim.Call)) }, call sim.Call) (release func()) {
	gate := make(chan struct{})
	dev.Hook(func(c sim.Call) {
		if c == call {
			<-gate
		}
	})
	return sync.OnceFunc(func() { close(gate); dev.Hook(nil) })
}
