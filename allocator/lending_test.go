package allocator_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// lenders are streams that all miss at the same time, each more than it has, so that
// each asks the others for what these have free. The last has a queue that lags.
type lenders struct {
	t       require.TestingT
	rt      *allocator.Runtime
	dev     *sim.Device
	queue   *metal.SoftQueue
	streams []*allocator.Stream
}

func openLenders(t require.TestingT, seed uint64, hook func(sim.Call), opts ...allocator.Option) *lenders {
	dev, err := sim.New(sim.Config{HandleSize: []int64{page, 4 * page, 64 << 20}[seed%3], NoAliases: seed%2 == 0})
	require.NoError(t, err)
	dev.Hook(hook)
	l := &lenders{t: t, dev: dev}
	l.rt, err = allocator.Open(dev, opts...)
	require.NoError(t, err)
	l.queue, err = dev.NewQueue()
	require.NoError(t, err)
	for _, opts := range [][]allocator.StreamOption{nil, nil, {allocator.WithHandle(l.queue.Handle())}} {
		s, err := l.rt.NewStream(opts...)
		require.NoError(t, err)
		l.streams = append(l.streams, s)
	}
	return l
}

// fill leaves every stream with free pages, in pieces.
func (l *lenders) fill() {
	var bs []allocator.Buffer
	for _, s := range l.streams {
		for _, n := range []int64{3, 1, 2} {
			b, err := s.Malloc(ctx, n*page)
			require.NoError(l.t, err)
			bs = append(bs, b)
		}
	}
	require.NoError(l.t, allocator.FreeAll(bs))
}

// work misses on one stream, over and over.
func (l *lenders) work(i int, rng *rand.Rand) {
	for range 6 {
		var bs []allocator.Buffer
		for range 2 {
			b, err := l.streams[i].Malloc(ctx, page*(1+rng.Int64N(9))+rng.Int64N(2)*700)
			require.NoError(l.t, err)
			bs = append(bs, b)
		}
		if i == 2 {
			l.queue.Submit()
		}
		require.NoError(l.t, allocator.FreeAll(bs))
		if i == 2 && rng.IntN(2) == 0 {
			l.queue.CompleteAll()
		}
	}
}

func (l *lenders) workers(seed uint64) (fs []func()) {
	for i := range l.streams {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		fs = append(fs, func() { l.work(i, rng) })
	}
	return fs
}

func (l *lenders) end() {
	require.Zero(l.t, identity(l.t, l.rt).Total.Active)
	l.queue.CompleteAll()
	_, err := l.rt.ClearCache()
	require.NoError(l.t, err)
	require.NoError(l.t, l.rt.Close(ctx))
	require.Zero(l.t, identity(l.t, l.rt).Total.Reserved)
	u, err := l.dev.Usage()
	require.NoError(l.t, err)
	require.Zero(l.t, u.Taken)
	require.NoError(l.t, l.dev.Close())
}

// Streams that lend to each other at the same time neither deadlock nor lose a page.
func TestLendingToEachOther(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := *firstSeed; seed < *firstSeed+60; seed++ {
		l := openLenders(offTest{t}, seed, nil, allocator.WithActorSystem(sys))
		l.fill()
		var wg sync.WaitGroup
		for _, f := range l.workers(seed) {
			wg.Go(f)
		}
		within(t, wg.Wait)
		l.end()
	}
}

// The same under the simulated scheduler.
func TestLendingToEachOtherInSimulation(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		lendInSimulation(t, sys, seed)
	}
}

func lendInSimulation(t *testing.T, sys *actors.System, seed uint64) {
	t.Helper()
	s := simseam.New(seed)
	s.Go(func() {
		l := openLenders(t, seed, func(sim.Call) { s.Yield() }, allocator.WithSeam(s), allocator.WithActorSystem(sys))
		l.fill()
		simulateAll(s, l.workers(seed))
		l.end()
	})
	preempt(s, seed)
	defer steps.Preempt(nil)
	var err error
	within(t, func() { err = s.Run() })
	require.NoError(t, err, "-seed %d", seed)
}

// While two streams wait for each other's pages, what fits below the limit is served.
func TestLendingBelowALimit(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		s := simseam.New(seed)
		dev := simDevice(t, sim.Config{HandleSize: page})
		dev.Hook(func(sim.Call) { s.Yield() })
		s.Go(func() {
			rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys),
				allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(8*page))
			require.NoError(t, err)
			var streams []*allocator.Stream
			for range 2 {
				st, err := rt.NewStream()
				require.NoError(t, err)
				streams = append(streams, st)
				b, err := st.Malloc(ctx, 4*page)
				require.NoError(t, err)
				require.NoError(t, b.Free())
			}
			var fs []func()
			for i, st := range streams {
				fs = append(fs, func() {
					for n := range int64(4) {
						size := []int64{1 + n, 4 - n}[i] // eight at most with the other's
						b, err := st.Malloc(ctx, size*page)
						require.NoError(t, err, "-seed %d", seed)
						require.NoError(t, b.Free())
					}
				})
			}
			simulateAll(s, fs)
			require.LessOrEqual(t, rt.Snapshot().Total.ReservedPeak, int64(8*page))
			require.NoError(t, rt.Close(ctx))
		})
		preempt(s, seed)
		var err error
		within(t, func() { err = s.Run() })
		steps.Preempt(nil)
		require.NoError(t, err)
		require.NoError(t, dev.Close())
	}
}

// Pages on their way back to the device are room for a malloc, from the moment when
// their stream gives them up.
func TestLeavingPagesAreRoom(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		s := simseam.New(seed)
		dev := simDevice(t, sim.Config{HandleSize: page})
		dev.Hook(func(sim.Call) { s.Yield() })
		s.Go(func() {
			rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys),
				allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(4*page))
			require.NoError(t, err)
			a, err := rt.NewStream()
			require.NoError(t, err)
			b, err := rt.NewStream()
			require.NoError(t, err)
			x, err := a.Malloc(ctx, 4*page)
			require.NoError(t, err)
			require.NoError(t, x.Free())
			give := []func() error{
				func() error { _, err := a.ClearCache(); return err },
				func() error { return a.Close(ctx) },
				func() error { _, err := a.SetCacheLimit(0); return err },
			}[seed%3]
			simulateAll(s, []func(){
				func() { require.NoError(t, give()) },
				func() {
					x, err := b.Malloc(ctx, 4*page)
					require.NoError(t, err, "-seed %d", seed)
					require.NoError(t, x.Free())
				},
			})
			require.NoError(t, rt.Close(ctx))
		})
		preempt(s, seed)
		var err error
		within(t, func() { err = s.Run() })
		steps.Preempt(nil)
		require.NoError(t, err)
		require.NoError(t, dev.Close())
	}
}
