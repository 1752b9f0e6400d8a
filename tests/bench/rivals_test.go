package bench

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
)

const streamsOpen = 3

// eachRival opens all of them, and all must close clean.
func eachRival(t *testing.T, f func(t *testing.T, s exercise)) {
	system := allocator.NewSystem(nil)
	defer system.Shutdown()
	e := &env{system: system, streams: streamsOpen}
	t.Run(Metalloc, func(t *testing.T) { f(t, exercised(t, e, openMetalloc)) })
	t.Run(Mutex, func(t *testing.T) { f(t, exercised(t, e, openMutex)) })
	t.Run(packedName, func(t *testing.T) { f(t, exercised(t, e, openPacked)) })
	t.Run("actor-send", func(t *testing.T) { f(t, exercised(t, e, openSend)) })
	t.Run("actor-future", func(t *testing.T) { f(t, exercised(t, e, openFuture)) })
}

// exercise is what can be done to any of them.
type exercise struct {
	counts func() (active, peak, cache int64)
	reset  func()
	malloc func(stream int, size int64) (free func() error, err error)
}

func exercised[H any](t *testing.T, e *env, open func(*env) (Allocator[H], error)) exercise {
	a, err := open(e)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return exercise{
		counts: func() (int64, int64, int64) { return a.Active(), a.Peak(), a.Cache() },
		reset:  a.ResetPeak,
		malloc: func(stream int, size int64) (func() error, error) {
			h, err := a.Malloc(stream, size)
			return func() error { return a.Free(h) }, err
		},
	}
}

// Sizes that no rival rounds, and that metalloc's pages hold exactly.
func TestCountersAddUp(t *testing.T) {
	eachRival(t, func(t *testing.T, s exercise) {
		const size = 2 * mib
		free := make([]func() error, 4)
		for i := range free {
			var err error
			free[i], err = s.malloc(i%streamsOpen, size)
			require.NoError(t, err)
		}
		requireCounts(t, s, 4*size, 4*size, 0)
		require.NoError(t, free[0]())
		require.NoError(t, free[1]())
		requireCounts(t, s, 2*size, 4*size, 2*size)
		require.Error(t, free[1](), "a second time")
		requireCounts(t, s, 2*size, 4*size, 2*size)
		s.reset()
		requireCounts(t, s, 2*size, 0, 2*size)
		again, err := s.malloc(0, size)
		require.NoError(t, err)
		requireCounts(t, s, 3*size, 3*size, size)
		for _, f := range []func() error{again, free[2], free[3]} {
			require.NoError(t, f())
		}
		requireCounts(t, s, 0, 3*size, 4*size)
	})
}

func requireCounts(t *testing.T, s exercise, active, peak, cache int64) {
	t.Helper()
	a, p, c := s.counts()
	require.Equal(t, []int64{active, peak, cache}, []int64{a, p, c}, "active, peak, cache")
}

func TestNothingIsLostBetweenGoroutines(t *testing.T) {
	eachRival(t, func(t *testing.T, s exercise) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		var wg sync.WaitGroup
		handed := make(chan func() error, 64) // freed by whoever takes it
		for g := range 4 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(g)))
				for range 500 {
					free, err := s.malloc(rng.IntN(streamsOpen), 1+rng.Int64N(8*mib))
					if err != nil {
						t.Error(err)
						return
					}
					handed <- free
					if err := (<-handed)(); err != nil {
						t.Error(err)
					}
					if active, peak, _ := s.counts(); active < 0 || peak < 0 {
						t.Errorf("active %d, peak %d", active, peak)
					}
				}
			})
		}
		wg.Wait()
		active, peak, cache := s.counts()
		require.Zero(t, active)
		require.Positive(t, peak)
		require.Positive(t, cache)
	})
}

// A class serves at least what was asked for, and at most an eighth more.
func TestClassOf(t *testing.T) {
	var last uint64
	lastClass := int32(0)
	for units := uint64(1); units < 1<<20; units += 1 + units/1000 {
		class, size := classOf(units)
		require.GreaterOrEqual(t, size, units)
		require.LessOrEqual(t, size, units+units/steps)
		require.GreaterOrEqual(t, class, lastClass)
		require.Equal(t, size == last, class == lastClass, "%d units: a size, a class", units)
		last, lastClass = size, class
	}
	class, _ := classOf(1 << 31)
	require.Less(t, class, int32(classes))
}
