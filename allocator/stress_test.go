package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// Everything at once from many goroutines, checked all the while; mostly for -race.
func TestStress(t *testing.T) {
	t.Logf("-seed %d", *firstSeed)
	rt, dev := openSim(t, sim.Config{Memory: 64 << 20}, allocator.WithMemoryLimit(40<<20))
	q, err := dev.NewQueue()
	require.NoError(t, err)
	st := &stress{t: t, rt: rt, queue: q, handed: make(chan allocator.Buffer, 16)}
	for range 3 {
		st.streams = append(st.streams, newStream(t, rt))
	}
	st.streams = append(st.streams, newStream(t, rt, allocator.WithHandle(q.Handle())))
	st.run(t, 4, st.work)
	require.Zero(t, rt.ActiveMemory())
	q.CompleteAll()
	identity(t, rt)
}

type stress struct {
	t       *testing.T
	rt      *allocator.Runtime
	queue   *metal.SoftQueue
	streams []*allocator.Stream
	handed  chan allocator.Buffer // for another goroutine to free
}

// run has goroutines work while another looks on, and frees what is left over.
func (st *stress) run(t *testing.T, goroutines uint64, worker func(*rand.Rand)) {
	t.Helper()
	var work, watch sync.WaitGroup
	for i := range goroutines {
		work.Go(func() { worker(rand.New(rand.NewPCG(*firstSeed, i))) })
	}
	stop := make(chan struct{})
	watch.Go(func() { st.watch(stop) })
	within(t, work.Wait)
	close(stop)
	watch.Wait()
	close(st.handed)
	for b := range st.handed {
		free(t, b)
	}
}

// failing makes require usable off the test's goroutine.
func (st *stress) failing() require.TestingT { return offTest{st.t} }

type offTest struct{ *testing.T }

func (o offTest) FailNow() { o.Fail(); panic("failed off the test's goroutine") }

func (st *stress) work(rng *rand.Rand) {
	t := st.failing()
	own, err := st.rt.NewStream()
	require.NoError(t, err)
	for i := range 1500 {
		s := own
		if rng.IntN(3) == 0 {
			s = st.streams[rng.IntN(len(st.streams))]
		}
		c, cancel := ctx, context.CancelFunc(func() {})
		if rng.IntN(20) == 0 {
			c, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(200))*time.Microsecond)
		}
		b, err := s.Malloc(c, 1+rng.Int64N([]int64{2000, 100_000, 3 << 20}[rng.IntN(3)]))
		cancel()
		if err != nil {
			require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, allocator.ErrOutOfMemory), "%v", err)
			continue
		}
		if rng.IntN(4) == 0 {
			st.queue.Submit()
			require.NoError(t, b.RecordUse(st.streams[3]))
		}
		st.dispose(t, rng, b)
		switch rng.IntN(60) {
		case 0:
			_, err = st.rt.ClearCache()
		case 1:
			_, err = st.rt.SetCacheLimit([]int64{0, 4 << 20, allocator.DefaultLimit}[rng.IntN(3)])
		case 2:
			_, err = st.rt.SetMemoryLimit([]int64{20 << 20, allocator.DefaultLimit}[rng.IntN(2)])
		case 3:
			st.rt.ResetPeakMemory()
			s.ResetPeakMemory()
		case 4:
			_, err = s.ClearCache()
		case 5:
			if err = own.Close(ctx); err == nil {
				own, err = st.rt.NewStream()
			}
		default:
			if f := s.ActiveMemory(); f < 0 || i%10 == 0 && st.rt.ReservedMemory() < 0 {
				require.Fail(t, "below 0")
			}
		}
		require.NoError(t, err)
	}
	require.NoError(t, own.Close(ctx))
}

// dispose frees the buffer here, or hands it over and frees somebody else's.
func (st *stress) dispose(t require.TestingT, rng *rand.Rand, b allocator.Buffer) {
	if rng.IntN(2) == 0 {
		select {
		case st.handed <- b:
			return
		case other := <-st.handed:
			require.NoError(t, other.Free())
		}
	}
	require.NoError(t, b.Free())
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
}

// Many goroutines on few streams: hardly a free finds its stream idle, and most
// are left in an inbox.
func TestStressOfFewStreams(t *testing.T) {
	for n := range 4 {
		t.Run(fmt.Sprint(1+n), func(t *testing.T) {
			dev := simDevice(t, sim.Config{Memory: 256 << 20})
			rt, err := allocator.Open(dev)
			require.NoError(t, err)
			q, err := dev.NewQueue()
			require.NoError(t, err)
			st := &stress{t: t, rt: rt, queue: q, handed: make(chan allocator.Buffer, 64)}
			for i := range 1 + n {
				var opts []allocator.StreamOption
				if i == 0 {
					opts = append(opts, allocator.WithHandle(q.Handle()))
				}
				st.streams = append(st.streams, newStream(t, rt, opts...))
			}
			st.run(t, 8, st.crowded)
			q.CompleteAll()
			total := identity(t, rt).Total
			require.Zero(t, total.Active+total.Buffers+total.Requested)
			within(t, func() { err = rt.Close(ctx) })
			require.NoError(t, err)
			total = identity(t, rt).Total
			require.Zero(t, total.Active+total.Cache+total.Slack+total.Reserved+total.Pending)
			u, err := dev.Usage()
			require.NoError(t, err)
			require.Zero(t, u.Taken)
			require.NoError(t, dev.Close())
		})
	}
}

// watch looks at the books all the while.
func (st *stress) watch(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			f := identity(st.failing(), st.rt).Total
			if f.Peak < 0 || f.ReservedPeak < f.Reserved {
				require.Fail(st.failing(), "peaks that can't be")
			}
			st.queue.CompleteAll()
		}
	}
}

func (st *stress) crowded(rng *rand.Rand) {
	t := st.failing()
	for range 1500 {
		s := st.streams[rng.IntN(len(st.streams))]
		own := int64(1 + rng.IntN(100_000))
		sp, err := st.rt.Measure(ctx, "", func(context.Context) error {
			b, err := s.MallocWith(ctx, own, allocator.MallocOptions{Room: int64(rng.IntN(2)) * page})
			if err != nil { // what the queue hasn't passed can't move
				require.ErrorIs(t, err, allocator.ErrOutOfMemory)
				own = 0
				return nil
			}
			switch rng.IntN(4) {
			case 0:
				if rng.IntN(2) == 0 {
					st.queue.Submit()
				}
				require.NoError(t, b.RecordUse(st.streams[0]))
			case 1:
				if _, err = b.Grow(ctx, own+int64(rng.IntN(page))); !errors.Is(err, allocator.ErrNoRoom) && !errors.Is(err, allocator.ErrOutOfMemory) {
					require.NoError(t, err)
				}
			}
			st.dispose(t, rng, b)
			return nil
		})
		require.NoError(t, err)
		if sp.Peak < own || sp.Peak < sp.Before || sp.Peak < sp.After {
			require.Failf(t, "a span that can't be", "%+v of %d bytes", sp, own)
		}
		switch rng.IntN(40) {
		case 0:
			_, err = st.rt.ClearCache()
		case 1:
			_, err = st.rt.SetCacheLimit([]int64{0, 2 * page, allocator.DefaultLimit}[rng.IntN(3)])
		case 2:
			_, err = st.rt.SetMemoryLimit([]int64{8 * page, allocator.DefaultLimit}[rng.IntN(2)])
		case 3:
			_, err = s.SetCacheLimit([]int64{0, page, allocator.NoLimit}[rng.IntN(3)])
		case 4:
			st.rt.ResetPeakMemory()
			s.ResetPeakMemory()
		}
		require.NoError(t, err)
	}
}
