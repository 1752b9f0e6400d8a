package allocator_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal/sim"
)

// Whoever frees while a cache limit is being set or passed, on the stream's turn or
// from outside, and whatever mode the ledger counts in: once all have returned, no
// cache is above its limit.
func TestCacheStaysWithinItsLimit(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := *firstSeed; seed < *firstSeed+uint64(*histories)/2; seed++ {
		s := simseam.New(seed)
		dev := simDevice(t, sim.Config{})
		dev.Hook(func(sim.Call) { s.Yield() })
		s.Go(func() {
			rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys))
			require.NoError(t, err)
			c := &cacher{t: t, rt: rt}
			for range 2 {
				st, err := rt.NewStream()
				require.NoError(t, err)
				c.streams = append(c.streams, st)
			}
			c.work(rand.New(rand.NewPCG(seed, 0)), 20) // up to a peak, below which there is credit
			for range 3 {
				var fs []func()
				for i := range uint64(3) {
					rng := rand.New(rand.NewPCG(seed, 1+i+s.Trace()%100))
					fs = append(fs, func() { c.work(rng, 8) })
				}
				simulateAll(s, append(fs, func() { c.limit(rand.New(rand.NewPCG(seed, 7))) }))
				c.check(seed)
			}
			require.NoError(t, allocator.FreeAll(c.held))
			c.check(seed)
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

type cacher struct {
	t       *testing.T
	rt      *allocator.Runtime
	streams []*allocator.Stream
	held    []allocator.Buffer
}

func (c *cacher) work(rng *rand.Rand, n int) {
	for range n {
		if rng.IntN(2) == 0 || len(c.held) == 0 {
			b, err := c.streams[rng.IntN(2)].Malloc(ctx, []int64{700, page, 2*page + 1}[rng.IntN(3)])
			require.NoError(c.t, err)
			c.held = append(c.held, b)
			continue
		}
		i := rng.IntN(len(c.held))
		b := c.held[i]
		c.held = append(c.held[:i:i], c.held[i+1:]...)
		require.NoError(c.t, b.Free())
	}
}

func (c *cacher) limit(rng *rand.Rand) {
	for range 3 {
		c.setOne(rng)
	}
}

func (c *cacher) setOne(rng *rand.Rand) {
	n := page * rng.Int64N(4)
	if rng.IntN(2) == 0 {
		n = allocator.NoLimit
	}
	var err error
	if rng.IntN(2) == 0 {
		_, err = c.rt.SetCacheLimit(n)
	} else {
		_, err = c.streams[rng.IntN(2)].SetCacheLimit(n)
	}
	require.NoError(c.t, err)
}

func (c *cacher) check(seed uint64) {
	require.LessOrEqual(c.t, c.rt.CacheMemory(), c.rt.CacheLimit(), "-seed %d", seed)
	for _, s := range c.streams {
		require.LessOrEqual(c.t, s.CacheMemory(), s.CacheLimit(), "-seed %d", seed)
	}
	identity(c.t, c.rt)
}
