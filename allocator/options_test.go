package allocator_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func openHost(t *testing.T, opts ...allocator.Option) *allocator.Runtime {
	t.Helper()
	dev, err := host.Open(host.WithMemory(256 * mib))
	require.NoError(t, err)
	rt, err := allocator.Open(dev, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, rt.Close(context.Background()))
		require.NoError(t, dev.Close())
	})
	return rt
}

func TestGrowIntoRoom(t *testing.T) {
	rt := openHost(t)
	s := newStream(t, rt)
	first, err := s.MallocWith(ctx, 100, allocator.MallocOptions{Room: 32 * mib})
	require.NoError(t, err)
	copy(first.Bytes(), "hello")
	require.EqualValues(t, 2*mib, rt.ReservedMemory(), "room costs no memory")
	other := malloc(t, s, 3*mib) // takes no part of the room
	b := first
	for size := int64(kib); size <= 32*mib; size *= 2 {
		b, err = b.Grow(ctx, size)
		require.NoError(t, err, "size %d", size)
		require.Equal(t, first.Addr(), b.Addr())
		require.Equal(t, size, b.Size())
		require.Equal(t, "hello", string(b.Bytes()[:5]))
		require.Equal(t, b.Capacity()+other.Capacity(), rt.ActiveMemory())
		require.Equal(t, rt.ActiveMemory(), rt.PeakMemory())
		b.Bytes()[size-1] = 1
		identity(t, rt)
	}
	require.NoError(t, first.Free(), "the old value stays valid for Free")
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	_, err = b.Grow(ctx, 64*mib)
	require.ErrorIs(t, err, allocator.ErrDoubleFree)
	require.NoError(t, other.Free())
	identity(t, rt)
}

func TestGrowRefused(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	s := newStream(t, rt)
	a := malloc(t, s, 2*mib)
	b := malloc(t, s, 2*mib)
	before := rt.Snapshot()
	for want, f := range map[error]func() (allocator.Buffer, error){
		allocator.ErrNoRoom:        func() (allocator.Buffer, error) { return a.Grow(ctx, 3*mib) },
		allocator.ErrInvalidSize:   func() (allocator.Buffer, error) { return a.Grow(ctx, 1*mib) },
		allocator.ErrTooLarge:      func() (allocator.Buffer, error) { return a.Grow(ctx, 1<<45) },
		allocator.ErrForeignBuffer: func() (allocator.Buffer, error) { return allocator.Buffer{}.Grow(ctx, 1) },
	} {
		_, err := f()
		require.ErrorIs(t, err, want)
	}
	after := rt.Snapshot()
	after.Device, before.Device = before.Device, after.Device
	after.Total.Refusals, before.Total.Refusals = 0, 0
	require.Equal(t, before.Total, after.Total)
	require.NoError(t, allocator.FreeAll([]allocator.Buffer{a, b}))
	segments, err := sim.NewSegments(sim.Config{})
	require.NoError(t, err)
	rt2, err := allocator.Open(segments)
	require.NoError(t, err)
	s2 := newStream(t, rt2)
	_, err = s2.MallocWith(ctx, 1, allocator.MallocOptions{Room: 1})
	require.ErrorIs(t, err, allocator.ErrUnsupported)
	require.NoError(t, rt2.Close(ctx))
}

func TestMallocAll(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithMemoryLimit(16*mib), allocator.WithPolicy(allocator.Refuse))
	s := newStream(t, rt)
	sizes := []int64{100, 0, 3 * mib, 700, 5 * mib}
	out := make([]allocator.Buffer, 5)
	require.NoError(t, s.MallocAll(ctx, sizes, out))
	for i, b := range out {
		require.Equal(t, sizes[i], b.Size())
	}
	require.EqualValues(t, 512+3*mib+1024+5*mib, rt.ActiveMemory())
	identity(t, rt)

	// All or nothing, and the peak does not see what nobody got.
	peak := rt.PeakMemory()
	more := make([]allocator.Buffer, 2)
	require.ErrorIs(t, s.MallocAll(ctx, []int64{1 * mib, 12 * mib}, more), allocator.ErrLimitExceeded)
	require.Equal(t, make([]allocator.Buffer, 2), more)
	require.Equal(t, peak, rt.PeakMemory())
	require.EqualValues(t, 512+3*mib+1024+5*mib, rt.ActiveMemory())
	identity(t, rt)

	require.NoError(t, allocator.FreeAll(out))
	require.ErrorIs(t, allocator.FreeAll(out), allocator.ErrDoubleFree)
	calls := fmt.Sprint(dev.Calls())
	require.NoError(t, s.MallocAll(ctx, sizes, out), "again, from the cache")
	require.Equal(t, calls, fmt.Sprint(dev.Calls()))
	require.NoError(t, allocator.FreeAll(out))
	require.ErrorIs(t, s.MallocAll(ctx, []int64{1, -1}, more), allocator.ErrInvalidSize)
	require.ErrorIs(t, s.MallocAll(ctx, []int64{1, 1, 1}, more), allocator.ErrInvalidSize)
	require.NoError(t, s.MallocAll(ctx, nil, nil))
}

func TestWithZero(t *testing.T) {
	rt := openHost(t, allocator.WithZero())
	s := newStream(t, rt)
	for range 3 {
		b := malloc(t, s, 5000)
		for i, x := range b.Bytes() {
			require.Zero(t, x, "byte %d", i)
			b.Bytes()[i] = 0xff
		}
		require.NoError(t, b.Free())
	}
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	_, err = allocator.Open(dev, allocator.WithZero())
	require.ErrorIs(t, err, allocator.ErrUnsupported)
	plain := openHost(t)
	ps := newStream(t, plain)
	b := malloc(t, ps, 5000)
	b.Bytes()[7] = 1
	require.NoError(t, b.Free())
	b, err = ps.MallocWith(ctx, 5000, allocator.MallocOptions{Zero: true})
	require.NoError(t, err)
	require.Zero(t, b.Bytes()[7])
	require.NoError(t, b.Free())
}

func TestStreamLimits(t *testing.T) {
	rt, _ := openSim(t, sim.Config{}, allocator.WithPolicy(allocator.Refuse))
	greedy := newStream(t, rt, allocator.WithName("greedy"), allocator.WithStreamMemoryLimit(8*mib), allocator.WithTag("team-a"))
	other := newStream(t, rt, allocator.WithName("other"))
	require.EqualValues(t, 8*mib, greedy.MemoryLimit())
	require.Equal(t, allocator.NoLimit, other.MemoryLimit())
	a := malloc(t, greedy, 6*mib)
	_, err := greedy.Malloc(ctx, 4*mib)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.ErrorContains(t, err, "stream's memory limit")
	b := malloc(t, other, 40*mib) // no tenant starves the others
	require.NoError(t, a.Free())
	c := malloc(t, greedy, 7*mib) // its own cache goes first
	require.LessOrEqual(t, greedy.ReservedMemory(), int64(8*mib))
	require.NoError(t, allocator.FreeAll([]allocator.Buffer{b, c}))

	previous, err := greedy.SetCacheLimit(2 * mib)
	require.NoError(t, err)
	require.Equal(t, allocator.NoLimit, previous)
	require.LessOrEqual(t, greedy.CacheMemory(), int64(2*mib))
	require.EqualValues(t, 40*mib, other.CacheMemory())
	d := malloc(t, greedy, 6*mib)
	require.NoError(t, d.Free())
	require.LessOrEqual(t, greedy.CacheMemory(), int64(2*mib))
	_, err = greedy.SetMemoryLimit(-5)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	_, err = rt.NewStream(allocator.WithStreamCacheLimit(-3))
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	row := rt.Snapshot().Streams[1]
	require.Equal(t, "team-a", row.Tag)
	require.EqualValues(t, 1, row.Refusals)
	require.Positive(t, row.Trims)
	require.Equal(t, row.Mallocs, row.Hits+row.Misses)
	identity(t, rt)
}

func TestOnPressure(t *testing.T) {
	var held []allocator.Buffer
	var asked atomic.Int64
	rt, _ := openSim(t, sim.Config{}, allocator.WithMemoryLimit(16*mib), allocator.WithPolicy(allocator.Refuse),
		allocator.OnPressure(func(need int64) (freed int64) {
			asked.Add(1)
			for len(held) > 0 && freed < need {
				freed += held[0].Capacity()
				_ = held[0].Free()
				held = held[1:]
			}
			return freed
		}))
	s := newStream(t, rt)
	for range 8 {
		held = append(held, malloc(t, s, 2*mib))
	}
	b := malloc(t, s, 5*mib) // nothing is cached: the program has to let go
	require.EqualValues(t, 1, asked.Load())
	require.Len(t, held, 5)
	_, err := s.Malloc(ctx, 17*mib)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.EqualValues(t, 2, asked.Load())
	require.Empty(t, held)
	require.NoError(t, b.Free())
	identity(t, rt)
}

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		memory, cache         string
		wantMemory, wantCache int64
		fails                 string
	}{
		{"", "", 10 * mib, 2 * mib, ""},
		{"12MiB", "25%", 12 * mib, 3 * mib, ""},
		{"50%", "", 32 * mib, 2 * mib, ""},
		{"none", "none", allocator.NoLimit, allocator.NoLimit, ""},
		{"default", "default", 96 * mib, 96 * mib, ""},
		{"12 potatoes", "", 0, 0, `METALLOC_MEMORY_LIMIT="12 potatoes"`},
		{"", "101%", 0, 0, `METALLOC_CACHE_LIMIT="101%"`},
		{"-1", "", 0, 0, `METALLOC_MEMORY_LIMIT="-1"`},
		{"", "NaN%", 0, 0, "METALLOC_CACHE_LIMIT"},
		{"99999999999999999999", "", 0, 0, "METALLOC_MEMORY_LIMIT"},
	} {
		t.Run(c.memory+","+c.cache, func(t *testing.T) {
			t.Setenv("METALLOC_MEMORY_LIMIT", c.memory)
			t.Setenv("METALLOC_CACHE_LIMIT", c.cache)
			dev, err := sim.New(sim.Config{Memory: 128 * mib, WorkingSet: 64 * mib})
			require.NoError(t, err)
			rt, err := allocator.Open(dev, allocator.WithMemoryLimit(10*mib), allocator.WithCacheLimit(2*mib), allocator.FromEnv())
			if c.fails != "" {
				require.ErrorIs(t, err, allocator.ErrInvalidSize)
				require.ErrorContains(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.wantMemory, rt.MemoryLimit())
			require.Equal(t, c.wantCache, rt.CacheLimit())
			require.NoError(t, rt.Close(ctx))
		})
	}
}

// Pressure that rises while caches are being given back is not forgotten.
func TestPressureRises(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithReclaimOnPressure())
	s := newStream(t, rt)
	require.NoError(t, allocator.FreeAll([]allocator.Buffer{malloc(t, s, 8*mib), malloc(t, s, 8*mib)}))
	begun, goOn := make(chan struct{}), make(chan struct{})
	dev.Hook(func(c sim.Call) {
		if c == sim.CallRelease {
			dev.Hook(nil)
			close(begun)
			<-goOn
		}
	})
	dev.SetPressure(metal.Warn)
	<-begun
	dev.SetPressure(metal.Critical)
	close(goOn)
	require.Eventually(t, func() bool { return rt.ReservedMemory() == 0 }, 10*time.Second, time.Millisecond)
}

func TestReclaimOnPressure(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithReclaimOnPressure())
	s := newStream(t, rt)
	bufs := []allocator.Buffer{malloc(t, s, 8*mib), malloc(t, s, 8*mib)}
	require.NoError(t, allocator.FreeAll(bufs))
	require.EqualValues(t, 16*mib, rt.CacheMemory())
	settles := func(want int64) {
		t.Helper()
		require.Eventually(t, func() bool { return rt.ReservedMemory() == want }, 10*time.Second, time.Millisecond)
	}
	dev.SetPressure(metal.Warn)
	settles(8 * mib)
	dev.SetPressure(metal.Critical)
	settles(0)
	segments, err := sim.NewSegments(sim.Config{})
	require.NoError(t, err)
	_, err = allocator.Open(struct {
		metal.Device
		metal.Segmenter
	}{segments, segments}, allocator.WithReclaimOnPressure())
	require.ErrorIs(t, err, allocator.ErrUnsupported)
}
