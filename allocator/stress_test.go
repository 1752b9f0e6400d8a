package allocator_test

import (
	"context"
	"errors"
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
	var work, watch sync.WaitGroup
	for i := range uint64(4) {
		work.Go(func() { st.work(rand.New(rand.NewPCG(*firstSeed, i))) })
	}
	stop := make(chan struct{})
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				identity(st.failing(), rt)
				q.CompleteAll()
			}
		}
	})
	within(t, work.Wait)
	close(stop)
	watch.Wait()
	close(st.handed)
	for b := range st.handed {
		free(t, b)
	}
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
}
