package bench

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

const page = pageSize

// cached puts a new block of that size into the cache.
func cached(t *testing.T, m *mlx, size int64) *Block {
	t.Helper()
	b := &Block{size: size}
	m.commit(b)
	full, err := m.give(b)
	require.NoError(t, err)
	require.False(t, full)
	return b
}

func newRule(released *[]*Block) *mlx {
	return newMLX(metal.Info{Memory: 1 << 40, WorkingSet: 1 << 39}, 0, func(b *Block) {
		if released != nil {
			*released = append(*released, b)
		}
	})
}

// A request is served by the smallest cached block below min(2n, n + 2 pages).
func TestMLXServes(t *testing.T) {
	for _, c := range []struct {
		name   string
		cached []int64
		ask    int64
		serves int64 // 0: none
	}{
		{name: "equal", cached: []int64{1000, 999}, ask: 1000, serves: 1000},
		{name: "less than twice", cached: []int64{1999}, ask: 1000, serves: 1999},
		{name: "twice", cached: []int64{2000}, ask: 1000},
		{name: "smaller", cached: []int64{999}, ask: 1000},
		{name: "the smallest of several", cached: []int64{1900, 1200, 1500}, ask: 1000, serves: 1200},
		{name: "one byte", cached: []int64{2}, ask: 1},
		{name: "a page for more than half", cached: []int64{page}, ask: page/2 + 1, serves: page},
		{name: "a page for half", cached: []int64{page}, ask: page / 2},
		{name: "two pages for one", cached: []int64{2 * page}, ask: page},
		{name: "three pages for two", cached: []int64{3 * page}, ask: 2 * page, serves: 3 * page},
		{name: "four pages for two", cached: []int64{4 * page}, ask: 2 * page},
		{name: "one page more", cached: []int64{101 * page}, ask: 100 * page, serves: 101 * page},
		{name: "two pages more", cached: []int64{102 * page}, ask: 100 * page},
		{name: "beyond the table", cached: []int64{(directPages + 1) * page}, ask: directPages * page, serves: (directPages + 1) * page},
		{name: "at the table's end", cached: []int64{directPages * page}, ask: (directPages - 1) * page, serves: directPages * page},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newRule(nil)
			for _, s := range c.cached {
				cached(t, m, s)
			}
			before := m.cache
			b, err := m.take(c.ask)
			require.NoError(t, err)
			if c.serves == 0 {
				require.Nil(t, b)
				return
			}
			require.NotNil(t, b)
			require.Equal(t, c.serves, b.size)
			require.Equal(t, []int64{c.serves, before - c.serves}, []int64{m.active, m.cache})
		})
	}
}

func TestMLXRounds(t *testing.T) {
	for size, want := range map[int64]int64{1: 1, page: page, page + 1: 2 * page, 3 * page: 3 * page} {
		got, err := roundMLX(size)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := roundMLX(0)
	require.ErrorIs(t, err, errSize)
}

// The longest cached go first, until enough has gone; nearly all is all.
func TestMLXEvicts(t *testing.T) {
	var released []*Block
	m := newRule(&released)
	first, second := cached(t, m, 100), cached(t, m, 5*page)
	cached(t, m, 100*page)
	m.evict(101)
	require.Equal(t, []*Block{first, second}, released)
	require.EqualValues(t, 100*page, m.cache)
	cached(t, m, 10)
	m.evict(m.cache * 95 / 100)
	require.Len(t, released, 4)
	require.Zero(t, m.cache)
}

func TestMLXKeepsToItsLimits(t *testing.T) {
	var released []*Block
	m := newRule(&released)
	m.reclaimFrom, m.cacheLimit = 40*page, 20*page
	cached(t, m, 10*page)
	cached(t, m, 10*page)
	b := &Block{size: page}
	m.commit(b)
	full, err := m.give(b)
	require.NoError(t, err)
	require.True(t, full, "a cache at its limit takes nothing more")
	_, err = m.take(25 * page)
	require.NoError(t, err)
	require.Len(t, released, 1, "20 cached and 25 asked for are 5 over 40")
	m.bufferLimit = 1
	_, err = m.take(page)
	require.NoError(t, err, "the buffer that there was has gone")
	require.Zero(t, m.cache)
}

// The tables give what a search of all cached blocks gives.
func TestMLXAgainstASearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := newRule(nil)
	var inCache, live []*Block // cached ones: the oldest first
	var active, cache, peak int64
	for range 20000 {
		if rng.IntN(2) == 0 && len(live) > 0 {
			i := rng.IntN(len(live))
			b := live[i]
			live = append(live[:i], live[i+1:]...)
			_, err := m.give(b)
			require.NoError(t, err)
			inCache = append(inCache, b)
			active, cache = active-b.size, cache+b.size
		} else {
			size, err := roundMLX(1 + rng.Int64N(1<<rng.IntN(28)))
			require.NoError(t, err)
			best := -1
			for i, b := range inCache {
				if b.size >= size && b.size < min(2*size, size+2*page) && (best < 0 || b.size < inCache[best].size) {
					best = i
				}
			}
			b, err := m.take(size)
			require.NoError(t, err)
			if best < 0 {
				require.Nil(t, b)
				b = &Block{size: size}
				m.commit(b)
			} else {
				require.Same(t, inCache[best], b)
				inCache = append(inCache[:best], inCache[best+1:]...)
				cache -= b.size
			}
			active += b.size
			peak = max(peak, active)
			live = append(live, b)
		}
		require.Equal(t, []int64{active, cache, peak}, []int64{m.active, m.cache, m.peak})
	}
}

// A workload that needs more live than MLX lets there be may have that many more.
func TestMLXBufferLimitLeavesRoomForTheLive(t *testing.T) {
	m := newMLX(metal.Info{Memory: 1 << 40, WorkingSet: 1 << 39}, 7, func(*Block) {})
	m.buffers = maxBuffers + 6
	_, err := m.take(page)
	require.NoError(t, err)
	m.buffers++
	_, err = m.take(page)
	require.ErrorContains(t, err, "499007 buffers")
}
